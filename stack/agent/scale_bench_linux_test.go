package agent

import (
	"encoding/binary"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// crowded returns a home agent with n bindings, every second one in UDP, whose data goes nowhere.
func crowded(b *testing.B, n int) (*HomeAgent, *sink) {
	b.Helper()
	cfg := HomeAgentConfig{Config: homeagent.Config{Address: simnet.LabInternalHA, HomeNetworks: []netip.Prefix{netip.MustParsePrefix("20.0.0.0/8")}}}
	var keys []*auth.SecurityAssociation
	for i := range n {
		a, err := auth.New(auth.Parameters{SPI: 1000, Key: binary.BigEndian.AppendUint64([]byte("crowded "), uint64(i))})
		if err != nil {
			b.Fatal(err)
		}
		keys = append(keys, a)
		cfg.MobileNodes = append(cfg.MobileNodes, homeagent.MobileNode{HomeAddress: crowdAddress(20, i), Associations: keys[i : i+1]})
	}
	l := simnet.NewLab(1)
	a, err := StartHomeAgent(l.InternalHA, cfg, zap.NewNop())
	if err != nil {
		b.Fatal(err)
	}
	device := a.device
	b.Cleanup(func() {
		a.device = device
		_, _ = a.Close(), l.Close()
	})
	done := make(chan error)
	a.loop.deliver(func(now link.Instant) {
		for i := range n {
			r := wire.RegistrationRequest{
				Flags: wire.FlagDecapsulation | wire.FlagReverseTunnel, Lifetime: 1800, HomeAddress: crowdAddress(20, i),
				HomeAgent: simnet.LabInternalHA, CareOfAddress: crowdAddress(30, i), Identification: wire.IdentificationAt(now.Wall),
			}
			if i%2 == 1 {
				r.Extensions = wire.Extensions{wire.UDPTunnelRequest{Force: true, Encapsulation: packet.ProtocolIPIP}.Extension()}
			}
			p, err := r.Append(nil)
			if err == nil {
				p = keys[i].AppendExtension(p, wire.ExtMobileHomeAuthentication)
				err = a.machine.HandleRequest(now, homeagent.Request{Source: netip.AddrPortFrom(r.CareOfAddress, 5000), Payload: p})
			}
			if err != nil {
				done <- err
				return
			}
			a.machine.PollTransmit()
			a.machine.PollEvent()
		}
		done <- nil
	})
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	out := &sink{Device: a.device}
	for i := range a.out {
		a.out[i].path.Out, a.out[i].path.Steps = out, nil
	}
	a.device = out
	return a, out
}

func crowdAddress(network byte, i int) netip.Addr {
	return netip.AddrFrom4([4]byte{network, byte(i >> 16), byte(i >> 8), byte(i)})
}

// processorTime returns the processor time that this process has used, by all its threads: on a machine that does other things, too,
// it says more than the time that has passed.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// What a home agent does for each packet of 1200 octets to and from so many mobile nodes, each packet another one's: finding the
// binding, the checks and the encapsulation. Toward nobody (null) the same batches are made and thrown away, which all figures
// include. Sockets and the TUN device are left out: `miplab bench` has them.
func BenchmarkHomeAgentCrowd(b *testing.B) {
	const batch = 64
	run := func(name string, n int, f func(p []*packet.Buf, batch *packet.Batch, who []int)) {
		b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
			random := mathrand.New(mathrand.NewPCG(1, 2))
			who := make([]int, batch)
			b.ReportAllocs()
			start := processorTime(b)
			for b.Loop() {
				p := packets(batch, simnet.LabCorrespondent, simnet.LabHomeAddress)
				for i := range who {
					who[i] = random.IntN(n)
				}
				f(p.Bufs, p, who)
			}
			b.ReportMetric(float64(processorTime(b)-start)/float64(b.N)/batch, "cpu-ns/packet")
		})
	}
	readdress := func(p *packet.Buf, src, dst netip.Addr) {
		p.Pull(packet.IPv4Len)
		packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolUDP, Src: src, Dst: dst})
	}
	for _, n := range []int{1, 1000, 100_000} {
		a, out := crowded(b, n)
		run("null", n, func(p []*packet.Buf, batch *packet.Batch, who []int) {
			for i, w := range who {
				readdress(p[i], simnet.LabCorrespondent, crowdAddress(20, w))
			}
			_ = out.Send(batch)
		})
		run("to", n, func(p []*packet.Buf, batch *packet.Batch, who []int) {
			for i, w := range who {
				readdress(p[i], simnet.LabCorrespondent, crowdAddress(20, w))
			}
			a.forward(batch)
		})
		run("from", n, func(p []*packet.Buf, batch *packet.Batch, who []int) {
			into := [...]*packet.Batch{packet.GetBatch(), packet.GetBatch()}
			for i, w := range who {
				readdress(p[i], crowdAddress(20, w), simnet.LabCorrespondent)
				e, port := tunnel.IPIP, uint16(0)
				if w%2 == 1 {
					e, port = tunnel.UDP, 5000
				}
				_ = (tunnel.Encapsulator{Encapsulation: e}).Encapsulate(p[i])
				p[i].Peer = netip.AddrPortFrom(crowdAddress(30, w), port)
				into[w%2].Append(p[i])
			}
			batch.Forget()
			a.receiveData(into[0], tunnel.IPIP)
			a.receiveData(into[1], tunnel.UDP)
		})
		if drops := a.drops.Snapshot(); len(drops) != 0 {
			b.Errorf("%d: dropped %v", n, drops)
		}
	}
}
