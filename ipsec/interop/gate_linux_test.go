package interop

import (
	"crypto/rand"
	"net/netip"
	"os"
	"testing"

	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike"
	"mipvpn/tun/packet"
)

// gate is an endpoint whose machine is a gateway's. Behind it a host answers that has all addresses.
type gate struct {
	*endpoint
	gateway *gateway.Gateway
	session gateway.SessionID // the last one established
}

// newGate makes our gateway in ns.
func newGate(t testing.TB, ns *os.File, cfg gateway.Config, addrs ...netip.Addr) *gate {
	t.Helper()
	g := &gate{endpoint: newEndpoint(t, ns, addrs...)}
	var err error
	if g.gateway, err = gateway.New(cfg, rand.Reader); err != nil {
		t.Fatal(err)
	}
	g.machine = g.gateway
	g.poll = func() (happening, bool) {
		e, ok := g.gateway.PollEvent()
		if _, up := e.Event.(ike.Established); up {
			g.session = e.Session
		}
		return happening{e.Session, e.Event}, ok
	}
	g.inner = g.echo
	go g.run()
	return g
}

// echo answers an inner packet.
func (c *endpoint) echo(p *packet.Buf) {
	answer := echoPacket(packet.IPv4(p.Bytes()))
	p.Release()
	if answer == nil {
		return
	}
	if err := c.seal(answer); err != nil {
		c.t.Errorf("ours: sealing an answer: %v", err)
	}
}
