// Package space makes anonymous network namespaces and does things in them.
//
// Purpose: each box of the lab is a namespace that only a file descriptor holds, so that nothing is left behind when the
// program ends, however it ends, and two labs never collide. Functions and child processes run inside one.
//
// Specification: none (network_namespaces(7), user_namespaces(7)).
//
// Concurrency: a Space may be used by several goroutines at once.
//
// Ownership: Close gives the descriptor back; the namespace lives on while a process or socket is in it.
package space
