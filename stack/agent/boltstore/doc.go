// Package boltstore keeps the records of a home agent's mobile nodes in one file, by bbolt.
//
// Purpose: Store is the agent.BindingStore of a home agent that stands alone: a restart of the process or of the machine loses no
// binding and no state of replay protection (REQUIREMENTS AGT-5).
//
// Specification: none; the file is bbolt's, with the records of homeagent.Record, each behind a CRC-32C. A file that is damaged, not
// ours or of a newer version is refused with an error that says so and is left as it is: what to do with the bindings in it is the
// administrator's choice. Left out on purpose: copies on other machines, which package etcdstore is for.
//
// Concurrency: the methods may be called by any goroutine, one at a time. One process has a file open at a time.
//
// Ownership: the caller closes the Store, after its home agent.
package boltstore
