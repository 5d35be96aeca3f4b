// Package readmap is a map that one goroutine changes while any number of others read it without locks.
//
// Purpose: the tables of the agents. The data path looks every packet up, the machine changes an entry at a time, and there may
// be a million entries: what a change costs must not depend on how many there are, at no single change either.
//
// Specification: none of its own. The method is linear hashing (W. Litwin, 1980): the number of buckets grows by one with each
// entry, so that there is never a table to be copied.
//
// Concurrency: see Map.
//
// Ownership: the map keeps the values that it is given.
package readmap
