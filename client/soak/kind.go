package soak

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"mipvpn/client/control"
	"mipvpn/mipv4/wire"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// kind is a kind of transition.
type kind struct {
	name   string
	weight int
	able   func(*walk) bool // nil: always
	do     func(*walk) error
	long   bool // it shows what it does only after a minute
}

// kinds are all kinds, with how often each is to be.
var kinds []*kind

func init() {
	kinds = []*kind{
		{name: "to the office", weight: 10, do: moveTo(office)},
		{name: "to the office FA", weight: 10, do: moveTo(officeFA)},
		{name: "to the café", weight: 10, do: moveTo(cafe)},
		{name: "to the hotspot", weight: 10, do: moveTo(hotspot)},
		{name: "no network", weight: 4, able: plugged, do: (*walk).unplugAll},
		{name: "one cable pulled", weight: 4, able: plugged, do: (*walk).unplugOne},
		{name: "flapping", weight: 5, do: (*walk).flap},
		{name: "sleep", weight: 6, do: (*walk).sleep},
		{name: "sleep, woken elsewhere", weight: 6, do: (*walk).sleepAndMove},
		{name: "sleep, re-routed meanwhile", weight: 3, able: (*walk).canReroute, do: (*walk).sleepAndReroute},
		{name: "silent re-route", weight: 6, able: (*walk).canReroute, do: (*walk).reroute, long: true},
		{name: "silent move", weight: 3, able: (*walk).canCarry, do: (*walk).carry, long: true},
		{name: "silent way back", weight: 4, able: func(k *walk) bool { return k.officeCut || k.faCut }, do: (*walk).routeBack},
		{name: "i-HA restarted", weight: 2, do: func(k *walk) error { return k.w.RestartInternalHA(k.internalHA) }},
		{name: "i-HA without TNC", weight: 3, able: func(k *walk) bool { return !k.silent }, do: (*walk).forgetTrust},
		{name: "i-HA with TNC", weight: 10, able: func(k *walk) bool { return k.silent }, do: (*walk).remindTrust},
		{name: "x-HA restarted", weight: 2, do: func(k *walk) error { return k.w.RestartExternalHA(nil) }},
		{name: "i-FA restarted", weight: 2, do: func(k *walk) error { return k.w.RestartInternalFA(k.foreign) }},
		{name: "x-FA restarted", weight: 2, do: func(k *walk) error { return k.w.RestartExternalFA(k.foreign) }},
		{name: "gateway restarted", weight: 2, do: (*walk).restartGateway},
		{name: "gateway cut off", weight: 1, do: (*walk).cutGateway},
		{name: "bad wires", weight: 4, able: func(k *walk) bool { return !k.impaired }, do: (*walk).impair},
		{name: "good wires", weight: 12, able: func(k *walk) bool { return k.impaired }, do: func(k *walk) error { k.mend(); return nil }},
		{name: "kill -9", weight: 6, do: func(k *walk) error { return k.kill(false) }},
		{name: "kill -9, moved meanwhile", weight: 4, do: func(k *walk) error { return k.kill(true) }},
		{name: "kill -9 at a step", weight: 5, do: (*walk).killAtStep},
		{name: "daemon restarted", weight: 2, do: (*walk).restart},
		{name: "mode pinned", weight: 4, able: func(k *walk) bool { return k.pin == "auto" }, do: (*walk).pinMode},
		{name: "mode auto", weight: 12, able: func(k *walk) bool { return k.pin != "auto" }, do: func(k *walk) error { return k.setMode("auto") }},
		{name: "down and up", weight: 4, do: (*walk).downAndUp},
		{name: "clock stepped", weight: 4, do: (*walk).stepClock},
		{name: "detect --again", weight: 2, do: (*walk).detect},
		{name: "attack", weight: 6, do: (*walk).attack},
		{name: "attacks over", weight: 12, able: func(k *walk) bool { return len(k.enemy.Running()) > 0 }, do: func(k *walk) error { k.enemy.Rest(); return nil }},
	}
}

// healing makes everything well, so that the client must get connected.
var healing = &kind{name: "all made well", do: (*walk).heal}

// Kinds returns the names of all kinds of transitions.
func Kinds() []string {
	var names []string
	for _, t := range kinds {
		names = append(names, t.name)
	}
	return names
}

// kindsNamed returns the kinds by these names, all without one.
func kindsNamed(names []string) []*kind {
	if len(names) == 0 {
		return kinds
	}
	return slices.DeleteFunc(slices.Clone(kinds), func(t *kind) bool { return !slices.Contains(names, t.name) })
}

func (k *walk) anyCable() *cable { return k.cables[k.rng.IntN(len(k.cables))] }

// upTo sleeps for a random time, at most d.
func (k *walk) upTo(d time.Duration) { time.Sleep(time.Duration(k.rng.Int64N(int64(d)))) }

// moveTo takes a cable out of its network, if it is in one, and puts it into p: in the same instant, or later.
func moveTo(p *place) func(*walk) error {
	return func(k *walk) error {
		c := k.anyCable()
		if k.rng.IntN(3) > 0 {
			k.unplug(c)
			k.upTo(1500 * time.Millisecond)
		}
		k.plug(c, p)
		return nil
	}
}

func plugged(k *walk) bool {
	return slices.ContainsFunc(k.cables, func(c *cable) bool { return c.at != nil })
}

func (k *walk) unplugAll() error {
	for _, c := range k.cables {
		if c.at != nil {
			k.unplug(c)
			k.upTo(100 * time.Millisecond)
		}
	}
	return nil
}

func (k *walk) unplugOne() error {
	for {
		if c := k.anyCable(); c.at != nil {
			k.unplug(c)
			return nil
		}
	}
}

// flap pulls a cable and puts it back many times, now and then into another network: up to a hundred changes a minute.
func (k *walk) flap() error {
	c := k.anyCable()
	p := places[k.rng.IntN(len(places))]
	for range 2 + k.rng.IntN(30) {
		if k.rng.IntN(4) == 0 {
			p = places[k.rng.IntN(len(places))]
		}
		k.unplug(c)
		k.upTo(600 * time.Millisecond)
		k.plug(c, p)
		k.upTo(600 * time.Millisecond)
	}
	return nil
}

// asleep puts the laptop to sleep and wakes it up again; f happens meanwhile. The network's time goes on for seconds, and the
// laptop's boot time for anything up to a night.
func (k *walk) asleep(f func()) error {
	k.login.prepare()
	k.w.Laptop.Suspend()
	k.upTo(3 * time.Second)
	f()
	k.upTo(10 * time.Second)
	d := 3*time.Second + time.Duration(k.rng.Int64N(int64(50*time.Second)))
	if k.rng.IntN(3) == 0 {
		d = time.Duration(k.rng.Int64N(int64(9 * time.Hour)))
	}
	d = max(d, 3*time.Second)
	k.traffic.hasten(true)
	k.oracle.slept(d)
	k.oracle.allObservable(k.w.Elapsed())
	k.w.Laptop.AdvanceBoot(d)
	k.w.Laptop.Resume()
	k.login.resumed()
	return nil
}

func (k *walk) sleep() error { return k.asleep(func() {}) }

func (k *walk) sleepAndMove() error {
	return k.asleep(func() {
		c := k.anyCable()
		k.unplug(c)
		k.plug(c, places[k.rng.IntN(len(places))])
	})
}

func (k *walk) sleepAndReroute() error { return k.asleep(func() { _ = k.reroute() }) }

// canReroute reports whether a cable is in a network of the company that is inside.
func (k *walk) canReroute() bool {
	return slices.ContainsFunc(k.cables, func(c *cable) bool {
		return c.at == office && !c.carried && !k.officeCut || c.at == officeFA && !c.carried && !k.faCut
	})
}

// reroute makes one of the company's networks, in which a cable is, a network outside without any sign.
func (k *walk) reroute() error {
	now := k.w.Elapsed()
	first := k.rng.IntN(len(k.cables))
	for i := range k.cables {
		c := k.cables[(first+i)%len(k.cables)]
		switch {
		case c.at == office && !c.carried && !k.officeCut:
			k.officeCut = true
			k.w.RouteOffice(false)
		case c.at == officeFA && !c.carried && !k.faCut:
			k.faCut = true
			k.w.CutOfficeFA(true)
		default:
			continue
		}
		for _, o := range k.cables {
			if o.at == c.at && !o.carried {
				k.oracle.silently(o.full, now, o.at.wire(k.w))
			}
		}
		return nil
	}
	return nil
}

// routeBack undoes re-routes.
func (k *walk) routeBack() error {
	k.officeCut, k.faCut = false, false
	k.w.RouteOffice(true)
	k.w.CutOfficeFA(false)
	for _, c := range k.cables {
		if (c.at == office || c.at == officeFA) && !c.carried {
			k.oracle.silentlyBack(c.full, c.at.wire(k.w))
		}
	}
	return nil
}

// canCarry reports whether the wired interface is in a network of the company.
func (k *walk) canCarry() bool {
	c := k.cables[0]
	return !c.carried && (c.at == office || c.at == officeFA)
}

// carry moves the wired interface into a network outside without a sign, as when a switch is told to put the port elsewhere.
func (k *walk) carry() error {
	c := k.cables[0]
	p := []*place{cafe, hotspot}[k.rng.IntN(2)]
	c.at, c.carried = p, true
	k.oracle.silently(c.full, k.w.Elapsed(), p.wire(k.w))
	c.nic.Carry(p.wire(k.w))
	return nil
}

// forgetTrust makes the i-HA one that says nothing of trusted networks, as one that is not configured for it (DET-14). By half
// chances a foreign agent or whoever else is in the middle adds the extension behind the authenticator, where it proves
// nothing (DET-3).
func (k *walk) forgetTrust() error {
	k.silent = true
	if k.rng.IntN(2) == 0 {
		for _, p := range places {
			k.meddlers = append(k.meddlers, p.wire(k.w).Intercept(addTrust))
		}
	}
	return k.w.RestartInternalHA(k.internalHA)
}

// remindTrust undoes forgetTrust.
func (k *walk) remindTrust() error {
	k.silent = false
	for _, stop := range k.meddlers {
		stop()
	}
	k.meddlers = nil
	return k.w.RestartInternalHA(k.internalHA)
}

// addTrust adds the Trusted Networks Configured extension to the end of each reply of the i-HA.
func addTrust(f simnet.Frame) []simnet.Relay {
	pass := f.Relay()
	if kind, message := inspect(packet.IPv4(f.Packet)); kind == registration {
		if r, err := wire.ParseRegistrationReply(message); err == nil && r.HomeAgent == simnet.LabInternalHA {
			if longer, err := wire.TrustedNetworksConfigured().Append(slices.Clone(message)); err == nil {
				ip, u := packet.IPv4(f.Packet), packet.UDP(packet.IPv4(f.Packet).Payload())
				b := packet.From(longer)
				packet.PushUDP(b, netip.AddrPortFrom(ip.Src(), u.SrcPort()), netip.AddrPortFrom(ip.Dst(), u.DstPort()))
				packet.PushIPv4(b, packet.IPv4Fields{Protocol: packet.ProtocolUDP, TTL: ip.TTL(), Src: ip.Src(), Dst: ip.Dst()})
				pass.Packet = slices.Clone(b.Bytes())
				b.Release()
			}
		}
	}
	return []simnet.Relay{pass}
}

// restartGateway restarts the VPN gateway: in order, or so that it says no goodbye.
func (k *walk) restartGateway() error {
	rude := k.rng.IntN(2) == 0
	if rude {
		k.w.GatewayOuter.Detach()
	}
	err := k.w.RestartGateway(k.gateway)
	if rude {
		k.w.GatewayOuter.Attach(k.w.Internet)
	}
	return err
}

func (k *walk) cutGateway() error {
	k.w.GatewayOuter.Detach()
	time.Sleep(time.Duration(k.rng.Int64N(int64(3 * time.Minute))))
	k.w.GatewayOuter.Attach(k.w.Internet)
	return nil
}

// impair makes some wires bad.
func (k *walk) impair() error {
	k.impaired = true
	if k.rng.IntN(4) == 0 { // replies that come too late (DET-4)
		k.w.Core.Impair(simnet.Impairment{Latency: time.Duration(k.rng.Int64N(int64(4 * time.Second)))})
	}
	for _, w := range []*simnet.Wire{k.w.Office, k.w.OfficeFA, k.w.Cafe, k.w.Hotspot, k.w.Internet} {
		if k.rng.IntN(2) == 0 {
			w.Impair(simnet.Impairment{
				Latency: time.Duration(k.rng.Int64N(int64(100 * time.Millisecond))), Jitter: time.Duration(k.rng.Int64N(int64(50 * time.Millisecond))),
				Loss: k.rng.Float64() * 0.35, Duplicate: k.rng.Float64() * 0.1, Reorder: k.rng.Float64() * 0.1,
			})
		}
	}
	return nil
}

// mend makes all wires what they are in the lab.
func (k *walk) mend() {
	k.impaired = false
	for _, w := range []*simnet.Wire{k.w.Core, k.w.Office, k.w.OfficeFA} {
		w.Impair(simnet.Impairment{Latency: 200 * time.Microsecond})
	}
	for _, w := range []*simnet.Wire{k.w.Cafe, k.w.Hotspot} {
		w.Impair(simnet.Impairment{Latency: 2 * time.Millisecond, Jitter: time.Millisecond})
	}
	k.w.Internet.Impair(simnet.Impairment{Latency: 5 * time.Millisecond})
}

// kill ends the daemon as kill -9 does, and starts another after a while.
func (k *walk) kill(moved bool) error {
	k.process.Kill()
	if err := k.died(); err != nil {
		return err
	}
	if k.rng.IntN(3) == 0 {
		k.upTo(time.Minute)
	} else {
		k.upTo(3 * time.Second)
	}
	if moved {
		c := k.anyCable()
		k.unplug(c)
		k.upTo(time.Second)
		k.plug(c, places[k.rng.IntN(len(places))])
		k.upTo(2 * time.Second)
	}
	return k.boot(0)
}

// died ends what is left of a process that has been killed.
func (k *walk) died() error {
	k.oracle.allObservable(k.w.Elapsed())
	k.pin = "auto" // the next one's configuration says so
	k.traffic.hasten(true)
	return k.w.Client.Close()
}

// killAtStep restarts the daemon, which is killed at one of its steps: when it is about to send a message, to open the gate in
// the kernel, to close it, to hold the line. If it does not come to that step within a while it is killed anyhow.
func (k *walk) killAtStep() error {
	k.process.Kill()
	if err := k.died(); err != nil {
		return err
	}
	if err := k.boot(1 + k.rng.IntN(60)); err != nil {
		return err
	}
	if k.rng.IntN(2) == 0 {
		k.upTo(3 * time.Second)
		k.plug(k.anyCable(), places[k.rng.IntN(len(places))])
	}
	select {
	case <-k.process.Killed():
	case <-time.After(20*time.Second + time.Duration(k.rng.Int64N(int64(20*time.Second)))):
		k.process.Kill()
	}
	if err := k.died(); err != nil {
		return err
	}
	k.upTo(3 * time.Second)
	return k.boot(0)
}

// attack begins an attack, and ends others.
func (k *walk) attack() error {
	k.say("   attacks: %v", k.enemy.Shuffle())
	return nil
}

// restart ends the daemon in order, without giving anything back, and starts another.
func (k *walk) restart() error {
	if err := k.w.Client.Close(); err != nil {
		return err
	}
	k.pin = "auto"
	k.upTo(2 * time.Second)
	return k.boot(0)
}

func (k *walk) pinMode() error { return k.setMode([]string{"c", "f", "cvc", "fvc"}[k.rng.IntN(4)]) }

func (k *walk) setMode(mode string) error {
	switch err := k.w.Client.SetMode(context.Background(), mode); {
	case errors.Is(err, control.ErrRefused):
		return nil
	case err != nil:
		return err
	}
	k.pin = mode
	return nil
}

// downAndUp has a person lift the protection for a while.
func (k *walk) downAndUp() error {
	k.oracle.lift(true, k.w.Elapsed())
	if err := k.w.Client.Down(context.Background()); err != nil {
		return err
	}
	k.upTo(4 * time.Second)
	if k.rng.IntN(3) == 0 {
		c := k.anyCable()
		k.unplug(c)
		k.plug(c, places[k.rng.IntN(len(places))])
		k.upTo(time.Second)
	}
	if err := k.w.Client.Up(context.Background()); err != nil {
		return err
	}
	k.oracle.lift(false, k.w.Elapsed())
	k.oracle.allObservable(k.w.Elapsed())
	return nil
}

// stepClock sets the laptop's clock wrong, or right again.
func (k *walk) stepClock() error {
	d := time.Duration(k.rng.Int64N(int64(20 * time.Second)))
	if k.rng.IntN(2) == 0 {
		d = time.Duration(k.rng.Int64N(int64(48 * time.Hour)))
	}
	if k.rng.IntN(2) == 0 {
		d = -d
	}
	k.w.Laptop.StepWall(d)
	return nil
}

func (k *walk) detect() error {
	_, err := k.w.Client.Detect(context.Background(), true)
	return err
}

// heal mends everything, and puts one cable into a network.
func (k *walk) heal() error {
	k.enemy.Rest()
	k.mend()
	if k.silent {
		if err := k.remindTrust(); err != nil {
			return err
		}
	}
	if err := k.routeBack(); err != nil {
		return err
	}
	if err := k.setMode("auto"); err != nil {
		return err
	}
	for _, c := range k.cables {
		if c.at != nil {
			k.unplug(c)
		}
	}
	k.upTo(2 * time.Second)
	k.plug(k.anyCable(), places[k.rng.IntN(len(places))])
	return nil
}
