package stack

import (
	"mipvpn/mipv4/tunnel"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// minimalPath returns the path into a tunnel of minimal encapsulation: what that takes goes through step into minimal, fragments
// and packets with IPv4 options go IP-in-IP (RFC 2004 §3). Its MTU is that of IP-in-IP.
func minimalPath(minimal, ipip link.Path, step tunnel.Encapsulator) link.Path {
	wrapped := step
	wrapped.Encapsulation = tunnel.IPIP
	rest := ipip.Over(wrapped, wrapped.Overhead(), false)
	return link.Path{
		Out:      minimalSender{link.Path{Steps: append([]link.Step{step}, minimal.Steps...), Out: minimal.Out}, rest},
		Overhead: rest.Overhead, MTU: rest.MTU, Encrypted: minimal.Encrypted && rest.Encrypted,
	}
}

// minimalSender sends what it can through minimal and everything else through rest.
type minimalSender struct{ minimal, rest link.Path }

// Send implements link.Sender.
func (s minimalSender) Send(b *packet.Batch) error {
	fit, kept := 0, b.Bufs
	for fit < len(kept) && tunnel.FitsMinimal(kept[fit].Bytes()) {
		fit++
	}
	if fit == len(kept) {
		return s.minimal.Send(b)
	}
	other := packet.GetBatch()
	stay := kept[:0]
	for _, p := range kept {
		if tunnel.FitsMinimal(p.Bytes()) {
			stay = append(stay, p)
		} else {
			other.Append(p)
		}
	}
	clear(kept[len(stay):])
	b.Bufs = stay
	err := s.rest.Send(other)
	if len(stay) == 0 {
		b.Forget()
		return err
	}
	if e := s.minimal.Send(b); err == nil {
		err = e
	}
	return err
}
