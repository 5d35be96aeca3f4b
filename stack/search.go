package stack

import (
	"errors"
	"fmt"
	"net/netip"

	"mipvpn/mipv4/mobilenode"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// ErrSearch means that nothing can be carried through a search for home agents.
var ErrSearch = errors.New("stack: a search for home agents carries no packets")

// Search sends registration requests to all home agents of a network, each of which denies them with its own address (RFC 5944
// §3.6.1.2). It is an Attachment for that alone.
type Search struct {
	flow link.Flow
	to   netip.AddrPort
}

// AttachSearch begins a search from the link below by the home network's subnet-directed broadcast address. replies is called, and must
// not block, with each message from port 434 of whomever, and owns it.
func AttachSearch(below link.Link, directed netip.Addr, replies func([]byte)) (*Search, error) {
	s := &Search{to: netip.AddrPortFrom(directed, RegistrationPort)}
	var err error
	s.flow, err = below.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Signalling: link.SignallingMobileIP}, func(b *packet.Batch) {
		for _, p := range b.Bufs {
			if p.Peer.Port() == RegistrationPort {
				replies(append([]byte(nil), p.Bytes()...))
			}
		}
		b.Release()
	})
	if err != nil {
		return nil, fmt.Errorf("stack: search for home agents by %v: %w", directed, err)
	}
	return s, nil
}

// Send implements Attachment.
func (s *Search) Send(message []byte) error { return s.flow.Send(s.to, message) }

// Carrier implements Attachment; its error wraps ErrSearch.
func (s *Search) Carrier(mobilenode.Tunnel) (Carrier, error) { return nil, ErrSearch }

// Close implements Attachment.
func (s *Search) Close() error { return s.flow.Close() }
