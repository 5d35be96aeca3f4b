// Command mipagent runs the agents of Mobile IPv4 VPNs by role: internal and external home agent, foreign agent, VPN
// gateway.
//
// Purpose: read one strict TOML file with a table for each role, and run what it names until SIGTERM or SIGINT. Several
// roles may run in one process (REQUIREMENTS AGT-7): each has a routing table, an nftables table and socket marks of its
// own, and what one role sends to another goes there in memory (agent.Exchange). The format is documented by the files in
// configs. Mobile nodes may stand in files of their own; SIGHUP and `mipagent reload` have everything read again while
// bindings, visitors and sessions go on.
//
// Specification: none of its own; those of the roles are named in packages mipv4/homeagent, mipv4/foreignagent,
// ipsec/gateway and stack/agent.
//
// Concurrency: each role has goroutines of its own; this package only starts them and waits.
//
// Ownership: secrets are read from files and handed to the roles; what was read of mobility keys is cleared here.
//
// Usage:
//
//	mipagent run --config FILE      (or mipagent --config FILE)
//	mipagent check FILE
//	mipagent bindings|visitors [HOME-ADDRESS|NETWORK] [--json], mipagent sessions [--json]
//	mipagent drop HOME-ADDRESS, mipagent disconnect IDENTITY, mipagent reload
//	mipagent check-firewall [--probe ADDRESS]
//	mipagent version
//
// Exit codes: 0 done, 1 failed, 2 usage.
package main
