// Command mipagent runs the agents of Mobile IPv4 VPNs by role: internal and external home agent, foreign agent, VPN
// gateway.
//
// Purpose: read one strict TOML file with a table for each role, and run what it names until SIGTERM or SIGINT. Several
// roles may run in one process (REQUIREMENTS AGT-7): each has a routing table, an nftables table and socket marks of its
// own. The format is documented by the files in configs.
//
// Usage:
//
//	mipagent run --config FILE      (or mipagent --config FILE)
//	mipagent check FILE
//	mipagent version
//
// Exit codes: 0 done, 1 failed, 2 usage.
package main
