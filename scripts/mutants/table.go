package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// mutant is the source without a rule.
type mutant struct {
	name string
	// rules are the requirements that it breaks.
	rules string
	// base is what is taken out besides, so that the rule stands alone; with it the run still passes.
	base    []patch
	patches []patch
	by      run
	quick   bool // `make test` plays it
}

// describe names the mutant, the rule, and where it is patched.
func (m mutant) describe() string {
	var files []string
	for _, p := range m.patches {
		if !slices.Contains(files, p.file) {
			files = append(files, p.file)
		}
	}
	return fmt.Sprintf("%s (%s; %s)", m.name, m.rules, strings.Join(files, ", "))
}

// The runs.
var demo = run{}

// soak is a soak of so many transitions in walks of fifty from that seed on.
func soak(transitions, seed int, kinds string) run {
	args := []string{"-transitions", strconv.Itoa(transitions), "-walks", strconv.Itoa((transitions + 49) / 50), "-seed", strconv.Itoa(seed)}
	if kinds != "" {
		args = append(args, "-kinds", kinds)
	}
	return run{pkg: "client/soak", test: "^TestSoak$", args: args}
}

func tests(pkg, pattern string) run { return run{pkg: pkg, test: pattern} }

// inNamespaces are tests that need root.
func inNamespaces(pkg, pattern string) run { return run{pkg: pkg, test: pattern, root: true} }

// actor takes out what the actor does by itself when a connection goes: the pipeline in use and the link layer under it stay
// until the next ones are there.
var actor = []patch{
	{"stack/engine.go", "func (e *Engine) Hold() {\n", "func (e *Engine) Hold() {\n\tif e.current.Load() != nil {\n\t\treturn\n\t}\n"},
	{"stack/engine.go", "func (e *Engine) Swap(p *Pipeline) {\n", "func (e *Engine) Swap(p *Pipeline) {\n\tif p == nil {\n\t\treturn\n\t}\n"},
	{"client/aside.go", "case !i.Up:\n", "case !i.Up && i.segment == nil:\n"},
	{"client/interfaces.go", "if e.Relinked {\n", "if e.Gone {\n"},
}

// gate takes out the gate: everything passes.
var gate = []patch{
	{"stack/gate/gate.go", "func (g *Gate) age(iface int, epoch uint64) (time.Duration, bool) {\n",
		"func (g *Gate) age(iface int, epoch uint64) (time.Duration, bool) {\n\tif iface >= 0 {\n\t\treturn 0, true\n\t}\n"},
}

// line takes out the kernel's half of the gate, on the simulated network and in nftables: plaintext needs no permit.
var line = []patch{
	{"stack/simnet/line.go", "if !plaintext || h.line == nil {\n", "if c.index >= 0 {\n"},
	{"tun/hostnet/line_linux.go", `		rule("marked as plaintext", drop`, `		rule("marked as plaintext", accept`},
}

func join(sets ...[]patch) []patch { return slices.Concat(sets...) }

// table is every mutant.
var table = slices.Concat(layers, gateRules, proofRules, detectionRules, hostRules, nameRules, mtuRules, kernelRules)

// layers are the three layers that hold the line: any one of them is enough in this move.
var layers = []mutant{
	{name: "actor's cut, gate and kernel's line removed", rules: "DET-2, DET-4, HST-2", base: join(actor, line), patches: gate, by: demo, quick: true},
	{name: "actor's cut, gate and kernel's line removed, the line last", rules: "HST-2", base: join(actor, gate), patches: line, by: demo, quick: true},
	{name: "gate removed, with the kernel's line", rules: "DET-2, DET-4", base: actor, patches: join(gate, line), by: soak(50, 1, "")},
}

// asleep are the kinds of transitions for what has to do with sleep.
const asleep = "to the office;to the office FA;sleep;sleep, woken elsewhere;sleep, re-routed meanwhile;silent way back"

// trust are those for what has to do with the i-HA's word for a network.
const trust = "to the office;to the office FA;i-HA without TNC;i-HA with TNC"

// gateRules are the rules of the gate, which stands alone here.
var gateRules = []mutant{
	{name: "epoch ignored by the gate", rules: "DET-2", base: join(actor, line), by: soak(100, 1, ""), patches: []patch{
		{"stack/gate/gate.go", "if e.iface == iface && e.epoch == epoch && !e.proof.IsZero() {", "if e.iface == iface && !e.proof.IsZero() {"},
		{"stack/gate/gate.go", "if e := g.find(iface); e == nil || e.epoch < epoch {", "if e := g.find(iface); e == nil {"},
	}},
	{name: "interface ignored by the gate", rules: "DET-1", by: tests("stack/gate", "."), patches: []patch{
		{"stack/gate/gate.go", "if e.iface == iface && e.epoch == epoch && !e.proof.IsZero() {", "if (e.iface != iface || e.epoch == epoch) && e.proof.Live(g.clock.Now().Boot) {"},
	}},
	{name: "T_MONITOR ignored", rules: "DET-4", base: line, by: soak(50, 1, "to the office;to the office FA;silent re-route;silent move;silent way back"), quick: true, patches: []patch{
		{"detect/location/proof.go", "p.sentAt <= now && now < p.expires", "p.sentAt <= now"},
		{"detect/location/machine.go", "if m.due(timerExpiry, now) {", "if m.due(timerExpiry, now) && m.epoch == 0 {"},
	}},
	{name: "gate's own watch for sleep removed", rules: "DET-2, HST-6", by: soak(150, 1, asleep), patches: []patch{
		{"client/client.go", "c.gate.WatchSleep(lived())", "_ = lived"},
	}},
	{name: "resume not noticed", rules: "DET-2, HST-6", by: soak(100, 1, asleep), patches: []patch{
		{"client/client.go", "c.gate.WatchSleep(lived())", "_ = lived"},
		{"client/client.go", "if c.resume.resumed(c.now) {", "if c.resume.resumed(c.now) && c.cfg == nil {"},
	}},
	{name: "clock not counting suspend", rules: "DET-4, HST-6", by: soak(100, 1, asleep), patches: []patch{
		{"stack/simnet/clock.go", "\th.bootOffset += d\n", ""},
	}},
}

// proofRules are what makes a reply a proof.
var proofRules = []mutant{
	{name: "TNC check removed", rules: "DET-3, DET-14", by: soak(50, 1, trust), patches: []patch{
		{"detect/location/judge.go", "case !e.trustedNetwork && !m.config.WaiveTNC:", "case !e.trustedNetwork && !m.config.WaiveTNC && !e.direct:"},
	}},
	{name: "position of TNC ignored", rules: "DET-3", by: soak(100, 1, trust), patches: []patch{
		{"mipv4/mobilenode/accept.go", "trustedNetwork: trusted(covered)", "trustedNetwork: trusted(reply.Extensions)"},
	}},
	{name: "5 s limit ignored", rules: "DET-4", by: tests("client/e2e", "^TestReplyAfterFiveSecondsIsNoProof$"), patches: []patch{
		{"detect/location/judge.go", "case age < 0 || age > ReplyLimit:", "case age < 0:"},
	}},
	{name: "weak key ignored", rules: "DET-17", by: soak(50, 7, "to the office;to the office FA;to the café"), patches: []patch{
		{"detect/location/judge.go", "case !e.strongKey:", "case !e.strongKey && !e.direct:"},
	}},
	{name: "replies through the VPN taken for direct ones", rules: "DET-3", by: tests("detect/location", "."), patches: []patch{
		{"detect/location/judge.go", "if !e.direct {", "if !e.direct && e.code > 1 {"},
	}},
	{name: "interface of a reply ignored", rules: "DET-1", by: tests("detect/location", "."), patches: []patch{
		{"detect/location/judge.go", "if e.iface != m.config.Interface {", "if e.iface < 0 {"},
	}},
	{name: "epoch of a reply ignored", rules: "DET-2", by: tests("detect/location", "."), patches: []patch{
		{"detect/location/judge.go", "if err := m.present(e.epoch); err != nil {", "if err := m.present(m.epoch); err != nil {"},
	}},
	{name: "carrier flap between two snapshots not noticed", rules: "DET-2", by: soak(100, 1, "to the office FA;to the hotspot"), patches: []patch{
		{"client/roam/candidate.go", "case b.Up && a.CarrierChanges != b.CarrierChanges:", "case b.Up && !a.Up:"},
	}},
}

// hostRules are what holds when the daemon is not there.
var hostRules = []mutant{
	{name: "the line ends with the daemon", rules: "HST-2", by: soak(100, 1, ""), patches: []patch{
		{"stack/simnet/device.go", "\td.end()\n\td.host.devices", "\td.end()\n\td.host.line = nil\n\td.host.devices"},
	}},
	{name: "the line lets destinations out", rules: "HST-2", by: soak(100, 1, ""), patches: []patch{
		{"stack/simnet/line.go", "return h.line != nil && (h.line.full || h.line.enterprise(dst)) && !h.neighbour(dst)", "return false"},
	}},
}

// kernelRules are those of tun/hostnet, in nftables and routes.
var kernelRules = []mutant{
	{name: "egress chains missing", rules: "HST-2", by: inNamespaces("tun/hostnet", "^TestKillSwitchEachRule$"), patches: []patch{
		{"tun/hostnet/line_linux.go", `var everyFrame = rule("every frame", to(frameChain), nil)`, `var everyFrame = rule("every frame", accept, nil)`},
	}},
	{name: "inet chains missing", rules: "HST-2", by: inNamespaces("tun/hostnet", "^TestKillSwitchEachRule$"), patches: []patch{
		{"tun/hostnet/killswitch_linux.go", `{Name: outputChain, Table: inet, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput`, `{Name: outputChain, Table: inet, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput`},
	}},
	{name: "plaintext needs no permit in nftables", rules: "HST-2, DET-4", by: inNamespaces("tun/hostnet", "^TestPermit$"), patches: []patch{
		{"tun/hostnet/line_linux.go", `		rule("marked as plaintext", drop`, `		rule("marked as plaintext", accept`},
	}},
	{name: "plaintext let out by IPv6", rules: "HST-2", by: inNamespaces("tun/hostnet", "^TestKillSwitchEachRule$"), patches: []patch{
		{"tun/hostnet/line_linux.go", `{rule("marked as plaintext", drop`, `{rule("marked as plaintext", accept`},
	}},
	{name: "enterprise destinations let out", rules: "HST-2", by: inNamespaces("tun/hostnet", "^TestKillSwitchEachRule$"), patches: []patch{
		{"tun/hostnet/line_linux.go", `rules = append(rules, rule(fmt.Sprintf("to %v", p), drop, masked(network, 16, p)))`, `_ = p`},
	}},
	{name: "home addresses let out", rules: "HST-2", by: inNamespaces("tun/hostnet", "^TestKillSwitchEachRule$"), patches: []patch{
		{"tun/hostnet/line_linux.go", `rules = append(rules, rule(fmt.Sprintf("from %v", a), drop, field(network, 12, a.AsSlice())))`, `_ = a`},
	}},
	{name: "IPv6 not covered", rules: "HST-2", by: inNamespaces("tun/hostnet", "^TestKillSwitchEachRule$"), patches: []patch{
		{"tun/hostnet/line_linux.go", `rules = append(rules, rule(fmt.Sprintf("to %v", p), drop, destination6(p)))`, `_ = p`},
	}},
	{name: "frames called something else let out", rules: "HST-2", by: inNamespaces("tun/hostnet", "^TestKillSwitchEachRule$"), patches: []patch{
		{"tun/hostnet/line_linux.go", `rule("IPv4 by Ethernet type", to(judgeChain), etherType(unix.ETH_P_IP)),`, ``},
	}},
	{name: "portal exception too wide", rules: "HST-5", by: inNamespaces("tun/hostnet", "^TestKillSwitchEachRule$"), patches: []patch{
		{"tun/hostnet/line_linux.go", `rule("marked as a portal's", drop`, `rule("marked as a portal's", accept`},
	}},
	{name: "unreachable routes missing after a crash", rules: "HST-2", by: inNamespaces("tun/hostnet", "^(TestAfterCrash|TestKillSwitchOutlivesKill)$"), patches: []patch{
		{"tun/hostnet/routes_linux.go", `want = append(want, special(p, unix.RTN_UNREACHABLE, lastMetric))`, `_ = p`},
	}},
	{name: "routes of DHCP's option 121 followed", rules: "HST-1", by: inNamespaces("tun/hostnet", "^TestAdversaries$"), patches: []patch{
		{"tun/hostnet/policy_linux.go", "unmarked.Priority, unmarked.Table = n.opts.Priority, n.opts.Table", "unmarked.Priority, unmarked.Table = n.opts.Priority+10000, n.opts.Table"},
	}},
}
