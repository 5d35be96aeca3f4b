package agent

import (
	"fmt"

	"mipvpn/mipv4/tunnel"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// alternatives are the forms of tunnels that an agent offers only where it is configured to.
var alternatives = [...]tunnel.Encapsulation{tunnel.Minimal, tunnel.GRE}

// openAlternatives opens the flows of the forms that are offered, puts their paths into out, by form, and returns the flows, those
// that it has opened before an error included. receive takes what comes out of the flow of a form.
func openAlternatives(under link.Link, offered tunnel.Offered, out []tunnelPath, wrap func(link.Receiver) link.Receiver,
	receive func(*packet.Batch, tunnel.Encapsulation)) (flows []link.Flow, err error) {
	for _, e := range alternatives {
		if !offered.Has(e) {
			continue
		}
		f, err := under.Open(link.FlowSpec{Protocol: e.Protocol()}, wrap(func(b *packet.Batch) { receive(b, e) }))
		if err != nil {
			return flows, fmt.Errorf("encapsulation %v: %w", e, err)
		}
		flows = append(flows, f)
		p := f.Path(link.Protected)
		out[e] = tunnelPath{path: p, mtu: p.MTU - tunnel.Encapsulator{Encapsulation: e, GRE: offered.Options}.Overhead()}
	}
	return flows, nil
}

// fit puts p, which goes to Buf.Peer, into a tunnel whose inner packets have mtu octets at most, and appends it to the batch of its
// form in out, in fragments where it is longer. What minimal encapsulation has no room for goes IP-in-IP (RFC 2004 §3). It returns
// why a packet is not sent, p staying the caller's then.
func fit(e tunnel.Encapsulator, mtu int, p *packet.Buf, out []*packet.Batch) packet.DropReason {
	if p.Super() && e.Cuts() && p.SegmentLen() <= mtu {
		segments := packet.GetBatch()
		p.CutTo(segments)
		p.Release()
		for _, s := range segments.Bufs {
			if r := fit(e, mtu, s, out); r != packet.NotDropped {
				e.Drops.Count(r, 1)
				s.Release()
			}
		}
		segments.Forget()
		return packet.NotDropped
	}
	ip := packet.IPv4(p.Bytes())
	if p.SegmentLen() <= mtu {
		if e.Encapsulation == tunnel.Minimal && !tunnel.FitsMinimal(ip) {
			e.Encapsulation = tunnel.IPIP
		}
		if !p.Super() {
			p.Trim(ip.TotalLen())
		}
		if r := e.Encapsulate(p); r != packet.NotDropped {
			return r
		}
		out[e.Encapsulation].Append(p)
		return packet.NotDropped
	}
	if e.Encapsulation == tunnel.Minimal {
		e.Encapsulation = tunnel.IPIP
	}
	if ip.TTL() == 0 {
		return packet.DropTTL
	}
	pieces := packet.GetBatch()
	if r := tunnel.Fragment(p, mtu, pieces); r != packet.NotDropped {
		pieces.Release()
		return r
	}
	for _, f := range pieces.Bufs {
		if r := e.Encapsulate(f); r != packet.NotDropped {
			e.Drops.Count(r, f.Segments())
			f.Release()
			continue
		}
		out[e.Encapsulation].Append(f)
	}
	pieces.Forget()
	return packet.NotDropped
}
