package control

import "net/netip"

// DNS says how names are resolved while the client is up.
type DNS struct {
	// By is what the host's resolver was changed by: "systemd-resolved" or "resolv.conf".
	By string `json:"by"`
	// Forwarder is the address of the client's own name server, which the host asks.
	Forwarder netip.Addr `json:"forwarder"`
	// Full says that the enterprise's servers are asked about all names, not only those of Domains.
	Full bool `json:"full"`
	// Domains are the enterprise's.
	Domains []string `json:"domains"`
	// Servers are the enterprise's name servers, in the order to ask them; empty while none is known, so that the
	// enterprise's names are not resolved.
	Servers []netip.Addr `json:"servers"`
	// Inside and Outside count questions sent to the enterprise's servers and to those of the interface in use, Refused
	// those answered on the spot for their name, and Failed those that got no answer.
	Inside  uint64 `json:"inside"`
	Outside uint64 `json:"outside"`
	Refused uint64 `json:"refused"`
	Failed  uint64 `json:"failed"`
	// Checks counts those of all questions that only `mipvpn doctor` asks (dns.CheckLabel).
	Checks uint64 `json:"checks"`
}
