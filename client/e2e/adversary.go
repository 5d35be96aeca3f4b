package e2e

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"mipvpn/mipv4/wire"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// Attack is a kind of attack on the laptop's detection and roaming. None of them may ever bring out a packet in the clear;
// most of them can deny service for as long as they last.
type Attack string

// The attacks of an Adversary.
const (
	// AttackForge answers each request to the i-HA from an external network with replies that bear no or another key.
	AttackForge Attack = "forge"
	// AttackReplay answers each such request with genuine replies that a spy has heard on internal networks.
	AttackReplay Attack = "replay"
	// AttackDelay delays the i-HA's replies by up to eight seconds, wherever the laptop is.
	AttackDelay Attack = "delay"
	// AttackSilence takes the i-HA's replies away, wherever the laptop is.
	AttackSilence Attack = "silence"
	// AttackCorrupt changes one bit of each of the i-HA's replies, or the place of its extensions.
	AttackCorrupt Attack = "corrupt"
	// AttackCross delivers the i-HA's replies to one interface of the laptop at the other one as well.
	AttackCross Attack = "cross"
	// AttackRewrite changes the source of registration requests, as a NAT that belongs to the attacker would (draft §7.2).
	AttackRewrite Attack = "rewrite"
	// AttackNeighbour answers ARP for the routers of the office and the café by turns.
	AttackNeighbour Attack = "neighbour"
	// AttackLease has the café's DHCP server hand out the office's addresses, with a router that has the office router's.
	AttackLease Attack = "lease"
)

// Attacks are all kinds of attacks, in a fixed order.
func Attacks() []Attack {
	return []Attack{
		AttackForge, AttackReplay, AttackDelay, AttackSilence, AttackCorrupt, AttackCross, AttackRewrite, AttackNeighbour, AttackLease,
	}
}

// Adversary attacks the laptop of a World. What it does by chance follows from its seed. Its methods are for one goroutine,
// as those of World are.
type Adversary struct {
	w       *World
	nic     *simnet.NIC // on the wire that ARP is answered on
	router  *simnet.NIC // of the café's router, with the address of the office's
	running map[Attack]func()
	spy     func()

	mu     sync.Mutex // never held while the network is called
	rng    *rand.Rand
	heard  [][]byte // the i-HA's genuine replies, as internal networks carried them; the last maxHeard
	counts map[Attack]int
}

// maxHeard is how many replies the spy keeps.
const maxHeard = 64

// NewAdversary returns an adversary that does nothing yet but listen on the internal networks. Close it before the World.
func NewAdversary(w *World, seed uint64) *Adversary {
	a := &Adversary{
		w: w, rng: rand.New(rand.NewPCG(seed, 0x5ca1ab1e)), running: make(map[Attack]func()), counts: make(map[Attack]int),
	}
	a.nic = w.NewHost("adversary").AddNIC(simnet.NICConfig{Name: "eth0"})
	a.router = w.CafeNAT.AddNIC(simnet.NICConfig{Name: "rogue0", Address: netip.PrefixFrom(officeRange.Gateway, officeRange.First.Bits())})
	stops := []func(){w.Office.Tap(a.listen), w.OfficeFA.Tap(a.listen)}
	a.spy = func() { each(stops) }
	return a
}

func each(fs []func()) {
	for _, f := range fs {
		f()
	}
}

// listen is the spy.
func (a *Adversary) listen(f simnet.Frame) {
	m, ok := registrationIn(f)
	if !ok || m.reply == nil || m.reply.HomeAgent != simnet.LabInternalHA || f.Sender == simnet.Interceptors {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.heard) == maxHeard {
		a.heard = slices.Delete(a.heard, 0, 1)
	}
	a.heard = append(a.heard, slices.Clone(m.payload))
}

// Begin begins an attack; one that is under way already goes on. It panics for an unknown one, which is an error of the
// program.
func (a *Adversary) Begin(k Attack) {
	if a.running[k] != nil {
		return
	}
	begin := map[Attack]func() func(){
		AttackForge: a.forge, AttackReplay: a.replay, AttackDelay: a.delay, AttackSilence: a.silence, AttackCorrupt: a.corrupt,
		AttackCross: a.cross, AttackRewrite: a.rewrite, AttackNeighbour: a.neighbour, AttackLease: a.lease,
	}[k]
	if begin == nil {
		panic(fmt.Sprintf("e2e: there is no attack %q", k))
	}
	a.running[k] = begin()
}

// End ends an attack; one that is not under way is ignored.
func (a *Adversary) End(k Attack) {
	if stop := a.running[k]; stop != nil {
		delete(a.running, k)
		stop()
	}
}

// Shuffle ends each attack that is under way with even chances, and begins one of the others, of the given ones by
// chance; with none given, of all. It returns what is under way now.
func (a *Adversary) Shuffle(of ...Attack) []Attack {
	if len(of) == 0 {
		of = Attacks()
	}
	for _, k := range a.Running() {
		if a.chance(2) == 0 {
			a.End(k)
		}
	}
	a.Begin(of[a.chance(len(of))])
	return a.Running()
}

// Running returns the attacks that are under way, in the order of Attacks.
func (a *Adversary) Running() []Attack {
	return slices.DeleteFunc(Attacks(), func(k Attack) bool { return a.running[k] == nil })
}

// Counts returns how many frames each attack has sent, changed or taken away, or how often it has changed something else.
func (a *Adversary) Counts() map[Attack]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.counts)
}

// Rest ends all attacks.
func (a *Adversary) Rest() {
	for _, k := range Attacks() {
		a.End(k)
	}
}

// Close ends everything.
func (a *Adversary) Close() {
	a.Rest()
	a.spy()
	a.nic.Detach()
	a.router.Detach()
}

func (a *Adversary) chance(n int) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rng.IntN(n)
}

func (a *Adversary) count(k Attack, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.counts[k] += n
}

// registrationMessage is a registration message in a frame.
type registrationMessage struct {
	ip       packet.IPv4
	udp      packet.UDP
	payload  []byte
	request  *wire.RegistrationRequest // one of both
	reply    *wire.RegistrationReply
	outbound bool // the laptop sent it
}

// registrationIn returns the registration message in a frame, false when there is none that can be read.
func registrationIn(f simnet.Frame) (registrationMessage, bool) {
	ip := packet.IPv4(f.Packet)
	if !isRegistration(ip) {
		return registrationMessage{}, false
	}
	m := registrationMessage{ip: ip, udp: packet.UDP(ip.Payload()), outbound: strings.HasPrefix(f.Sender, "laptop/")}
	m.payload = m.udp.Payload()
	m.request, _ = wire.ParseRegistrationRequest(m.payload)
	m.reply, _ = wire.ParseRegistrationReply(m.payload)
	return m, m.request != nil || m.reply != nil
}

// asks reports whether m is the laptop's request to the home agent.
func (m registrationMessage) asks(agent netip.Addr) bool {
	return m.outbound && m.request != nil && m.request.HomeAgent == agent
}

// answers reports whether m is a reply of the home agent on its way to the laptop.
func (m registrationMessage) answers(agent netip.Addr) bool {
	return m.reply != nil && m.reply.HomeAgent == agent
}

// datagram returns an IPv4 packet with a UDP datagram.
func datagram(src, dst netip.AddrPort, payload []byte) []byte {
	b := packet.From(payload)
	defer b.Release()
	packet.PushUDP(b, src, dst)
	packet.PushIPv4(b, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolUDP, Src: src.Addr(), Dst: dst.Addr()})
	return slices.Clone(b.Bytes())
}

// with returns the message's packet with another payload.
func (m registrationMessage) with(payload []byte) []byte {
	return datagram(netip.AddrPortFrom(m.ip.Src(), m.udp.SrcPort()), netip.AddrPortFrom(m.ip.Dst(), m.udp.DstPort()), payload)
}

// reflect returns the relay that answers the frame, whose message is m, with the payload.
func (m registrationMessage) reflect(f simnet.Frame, payload []byte) simnet.Relay {
	return simnet.Relay{
		Source: f.Destination, Destination: f.Source,
		Packet: datagram(netip.AddrPortFrom(m.ip.Dst(), m.udp.DstPort()), netip.AddrPortFrom(m.ip.Src(), m.udp.SrcPort()), payload),
	}
}
