package homeagent

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
)

// Shows: AGT-1, GDL-6 (nobody is taken for a mobile node that renews whose message does not come from where one has its binding)
func TestRenews(t *testing.T) {
	var table Table
	at, other := netip.AddrPortFrom(careOf, 40000), netip.AddrPortFrom(careOf.Next(), 434)
	table.set(home, []*Tunnel{{Remote: netip.AddrPortFrom(careOf, 0)}})
	request := func(kind wire.MessageType, home netip.Addr) []byte {
		p := make([]byte, wire.RequestLen)
		p[0] = byte(kind)
		copy(p[4:], home.AsSlice())
		return p
	}
	own := request(wire.TypeRegistrationRequest, home)
	for _, c := range []struct {
		what    string
		source  netip.AddrPort
		payload []byte
		want    bool
	}{
		{"its own", at, own, true},
		{"its own with extensions", at, append(own, 1, 2, 3), true},
		{"from elsewhere", other, own, false},
		{"another's from there", at, request(wire.TypeRegistrationRequest, home.Next()), false},
		{"another message", at, request(wire.TypeRegistrationReply, home), false},
		{"from nowhere", netip.AddrPort{}, own, false},
	} {
		if got := table.Renews(Request{Source: c.source, Payload: c.payload}); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
	for n := range own {
		if table.Renews(Request{Source: at, Payload: own[:n]}) {
			t.Errorf("the first %d octets are taken for a request", n)
		}
	}
	table.set(home, nil)
	if table.Renews(Request{Source: at, Payload: own}) {
		t.Error("a mobile node without a binding renews")
	}
}

// Shows: AGT-1 (the data path reads without locks while bindings change; run with -race).
func TestTableConcurrent(t *testing.T) {
	var table Table
	var homes []netip.Addr
	for i := range 1000 {
		homes = append(homes, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	remote := netip.AddrPortFrom(careOf, 0)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			for _, h := range homes {
				if r := table.Route(h); r != nil && r.Home != h {
					panic(fmt.Sprintf("route of %v found for %v", r.Home, h))
				}
			}
		}
	})
	for _, h := range homes {
		table.set(h, []*Tunnel{{Remote: remote}})
	}
	mtu := table.State(tunnel.IPIP, remote)
	if table.Len() != len(homes) || mtu == nil {
		t.Fatalf("%d homes, soft state %v, want %d", table.Len(), mtu, len(homes))
	}
	for _, h := range homes {
		if table.Route(h).Tunnels[0].State != mtu {
			t.Fatalf("the tunnel of %v has soft state of its own", h)
		}
	}
	for _, h := range homes {
		table.set(h, nil)
	}
	close(stop)
	wg.Wait()
	if table.Len() != 0 || table.State(tunnel.IPIP, remote) != nil {
		t.Errorf("%d homes left, or the soft state of tunnels that have gone", table.Len())
	}
	if table.Route(netip.MustParseAddr("2001:db8::1")) != nil {
		t.Error("an IPv6 address has a route")
	}
}

func TestLookupsDoNotAllocate(t *testing.T) {
	var table Table
	remote := netip.AddrPortFrom(careOf, 0)
	table.set(home, []*Tunnel{{Remote: remote}})
	n := testing.AllocsPerRun(100, func() {
		if table.Route(home).Admits(tunnel.IPIP, remote) == nil || table.Route(home2) != nil {
			t.Fatal("lookup")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations a packet, want 0", n)
	}
}

func FuzzHandleRequest(f *testing.F) {
	x := newFixture(f, nil)
	f.Add(x.sign(x.request(), x.mn, nil))
	r := x.request()
	r.Extensions = wire.Extensions{wire.UDPTunnelRequest{Force: true}.Extension()}
	f.Add(x.sign(r, x.mn, nil))
	r = x.request()
	r.Lifetime = 0
	f.Add(x.sign(r, x.mn, nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		x := newFixture(t, nil)
		// As it is, and with the authenticator made right, so that the checks behind it are reached.
		signed := data
		if p, err := wire.ParseRegistrationRequest(data); err == nil {
			p.HomeAddress = home
			if covered, _, ok := p.Extensions.Authorized(); ok {
				p.Extensions = covered[:len(covered)-1]
			}
			if b, err := p.Append(nil); err == nil {
				signed = x.mn.AppendExtension(b, wire.ExtMobileHomeAuthentication)
			}
		}
		for _, payload := range [][]byte{data, signed} {
			err := x.m.HandleRequest(x.now, Request{Source: nat, Payload: payload})
			out, ok := x.m.PollTransmit()
			var denied *Denied
			if answered := err == nil || errors.As(err, &denied); answered != ok {
				t.Fatalf("answered %t with error %v", ok, err)
			}
			if !ok {
				continue
			}
			if _, err := wire.ParseRegistrationReply(out.Payload); err != nil {
				t.Fatal(err)
			}
		}
	})
}
