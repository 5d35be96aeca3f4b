// Package hook runs an administrator's programs when something happens to the client.
//
// Purpose: for each event of the client (control.Event), the programs of one directory are run one after the other, in the
// order of their names, with the event and the state of the client in their environment. docs/scripting.md lists the
// variables. The client never waits for them: a program that hangs is ended after a time, and what happens meanwhile is kept in a
// queue, the oldest being given up when it is full.
//
// Specification: the project's own (REQUIREMENTS HST-7). The variables that vpnc-script knows have the values that they have
// there, where they mean the same.
//
// Concurrency: a Runner has two goroutines, one that takes events and one that runs programs. Close may be called once, from any
// goroutine.
//
// Ownership: a Runner owns the processes that it starts and what they write; events and states are values.
package hook
