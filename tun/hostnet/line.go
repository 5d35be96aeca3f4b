package hostnet

// Line is the kill switch as the kernel has it.
type Line struct {
	// Stands says that both of its tables are there.
	Stands bool
	// Everywhere says that its egress chain stands on every interface, those to come included; else only on those that a
	// running process has covered.
	Everywhere bool
	// Rules are its rules, in the order of tables, chains and rules.
	Rules []LineRule
}

// LineRule is one rule of a Line.
type LineRule struct {
	// Table is "inet" (what the kernel's IP layer sends and forwards) or "netdev" (what an interface is given to send).
	Table string
	// Chain is the chain's name.
	Chain string
	// Text says what it is about and what becomes of that.
	Text string
	// Counts says whether it counts packets; Packets is how many it has dropped since the line was written.
	Counts  bool
	Packets uint64
}
