package interop

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/interop/charon"
	"mipvpn/ipsec/interop/debian"
	"mipvpn/ipsec/pki/pkitest"
	"mipvpn/tun/link"
)

// game is a case that is being played: our end, whatever its role, and what is on the ground.
type game struct {
	*recorder
	*ground
	Case
	ours    *endpoint
	machine commands
	// traffic sends data both ways.
	traffic func()
	up      ike.Established
	// What our end has, and what charon has: the same, unless a test has spoilt one.
	mine, theirs credentials
	psk          []byte
	password     string
	anchor       *pkitest.Authority
	revoked      []*x509.RevocationList
	// change and changeOurs change charon's connection and our configuration as initiator before they are used.
	change     func(charon.Section)
	changeOurs func(*ike.InitiatorConfig)
	// at is where the client is, outer what the gateway sees of it.
	at, outer netip.Addr
}

// commands are those of a session of ours.
type commands struct {
	rekeyChild func(now link.Instant, id ike.ChildID) error
	rekeyIKE   func(now link.Instant) error
	delete     func(now link.Instant)
	// addresses are the client's.
	addresses func(now link.Instant, addrs []netip.Addr) error
}

// newGame begins a case on the ground.
func newGame(r *recorder, on *ground, c Case) *game {
	g := &game{recorder: r, ground: on, Case: c, at: c.start(), outer: c.start(), psk: key, password: userPassword}
	if c.nat == clientNAT {
		g.outer = natOuter[0]
	}
	g.anchor = rootCA()
	if !c.auth.pskOnly() {
		g.mine, g.theirs = *c.auth.issued(), *c.auth.issued()
	}
	mark := on.mark()
	r.Cleanup(func() {
		if r.Failed() {
			r.Logf("%s:\n%s", c.peer.name, on.logSince(mark))
		}
	})
	return g
}

// play plays a case on the ground.
func play(r *recorder, on *ground, c Case) {
	r.Helper()
	g := newGame(r, on, c)
	g.load()
	if c.role == initiator {
		g.connect()
	} else {
		g.serve()
	}
	g.agree()
	g.exchange()
	if c.move != fixed && c.move != stays {
		g.roam()
		g.agree()
		g.exchange()
	}
	for _, s := range c.rekey {
		g.take(s)
		g.agree()
		g.exchange()
	}
	g.end()
}

// start is where the client is at first.
func (c Case) start() netip.Addr {
	if c.nat == clientNAT {
		return natAddrs[0]
	}
	return clientAddr
}

// connect brings our client up against the peer's gateway.
func (g *game) connect() {
	g.Helper()
	cfg := g.initiatorConfig()
	c := g.ourClient(cfg)
	g.traffic = c.data
	c.start()
	g.up = wait[ike.Established](c)
	g.assigned()
	if g.up.PPK != (g.ppk != noPPK) || g.up.RemoteID != identity(g, gatewayName) || g.up.MOBIKE != (g.move != fixed) {
		g.Fatalf("established with %+v", g.up)
	}
	// kernel-libipsec makes charon pretend that it is behind a NAT.
	if want := (ike.NAT{Local: g.nat == clientNAT, Remote: true}); g.up.NAT != want || !g.up.UDPEncapsulation {
		g.Fatalf("NAT %+v, encapsulation %t; want %+v", g.up.NAT, g.up.UDPEncapsulation, want)
	}
	wait[ike.ChildInstalled](c)
}

// ourClient makes our initiator, which has sockets on all addresses of the client.
func (g *game) ourClient(cfg ike.InitiatorConfig) *client {
	g.Helper()
	p := g.prove(&cfg)
	if g.changeOurs != nil {
		g.changeOurs(&cfg)
	}
	c := newClient(g.recorder, g.client, cfg, slices.DeleteFunc(
		[]netip.Addr{clientAddr, otherAddr, natAddrs[0], natAddrs[1]}, func(a netip.Addr) bool { return a == g.at })...)
	g.ours = c.endpoint
	if p != nil {
		p.machine = c.machine
		c.command(func(link.Instant) error { c.ask = p.answer; return nil })
	}
	g.machine = commands{c.machine.RekeyChild, c.machine.RekeyIKE, c.machine.Delete, c.machine.SetAddresses}
	return c
}

// What gateways assign.
var (
	nameServer  = netip.MustParseAddr("10.0.1.1")
	poolPrefix6 = netip.MustParsePrefix("fd00:9::/112")
	company6    = netip.MustParsePrefix("fd00:1::/64")
)

const domainName = "corp.example"

func (g *game) initiatorConfig() ike.InitiatorConfig {
	cfg := ike.InitiatorConfig{
		Config: g.common(clientName),
		Local:  netip.AddrPortFrom(g.at, esp.PortIKE), Remote: netip.AddrPortFrom(gatewayAddr, esp.PortIKE),
		RemoteID: identity(g, gatewayName), RequestAddress: true, RequestDNS: true,
		RequestAddress6: g.config == both, RequestDomains: g.config == splitDNS, RequirePPK: g.ppk == requiredPPK,
	}
	if g.ppk != noPPK {
		cfg.PPK = &ike.PPK{ID: ppkName, Key: ppkKey}
	}
	return cfg
}

// common is what both roles have in common.
func (g *game) common(name string) ike.Config {
	cfg := ike.Config{LocalID: identity(g, name), Proposals: g.suite.ours}
	switch g.sizes {
	case whole:
		cfg.Fragmentation.Off = true
	case small:
		cfg.Fragmentation = ike.Fragmentation{Size: 400, Smallest: 300}
	}
	if g.move != fixed {
		cfg.MOBIKE = &ike.MOBIKE{}
	}
	return cfg
}

// assigned checks what the client has been assigned.
func (g *game) assigned() {
	g.Helper()
	got := g.up.Configuration
	pools := []netip.Prefix{poolPrefix}
	if g.config == both {
		pools = append(pools, poolPrefix6)
	}
	ok := len(got.Addresses) == len(pools)
	for i, pool := range pools {
		ok = ok && pool.Contains(got.Addresses[i])
	}
	if g.role == initiator {
		ok = ok && slices.Equal(got.DNS, []netip.Addr{nameServer})
		if g.config == splitDNS {
			ok = ok && len(got.Domains) == 1 && got.Domains[0].Name == domainName
		}
	}
	if !ok {
		g.Fatalf("assigned: %+v", got)
	}
}

// serve brings our gateway up and has the peer connect to it.
func (g *game) serve() {
	g.Helper()
	g.ours = g.ourGateway()
	if g.move == otherNAT {
		g.leave(g, "eth0", netip.Addr{})
	}
	done := g.initiate()
	g.up = wait[ike.Established](g.ours)
	g.assigned()
	if g.up.PPK != (g.ppk != noPPK) || g.up.RemoteID != identity(g, g.auth.last()) || len(g.up.Proved) != len(g.auth.client) || !g.up.UDPEncapsulation || !g.up.NAT.Remote || g.up.NAT.Local ||
		g.up.MOBIKE != (g.move != fixed) || g.up.Remote.Addr() != g.outer {
		g.Fatalf("established with %+v", g.up)
	}
	wait[ike.ChildInstalled](g.ours)
	if err := <-done; err != nil {
		g.Fatal(err)
	}
	traveller := newTraveller(g.recorder, g.client, g.up.Configuration.Addresses[0])
	g.traffic = traveller.data
}

// ourGateway makes our responder.
func (g *game) ourGateway() *endpoint {
	g.Helper()
	// Our gateway has no PPK and no pre-shared key in front of EAP.
	if g.ppk == noPPK && (g.auth.pskOnly() || g.auth.client[0] != byPSK) {
		return g.serveAll()
	}
	return g.serveOne()
}

// serveAll makes our gateway.
func (g *game) serveAll() *endpoint {
	g.Helper()
	cfg := g.gatewayConfig()
	var asks *prover
	if !g.auth.pskOnly() {
		asks = g.rules(&cfg)
	}
	ours := newGate(g.recorder, g.gate, cfg, gatewayAddr)
	if asks != nil {
		ours.command(func(link.Instant) error { ours.prove(asks); return nil })
	}
	gw := ours.gateway
	g.machine = commands{
		func(now link.Instant, id ike.ChildID) error { return gw.RekeyChild(now, ours.session, id) },
		func(now link.Instant) error { return gw.RekeyIKE(now, ours.session) },
		func(now link.Instant) {
			if err := gw.Delete(now, ours.session); err != nil {
				g.Error(err)
			}
		},
		nil,
	}
	return ours.endpoint
}

func (g *game) gatewayConfig() gateway.Config {
	cfg := gateway.Config{
		IKE:   g.common(gatewayName),
		Peers: []gateway.Peer{{Identity: identity(g, clientName), PSK: g.psk}},
		Pool:  poolPrefix, DNS: []netip.Addr{nameServer}, Networks: []netip.Prefix{company},
	}
	switch g.config {
	case both:
		cfg.Pool6, cfg.Networks = poolPrefix6, append(cfg.Networks, company6)
	case splitDNS:
		cfg.Domains = []ike.Domain{{Name: domainName}}
	}
	return cfg
}

// agree checks that charon says of the SAs what the case wants.
func (g *game) agree() {
	g.Helper()
	sas := g.sas(g.recorder)
	if len(sas) != 1 {
		g.Fatalf("charon has %d IKE SAs: %v", len(sas), sas)
	}
	sa := sas[0]
	want := map[string]string{"state": "ESTABLISHED", "version": "2"}
	for k, v := range g.suite.ikeSA {
		want[k] = v
	}
	if g.role == initiator {
		want["remote-id"], want["local-id"] = g.auth.last(), gatewayName
		want["nat-remote"], want["remote-host"] = "", g.outer.String()
		if g.outer != g.at {
			want["nat-remote"] = "yes"
		}
	} else {
		want["remote-id"], want["local-id"] = gatewayName, g.auth.last()
		want["nat-remote"], want["local-host"] = "", g.at.String()
	}
	for k, v := range want {
		if got := sa.String(k); got != v {
			g.Fatalf("charon's IKE SA has %s %q, want %q", k, got, v)
		}
	}
	child := g.theirChild()
	for k, v := range g.suite.childSA {
		if got := child.String(k); got != v {
			g.Fatalf("charon's child SA has %s %q, want %q", k, got, v)
		}
	}
	if child.String("encap") != "yes" || child.String("mode") != "TUNNEL" {
		g.Fatalf("charon's child SA is %v", child)
	}
}

// theirChild waits until the peer has the child SA that we use, and returns it.
func (g *game) theirChild() (child charon.Section) {
	g.Helper()
	in, _ := g.using()
	eventually(g.recorder, "the peer uses the child SA that we use", func() (bool, string) {
		var all []string
		for _, sa := range g.sas(g.recorder) {
			children := sa.Section("child-sas")
			for _, name := range sections(children) {
				c := children.Section(name)
				spi, err := strconv.ParseUint(c.String("spi-out"), 16, 32)
				if err == nil && uint32(spi) == in && c.String("state") == "INSTALLED" {
					child = c
					return true, ""
				}
				all = append(all, c.String("spi-out")+" "+c.String("state"))
			}
		}
		return false, fmt.Sprintf("want one with the outbound SPI %08x, found %v", in, all)
	})
	return child
}

// using returns the SPIs of the child SA that we send with.
func (g *game) using() (in, out uint32) {
	g.ours.command(func(link.Instant) error {
		sa := g.ours.children[g.ours.using]
		if sa == nil {
			return errors.New("no child SA is in use")
		}
		in, out = sa.in.SPI(), sa.out.SPI()
		return nil
	})
	return in, out
}

// exchange sends data both ways and compares the counts of both ends: what one has sealed, the other has opened.
func (g *game) exchange() {
	g.Helper()
	g.traffic()
	var sealed, opened uint64
	g.ours.command(func(link.Instant) error {
		sa := g.ours.children[g.ours.using]
		sealed, opened = sa.out.Usage().Packets, sa.in.Usage().Packets
		return nil
	})
	child := g.theirChild()
	count := func(key string) uint64 {
		n, err := strconv.ParseUint(child.String(key), 10, 64)
		if err != nil {
			g.Fatalf("charon's child SA has %s %q", key, child.String(key))
		}
		return n
	}
	if in, out := count("packets-in"), count("packets-out"); in != sealed || out != opened || sealed == 0 || opened == 0 {
		g.Fatalf("we have sealed %d and opened %d packets, charon has sealed %d and opened %d", sealed, opened, out, in)
	}
}

// take takes a step.
func (g *game) take(s step) {
	g.Helper()
	switch s {
	case childByUs, childByThem:
		var before childKey
		g.ours.command(func(link.Instant) error { before = g.ours.using; return nil })
		if s == childByUs {
			g.ours.command(func(now link.Instant) error { return g.machine.rekeyChild(now, before.child) })
		} else {
			g.call(g.recorder, "rekey", charon.Section{"child": childName})
		}
		if next := wait[ike.ChildInstalled](g.ours); next.Replaces != before.child {
			g.Fatalf("the new child SA replaces %d, want %d", next.Replaces, before.child)
		}
		// Of a child SA that they make we send only when they have said that they can receive.
		g.follow(before)
	case ikeByUs:
		g.ours.command(g.machine.rekeyIKE)
		wait[ike.IKERekeyed](g.ours)
	case ikeByThem:
		g.call(g.recorder, "rekey", charon.Section{"ike": connection})
		wait[ike.IKERekeyed](g.ours)
	}
	eventually(g.recorder, "charon has done with the old SA", func() (bool, string) {
		sas := g.sas(g.recorder)
		return len(sas) == 1 && sas[0].String("state") == "ESTABLISHED", fmt.Sprint(sas)
	})
}

// roam moves the client to where the case says, and waits until both ends have followed.
func (g *game) roam() {
	g.Helper()
	var before childKey
	g.ours.command(func(link.Instant) error { before = g.ours.using; return nil })
	switch g.move {
	case otherAddress:
		g.at, g.outer = otherAddr, otherAddr
	case outOfNAT:
		g.at, g.outer = clientAddr, clientAddr
	case behindNAT:
		g.at, g.outer = natAddrs[0], natOuter[0]
	case otherNAT:
		g.at, g.outer = natAddrs[1], natOuter[1]
	}
	if g.role == initiator {
		g.ours.command(func(now link.Instant) error { return g.machine.addresses(now, []netip.Addr{g.at}) })
	} else {
		g.Cleanup(func() {
			if g.move == otherAddress {
				g.readdress(g)
			}
			g.settle(g)
		})
		switch g.move {
		case otherAddress:
			g.leave(g, "eth0", clientAddr)
		case behindNAT:
			g.leave(g, "eth0", netip.Addr{})
		case outOfNAT, otherNAT:
			g.leave(g, natName(0), netip.Addr{})
		}
	}
	host := "local-host"
	if g.role == initiator {
		host = "remote-host"
	}
	eventually(g.recorder, "the peer's IKE SA moves", func() (bool, string) {
		sas := g.sas(g.recorder)
		want := g.at
		if g.role == initiator {
			want = g.outer
		}
		return len(sas) == 1 && sas[0].String(host) == want.String(), fmt.Sprintf("want %s %v, found %v", host, want, sas)
	})
	eventually(g.recorder, "our child SA moves", func() (moved bool, state string) {
		g.ours.command(func(link.Instant) error {
			sa := g.ours.children[before]
			if sa == nil {
				moved = true // replaced already
				return nil
			}
			mine, want := sa.local.Addr(), g.at
			if g.role == responder {
				mine, want = sa.remote.Addr(), g.outer
			}
			moved, state = mine == want, fmt.Sprintf("want %v, found %v", want, mine)
			return nil
		})
		return moved, state
	})
	// kernel-libipsec cannot change an SA's endpoints, so charon replaces the child SA after each move.
	if next := wait[ike.ChildInstalled](g.ours); next.Replaces != before.child {
		g.Fatalf("the new child SA replaces %d, want %d", next.Replaces, before.child)
	}
	g.follow(before)
}

// follow waits until we send with another child SA than before.
func (g *game) follow(before childKey) {
	g.Helper()
	eventually(g.recorder, "we use the new child SA", func() (in bool, state string) {
		g.ours.command(func(link.Instant) error { in, state = g.ours.using != before, fmt.Sprint(g.ours.using); return nil })
		return in, state
	})
}

// end deletes the IKE SA, by the end that the case names, and sees that nothing is left at either.
func (g *game) end() {
	g.Helper()
	want := ike.ErrDeleted
	if g.deleter == "us" {
		g.ours.command(func(now link.Instant) error { g.machine.delete(now); return nil })
	} else {
		want = ike.ErrDeletedByPeer
		g.call(g.recorder, "terminate", charon.Section{"ike": connection, "timeout": "20000"})
	}
	if end := wait[ike.Closed](g.ours); !errors.Is(end.Err, want) {
		g.Fatalf("closed with %v, want %v", end.Err, want)
	}
	g.ours.command(func(link.Instant) error {
		if len(g.ours.children) != 0 || g.ours.inbound.Len() != 0 {
			return fmt.Errorf("%d child SAs, %d inbound SPIs are left", len(g.ours.children), g.ours.inbound.Len())
		}
		return nil
	})
	g.noSAs(g.recorder)
}

// unavailable reports whether a peer cannot be had here, which is no failure.
func unavailable(err error) bool {
	return errors.Is(err, debian.ErrUnavailable) || errors.Is(err, charon.ErrNotInstalled)
}
