package main

// detectionRules are those of detection that other runs than the soak see: what they would let out, other rules hold, or it is service
// that they cost. Tests of the detector are enough for most.
var detectionRules = []mutant{
	{name: "detection takes no heed of epochs", rules: "DET-2", by: tests("detect/location", "."), patches: []patch{
		{"detect/location/machine.go", "if m.state == StateIdle || epoch != m.epoch {", "if m.state == StateIdle {"},
	}},
	{name: "another home agent taken for the i-HA", rules: "DET-3", by: tests("detect/location", "."), patches: []patch{
		{"detect/location/judge.go", "if e.agent != agent {", "if e.iface < 0 {"},
	}},
	{name: "refusal taken for a proof", rules: "DET-3", by: tests("detect/location", "."), patches: []patch{
		{"detect/location/judge.go", "\tcase !e.accepted():\n", "\tcase false:\n"},
	}},
	{name: "list of outside networks ignored", rules: "DET-14", by: tests("detect/location", "."), patches: []patch{
		{"detect/location/judge.go", "\tcase m.outside || m.config.listedOutside(e.careOf):\n", "\tcase false:\n"},
	}},
	{name: "equal home agents not noticed", rules: "DET-10", by: tests("client/e2e", "^TestEqualHomeAgentAddressesCountAsOutside$"), patches: []patch{
		{"detect/location/config.go", "return c.InternalHomeAgent == c.ExternalHomeAgent", "return false"},
	}},
	{name: "proof ages from its receipt", rules: "DET-4", by: tests("detect/location", "."), patches: []patch{
		{"detect/location/judge.go", "sentAt: e.sentAt, expires: e.sentAt + m.config.Monitor", "sentAt: e.receivedAt, expires: e.receivedAt + m.config.Monitor"},
	}},
	{name: "proof survives a new epoch", rules: "DET-2", by: tests("detect/location", "."), patches: []patch{
		{"detect/location/machine.go", "\tm.lose(\"the connection status of the interface changed\")\n", ""},
	}},
	{name: "failed re-registration keeps the proof", rules: "DET-12", by: tests("detect/location", "."), patches: []patch{
		{"detect/location/machine.go", "\tm.lose(reason)\n\tm.detect(now, reason)", "\tm.detect(now, reason)"},
	}},
	{name: "a probe does not end", rules: "DET-9", by: tests("client/e2e", "^TestProbeThatReplacesTheBinding$"), patches: []patch{
		{"detect/location/machine.go", "\tif m.due(timerProbeEnd, now) {", "\tif m.due(timerProbeEnd, now) && m.epoch == 0 {"},
	}},
	{name: "no refresh after a probe", rules: "DET-9", by: tests("client/e2e", "^TestProbeThatReplacesTheBinding$"), patches: []patch{
		{"client/probe.go", "\tc.refreshInner(\"a probe of the i-HA may have replaced the binding\")\n", ""},
	}},
	{name: "no refresh after a worthless reply", rules: "DET-9, DET-14", by: tests("client/e2e", "^TestProbeAnsweredTooLate$"), patches: []patch{
		{"client/probe.go", "\t\tc.refreshInner(\"the i-HA has taken a direct registration that proves nothing\")\n", ""},
	}},
	{name: "pause leaves the gate open", rules: "DET-13", by: tests("client/e2e", "^TestIdlePause$"), patches: []patch{
		{"client/idle.go", "\tc.gate.Close(a.iface.Index, e.Reason)\n", ""},
	}},
	{name: "pause is never woken", rules: "DET-13", by: tests("client/e2e", "^TestIdlePause$"), patches: []patch{
		{"client/idle.go", "a.det.Wake(c.now, \"user data wants to pass\")", "_ = s"},
	}},
	{name: "pause keeps the proof", rules: "DET-13", by: tests("detect/location", "."), patches: []patch{
		{"detect/location/idle.go", "\tm.proof = Proof{}\n", ""},
	}},
	{name: "hint of inside taken for a proof", rules: "DET-11", by: tests("client/e2e", "^TestLyingHintsOfInside$"), patches: []patch{
		{"detect/location/hint.go", "\tm.hint = h\n", "\tm.hint = h\n\tif h == HintInside {\n\t\tm.prove(evidence{iface: m.config.Interface, epoch: m.epoch, sentAt: now.Boot})\n\t}\n"},
	}},
	{name: "hint of outside gives the i-HA up", rules: "DET-11", by: tests("client/e2e", "^TestPlacesAreLearnt$"), patches: []patch{
		{"detect/location/hint.go", "Trying: true})", "Trying: false})"},
	}},
	{name: "one source port for both registrations", rules: "DET-15", by: tests("client/e2e", "^TestBothRequestsThroughOneForeignAgent$"), patches: []patch{
		{"stack/attachment.go", "Port: s.nextPort(), ", ""},
	}},
	{name: "no back-off while nobody answers", rules: "DET-18", by: tests("client/e2e", "^TestNetworkWithoutMobileIP$"), patches: []patch{
		{"detect/location/probe.go", "\tm.timers[timerAgain] = now.Boot + m.pause\n", "\tm.timers[timerAgain] = now.Boot\n"},
	}},
	{name: "re-registration only at expiry", rules: "DET-5", by: tests("client/e2e", "^TestLossDoesNotCloseTheGate$"), patches: []patch{
		{"detect/location/judge.go", "m.timers[timerMonitor] = m.proof.expires - m.config.Grace", "m.timers[timerMonitor] = m.proof.expires"},
	}},
	{name: "no trial of new tunnels", rules: "DET-19", by: tests("client/e2e", "^TestPseudoNATOutside$"), patches: []patch{
		{"client/trial.go", "\tk.Check(c.now.Boot + r.trial.delay)\n", ""},
	}},
	{name: "enterprise names asked outside", rules: "HST-3", by: tests("client/e2e", "^TestNoEnterpriseNameOutside$"), patches: []patch{
		{"client/dns/routing.go", "case r.Domains.Contain(q.Name):\n\t\treturn inside", "case r.Domains.Contain(q.Name):\n\t\treturn outside"},
	}},
	{name: "portal's way may lead to the enterprise", rules: "HST-5", by: tests("client/portal", "."), patches: []patch{
		{"client/portal/address.go", "return !slices.Contains(f.Addresses, a) && !slices.ContainsFunc(f.Prefixes, func(p netip.Prefix) bool { return p.Contains(a) })", "return !slices.Contains(f.Addresses, a)"},
	}},
	{name: "ping asks the enterprise's addresses without proof", rules: "DET-3", by: tests("client/e2e", "^TestPingGuardsTheEnterprise$"), patches: []patch{
		{"client/ping.go", "case c.guarded(l.Target) && !a.proven(c.now):", "case c.guarded(l.Target) && a.agent != nil:"},
	}},
}
