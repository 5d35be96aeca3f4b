package interop

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/interop/charon"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
)

// benchmarked are the ways of authenticating that are measured.
func benchmarked() (out []authentication) {
	for _, a := range allAuthentications() {
		if slices.Contains([]string{"PSK", "ECDSA P-256", "RSA PSS SHA-256"}, a.name) {
			out = append(out, a)
		}
	}
	return out
}

// BenchmarkHandshake measures a whole handshake, IKE_SA_INIT and IKE_AUTH with the first child SA, on the wire: from the first
// request's passing to the last response's, by the kernel's timestamps, between namespaces of this machine. So what either
// program does before it sends and after it has received is not in it, with either program alike. wire-ms is the median.
func BenchmarkHandshake(b *testing.B) {
	for _, a := range benchmarked() {
		b.Run(a.name, func(b *testing.B) {
			c := Case{peer: strongSwan59, auth: a, suite: allTransforms()[0], nat: noNAT, sizes: usual, config: plain, ppk: noPPK, move: fixed}
			b.Run("ours to ours", func(b *testing.B) { benchOurs(b, c) })
			b.Run("charon to charon", func(b *testing.B) { benchCharon(b, c) })
			b.Run("ours to charon", func(b *testing.B) { benchToCharon(b, c) })
			b.Run("charon to ours", func(b *testing.B) { benchFromCharon(b, c) })
		})
	}
}

// benchGround lays the ground out with charon on one side, and the game for our end in the role.
func benchGround(b *testing.B, c Case, ours role) *game {
	b.Helper()
	r := &recorder{TB: b}
	on := mustGround(r, b, c.peer, ours)
	c.role = ours
	return newGame(r, on, c)
}

func benchOurs(b *testing.B, c Case) {
	g := benchGround(b, c, initiator)
	g.call(g.recorder, "version", nil)
	if err := g.daemon.Stop(); err != nil { // the gateway's sockets are ours now
		b.Fatal(err)
	}
	w := newStopwatch(b, g.gate)
	for b.Loop() {
		server := g.ourGateway()
		ours := g.ourClient(g.initiatorConfig())
		ours.start()
		wait[ike.Established](ours)
		wait[ike.ChildInstalled](server)
		w.lap()
		ours.command(func(now link.Instant) error { ours.machine.Delete(now); return nil })
		wait[ike.Closed](ours)
		ours.close()
		server.close()
	}
	w.report()
}

func benchToCharon(b *testing.B, c Case) {
	g := benchGround(b, c, initiator)
	g.load()
	w := newStopwatch(b, g.gate)
	for b.Loop() {
		ours := g.ourClient(g.initiatorConfig())
		ours.start()
		wait[ike.Established](ours)
		w.lap()
		ours.command(func(now link.Instant) error { ours.machine.Delete(now); return nil })
		wait[ike.Closed](ours)
		g.noSAs(g.recorder)
		ours.close()
	}
	w.report()
}

func benchFromCharon(b *testing.B, c Case) {
	g := benchGround(b, c, responder)
	g.load()
	w := newStopwatch(b, g.gate)
	for b.Loop() {
		server := g.ourGateway()
		if err := <-g.initiate(); err != nil {
			b.Fatal(err)
		}
		w.lap()
		g.call(g.recorder, "terminate", charon.Section{"ike": connection, "timeout": "20000"})
		g.noSAs(g.recorder)
		server.close()
	}
	w.report()
}

func benchCharon(b *testing.B, c Case) {
	server := benchGround(b, c, initiator)
	server.load()
	client := *server
	on := *server.ground
	d, err := c.peer.start(charon.Options{Configuration: "../../configs/strongswan", ExtraDaemon: daemonExtra, Bare: true,
		Dir: b.TempDir(), Launch: charon.In(on.client)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := d.Kill(); err != nil {
			b.Error(err)
		}
	})
	on.daemon = d
	client.ground, client.role = &on, responder
	client.load()
	w := newStopwatch(b, server.gate)
	for b.Loop() {
		if err := <-on.initiate(); err != nil {
			b.Fatal(err)
		}
		w.lap()
		on.call(client.recorder, "terminate", charon.Section{"ike": connection, "timeout": "20000"})
		on.noSAs(client.recorder)
		server.noSAs(server.recorder)
	}
	w.report()
}

// stopwatch sees the IKE messages on the gateway's wire.
type stopwatch struct {
	b    *testing.B
	fd   int
	laps []time.Duration
}

func newStopwatch(b *testing.B, ns *os.File) *stopwatch {
	b.Helper()
	w := &stopwatch{b: b, fd: -1}
	netnstest.Inside(b, ns, func() (err error) {
		if w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, int(swap(unix.ETH_P_ALL))); err != nil {
			return err
		}
		return errors.Join(unix.SetsockoptInt(w.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
			unix.SetsockoptInt(w.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20))
	})
	b.Cleanup(func() { unix.Close(w.fd) })
	return w
}

func swap(v uint16) uint16 { return v<<8 | v>>8 }

// lap takes the time from the first IKE_SA_INIT request that has passed to the last IKE_AUTH message. The handshake is over.
func (w *stopwatch) lap() {
	w.b.Helper()
	var first, last time.Duration
	packet, control := make([]byte, 65536), make([]byte, 256)
	for {
		n, cn, _, _, err := unix.Recvmsg(w.fd, packet, control, 0)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			w.b.Fatal(err)
		}
		h, ok := ikeHeader(packet[:n])
		if !ok {
			continue
		}
		at, ok := timestamp(control[:cn])
		switch {
		case !ok:
			w.b.Fatal("a packet without a timestamp")
		case h.Exchange == message.IKESAInit && first == 0:
			first = at
		case h.Exchange == message.IKEAuth:
			last = at
		}
	}
	if first == 0 || last == 0 {
		w.b.Fatal("no handshake was seen")
	}
	// The kernel begins to take timestamps a little after it was asked to.
	if last > first {
		w.laps = append(w.laps, last-first)
	}
}

// ikeHeader finds the IKE header of an IPv4 packet.
func ikeHeader(p []byte) (message.Header, bool) {
	if len(p) < 28 || p[0]>>4 != 4 || p[9] != unix.IPPROTO_UDP || len(p) < int(p[0]&15)*4+8 {
		return message.Header{}, false
	}
	udp := p[int(p[0]&15)*4:]
	body := udp[8:]
	if binary.BigEndian.Uint16(udp) == esp.PortNATT || binary.BigEndian.Uint16(udp[2:]) == esp.PortNATT {
		if esp.Classify(body) != esp.KindIKE {
			return message.Header{}, false
		}
		body = body[esp.MarkerLen:]
	}
	h, err := message.ParseHeader(body)
	return h, err == nil
}

// timestamp reads the kernel's.
func timestamp(control []byte) (time.Duration, bool) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0, false
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= 16 {
			return time.Duration(binary.NativeEndian.Uint64(m.Data))*time.Second + time.Duration(binary.NativeEndian.Uint64(m.Data[8:])), true
		}
	}
	return 0, false
}

// report gives the median.
func (w *stopwatch) report() {
	if len(w.laps) == 0 {
		return // of one handshake only
	}
	slices.SortFunc(w.laps, func(a, b time.Duration) int { return cmp.Compare(a, b) })
	w.b.ReportMetric(float64(w.laps[len(w.laps)/2])/float64(time.Millisecond), "wire-ms")
}

// BenchmarkResponder measures how many handshakes a second the gateway's side takes on one core: the time spent in its machine
// and in what its driver does for it, signing and verifying chains. What the client's side takes is not counted.
func BenchmarkResponder(b *testing.B) {
	for _, a := range benchmarked() {
		b.Run(a.name, func(b *testing.B) {
			r := &recorder{TB: b}
			g := &game{recorder: r, ground: &ground{t: b}, Case: Case{auth: a, suite: allTransforms()[0], sizes: usual, config: plain, ppk: noPPK, move: fixed},
				psk: key, password: userPassword, at: clientAddr, anchor: rootCA()}
			if !a.pskOnly() {
				g.mine = *a.issued()
			}
			var spent time.Duration
			n := 0
			for b.Loop() {
				spent += g.handshake()
				n++
			}
			b.ReportMetric(float64(n)/spent.Seconds(), "handshakes/s")
		})
	}
}

// handshake plays one between machines of ours, without sockets, and returns the responder's time.
func (g *game) handshake() (spent time.Duration) {
	g.Helper()
	cfg := g.initiatorConfig()
	asks := g.prove(&cfg)
	client, err := ike.NewInitiator(cfg, rand.Reader)
	if err != nil {
		g.Fatal(err)
	}
	if asks != nil {
		asks.machine = client
	}
	now := link.Instant{Boot: time.Hour, Wall: time.Now()}
	server, answer := g.benchServer()
	if err := client.Start(now); err != nil {
		g.Fatal(err)
	}
	for up := false; !up; {
		sent := false
		for e, ok := client.PollEvent(); ok; e, ok = client.PollEvent() {
			switch e := e.(type) {
			case ike.Established:
				up = true
			case ike.Closed:
				g.Fatal(e.Err)
			}
			if asks != nil {
				if err := asks.answer(now, happening{Event: e}); err != nil {
					g.Fatal(err)
				}
			}
		}
		for t, ok := client.PollTransmit(); ok; t, ok = client.PollTransmit() {
			sent = true
			begin := time.Now()
			err := server.HandleDatagram(now, ike.Datagram{Local: t.Remote, Remote: t.Local, Payload: t.Payload})
			answer(now)
			var back []ike.Transmit
			for t, ok := server.PollTransmit(); ok; t, ok = server.PollTransmit() {
				back = append(back, t)
			}
			spent += time.Since(begin)
			if err != nil {
				g.Fatal(err)
			}
			for _, t := range back {
				if err := client.HandleDatagram(now, ike.Datagram{Local: t.Remote, Remote: t.Local, Payload: t.Payload}); err != nil {
					g.Fatal(err)
				}
			}
		}
		if !sent && !up {
			g.Fatal("the handshake has come to a stand")
		}
	}
	return spent
}

// benchServer makes our responder: the gateway where there are pre-shared keys alone. answer takes its events.
func (g *game) benchServer() (m machine, answer func(now link.Instant)) {
	g.Helper()
	if g.auth.pskOnly() {
		gw, err := gateway.New(g.gatewayConfig(), rand.Reader)
		if err != nil {
			g.Fatal(err)
		}
		return gw, func(link.Instant) {
			for _, ok := gw.PollEvent(); ok; _, ok = gw.PollEvent() {
			}
		}
	}
	p, required := g.requirement()
	r, err := ike.NewResponder(ike.ResponderConfig{Config: g.common(gatewayName), Policy: onePolicy{g.config, required},
		Accept: ike.Acceptance{Certificates: true, Authorities: p.verifier.Anchors.Hashes()}}, rand.Reader)
	if err != nil {
		g.Fatal(err)
	}
	p.machine = r
	return r, func(now link.Instant) {
		for e, ok := r.PollEvent(); ok; e, ok = r.PollEvent() {
			if err := p.answer(now, happening{Event: e}); err != nil {
				g.Fatal(err)
			}
		}
	}
}
