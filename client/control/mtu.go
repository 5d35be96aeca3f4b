package control

// PathMTU says how large packets of the home address may be on the path in use, and how that is known (HST-4).
type PathMTU struct {
	// MTU is the largest packet in octets that is taken.
	MTU int `json:"mtu"`
	// Link is what the interface and the composition's overhead leave, whatever lies behind the interface.
	Link int `json:"link"`
	// Overhead is the most octets that the composition adds.
	Overhead int `json:"overhead"`
	// State is "base", "searching", "complete", "confirming" or "unanswered" (RFC 8899 §5.2), and "off" where nothing is
	// measured.
	State string `json:"state"`
	// Measured is the largest size in octets that the i-HA has answered, 0 while none.
	Measured int `json:"measured"`
	// Probes and Answers count echo requests and replies, BlackHoles how often a size that had got through no longer did, and
	// Hints the ICMP messages that were taken as a reason to look, all since the client came up.
	Probes     uint64 `json:"probes"`
	Answers    uint64 `json:"answers"`
	BlackHoles uint64 `json:"black_holes"`
	Hints      uint64 `json:"hints"`
}
