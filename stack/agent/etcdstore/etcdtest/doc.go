// Package etcdtest runs real etcd servers for tests.
//
// Purpose: Start runs the three etcd servers of a cluster, in a network namespace, until the test ends.
//
// Specification: none; the program is Debian's etcd (package etcd-server), without which tests are skipped.
//
// Concurrency: the methods belong to the test's goroutine.
//
// Ownership: the test's end stops what Start and Restart have started.
package etcdtest
