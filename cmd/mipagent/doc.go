// Command mipagent runs the agents of Mobile IPv4 VPNs by role: internal and external home agent, foreign agent, VPN
// gateway.
//
// Purpose: read one strict TOML file with a table for each role, and run what it names until SIGTERM or SIGINT. Several
// roles may run in one process (REQUIREMENTS AGT-7): each has a routing table, an nftables table and socket marks of its
// own, and what one role sends to another goes there in memory (agent.Exchange). The format is documented by the files in configs.
//
// Specification: none of its own; those of the roles are named in packages mipv4/homeagent, mipv4/foreignagent,
// ipsec/gateway and stack/agent. Left out on purpose: reloading the file, metrics and stored bindings (REQUIREMENTS AGT-5,
// AGT-6), which have their own issues.
//
// Concurrency: each role has goroutines of its own; this package only starts them and waits.
//
// Ownership: secrets are read from files and handed to the roles; what was read of mobility keys is cleared here.
//
// Usage:
//
//	mipagent run --config FILE      (or mipagent --config FILE)
//	mipagent check FILE
//	mipagent version
//
// Exit codes: 0 done, 1 failed, 2 usage.
package main
