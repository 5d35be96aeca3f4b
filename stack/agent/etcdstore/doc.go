// Package etcdstore keeps the records of a home agent's mobile nodes in etcd, for two or more home agents that stand for one.
//
// Purpose: Cluster settles which of the agents is the active one, and the Term that it gets is its agent.BindingStore: each
// record is with the majority of the etcd servers before the reply leaves, so that the loss of an agent, or of one of three
// etcd servers, loses no binding and no state of replay protection (REQUIREMENTS AGT-5).
//
// Specification: none; etcd's API version 3 (servers from 3.4 on). The agents of one home agent address compete for one key that lives as
// long as its owner's lease. Each write is a transaction that holds only while that key is still the writer's own: an agent that was
// cut off cannot write what another one has taken over. Its term ends by its own clock before its lease can end at etcd. Records are
// JSON (homeagent.Record) under the prefix, home-agents, the agent's address and records. Left out on purpose: several agents active
// at once for the same mobile nodes, which would have to agree on each Identification; and sharing of mobile nodes over agents, which two
// home agents with home networks of their own do without any store in common.
//
// Concurrency: a Cluster's and a Term's methods may be called by any goroutine. Each Term has a goroutine that keeps its lease.
//
// Ownership: the caller ends its Term before it closes the Cluster.
package etcdstore
