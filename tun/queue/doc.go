// Package queue is what machines keep in order: what they have to say until their driver polls, and when something becomes due.
//
// Purpose: transmits and events wait in a FIFO, each for the one Poll method that takes it out. A FIFO that is emptied after each
// call, as drivers do, allocates nothing from then on. Timers stand in an Agenda, the earliest first, so that what an expiry or a
// change costs hardly grows with their number.
//
// Specification: none of its own.
//
// Concurrency: a FIFO and an Agenda belong to one goroutine.
//
// Ownership: a FIFO forgets what it has handed out. A Timer is a part of what it is for, and an Agenda holds no more than it while
// it is set.
package queue
