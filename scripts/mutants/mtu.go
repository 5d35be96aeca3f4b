package main

// mtuRules are what keeps packets as small as the path wants them (HST-4).
var mtuRules = []mutant{
	{name: "path MTU: MSS not clamped on leaving", rules: "HST-4", by: tests("stack", "TestMSSIsClampedBothWays"), patches: []patch{
		{"stack/engine.go", "\t\tClampMSS(ip, mtu)\n", ""},
	}},
	{name: "path MTU: MSS not clamped on arriving", rules: "HST-4", by: tests("stack", "TestMSSIsClampedBothWays"), patches: []patch{
		{"stack/engine.go", "ClampMSS(ip[:n], mtu)", "_ = mtu"},
	}},
	{name: "path MTU: what was measured not kept to", rules: "HST-4", by: tests("client/e2e", "TestNoFragmentsGetThrough"), patches: []patch{
		{"stack/pipeline.go", "p.limit.Store(int64(mtu))", "_ = mtu"},
	}},
	{name: "path MTU: packets without DF dropped", rules: "HST-4", by: tests("client/e2e", "TestEveryMTU"), patches: []patch{
		{"stack/engine.go", "\t\t\tover = true\n", "\t\t\tif !q.Super() {\n\t\t\t\treturn e.tooBig(q, mtu)\n\t\t\t}\n\t\t\tover = true\n"},
	}},
	{name: "path MTU: probes without DF in the layers", rules: "HST-4", by: tests("client/e2e", "TestNoMoveIsABlackHole"), patches: []patch{
		{"stack/packetflow.go", "= p.TOS, f.ttl, p.Whole()", "= p.TOS, f.ttl, p.DontFragment"},
	}},
	{name: "path MTU: forged ICMP believed", rules: "HST-4", by: tests("stack/pathmtu", "TestForgedHints"), patches: []patch{
		{"stack/pathmtu/machine.go", "m.search(now, m.MTU(), m.MTU()+1)", "m.low, m.doubted = max(size, m.floor), true"},
	}},
	{name: "path MTU: black holes not looked for", rules: "HST-4", by: tests("client/e2e", "TestPathNarrowsUnderASession"), patches: []patch{
		{"stack/pathmtu/machine.go", "if !before || !m.flowing {", "if before || !before {"},
	}},
	{name: "path MTU: not measured anew after a move", rules: "HST-4", by: tests("client/e2e", "TestNoMoveIsABlackHole"), patches: []patch{
		{"client/mtu.go", "if m.session == c.session && m.of == of && ", "if m.session == c.session && "},
	}},
	{name: "path MTU: i-HA not told", rules: "HST-4", by: tests("client/e2e", "TestNoFragmentsGetThrough"), patches: []patch{
		{"client/mtu.go", "\t\t\tc.tellHomeAgent(e.MTU)\n", ""},
	}},
	{name: "path MTU: fragments in the layers not put together", rules: "HST-4", by: tests("client/e2e", "TestLongDatagramsArrive"), patches: []patch{
		{"stack/deliver.go", "isFragment(packet.IPv4(p.Bytes())) && at.awaits", "false && at.awaits"},
	}},
}
