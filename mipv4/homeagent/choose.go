package homeagent

import (
	"errors"
	"fmt"
	"net/netip"

	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/packet"
)

// chooseTunnel settles the form and far end of the tunnel for a request (RFC 3024 §4.3.1, RFC 3519 §4.6), or returns a
// code of denial and the reason. The reply extension is nil where the request asked for no UDP tunnel.
func (m *Machine) chooseTunnel(q *request) (*Tunnel, *wire.UDPTunnelReply, wire.Code, error) {
	deny := func(c wire.Code, format string, a ...any) (*Tunnel, *wire.UDPTunnelReply, wire.Code, error) {
		return nil, nil, c, fmt.Errorf(format, a...)
	}
	t := q.Flags.Has(wire.FlagReverseTunnel)
	switch {
	case t && m.cfg.NoReverseTunnel:
		return deny(wire.CodeReverseTunnelUnavailable, "T bit")
	case !t && m.cfg.RequireReverseTunnel:
		return deny(wire.CodeReverseTunnelMandatory, "no T bit")
	}
	udp, asked, err := udpRequest(q)
	if err != nil {
		return deny(wire.CodePoorlyFormedRequest, "%w", err)
	}
	// The mismatch is the only sign of a NAT that a home agent has to go by (RFC 3519 §4.6).
	nat := q.source.Addr() != q.CareOfAddress
	var reply *wire.UDPTunnelReply
	if asked {
		wanted := nat || udp.Force || udp.ThroughForeignAgent
		switch {
		case wanted && m.cfg.NoUDPTunnel:
			return deny(wire.CodeProhibited, "UDP tunnelling is not allowed")
		case wanted && !nat && !udp.ThroughForeignAgent && m.cfg.NoForcedUDPTunnel:
			return deny(wire.CodeProhibited, "UDP tunnelling is not allowed without a NAT")
		case wanted && !carriesIP(udp.Encapsulation, q.Flags):
			return deny(wire.CodeUDPEncapsulationUnavailable, "protocol %d in UDP, flags %v", udp.Encapsulation, q.Flags)
		case wanted:
			remote := q.source
			if udp.ThroughForeignAgent {
				remote = netip.AddrPortFrom(remote.Addr(), 0) // half bound until the first keepalive (§4.11)
			}
			return &Tunnel{Encapsulation: tunnel.UDP, Remote: remote, ReverseTunnel: t},
				&wire.UDPTunnelReply{Code: wire.UDPTunnelAccepted, Forced: udp.Force && !nat, KeepAlive: m.cfg.KeepAlive},
				wire.CodeAccepted, nil
		}
		reply = &wire.UDPTunnelReply{Code: wire.UDPTunnelDeclined}
	}
	form, ok := m.formOf(q.Flags)
	if !ok {
		return deny(wire.CodeEncapsulationUnavailable, "flags %v ask for an encapsulation that is not offered", q.Flags)
	}
	if nat && !asked && q.CoLocated() && q.source.Addr() != q.HomeAddress && !m.cfg.AllowRelayedCoLocated {
		return deny(wire.CodeProhibited, "co-located care-of address %v, but the request came from %v and asks for no UDP tunnel", q.CareOfAddress, q.source.Addr())
	}
	granted := &Tunnel{Encapsulation: form, Remote: netip.AddrPortFrom(q.CareOfAddress, 0), ReverseTunnel: t}
	granted.Switched = m.switchedTo(q, granted)
	return granted, reply, wire.CodeAccepted, nil
}

// formOf returns the form of tunnel that the M and G bits ask for, and false when it is not offered. Who sets both takes either
// (RFC 5944 §3.3): the one that is offered, minimal encapsulation before GRE, whose header is longer.
func (m *Machine) formOf(f wire.Flags) (tunnel.Encapsulation, bool) {
	asked := false
	for _, c := range []struct {
		flag wire.Flags
		form tunnel.Encapsulation
	}{{wire.FlagMinimal, tunnel.Minimal}, {wire.FlagGRE, tunnel.GRE}} {
		if f.Has(c.flag) {
			if m.cfg.Encapsulations.Has(c.form) {
				return c.form, true
			}
			asked = true
		}
	}
	return tunnel.IPIP, !asked
}

// errPlace means that a UDP Tunnel Request stands where its sender may not put it (RFC 3519 §4.6.1).
var errPlace = errors.New("UDP Tunnel Request and D bit do not go together")

// udpRequest returns the UDP Tunnel Request of a request, and whether there is one that can be understood. The mobile
// node's stands before the Mobile-Home Authentication extension and needs the D bit, a foreign agent's behind it excludes
// it (RFC 3519 §4.6.1).
func udpRequest(q *request) (wire.UDPTunnelRequest, bool, error) {
	for _, part := range []struct {
		x         wire.Extensions
		coLocated bool
	}{{q.covered, true}, {q.rest, false}} {
		i := part.x.Index(wire.ExtUDPTunnelRequest)
		if i < 0 {
			continue
		}
		r, err := wire.ParseUDPTunnelRequest(part.x[i])
		if err != nil {
			continue // handled as not understood and skipped (RFC 3519 §3.1.3)
		}
		if q.CoLocated() != part.coLocated {
			return r, true, errPlace
		}
		return r, true, nil
	}
	return wire.UDPTunnelRequest{}, false, nil
}

// carriesIP reports whether IP-in-UDP is what the field Encapsulation asks for, or, where it is zero, the M and G bits
// (RFC 3519 §3.1.4).
func carriesIP(encapsulation uint8, f wire.Flags) bool {
	if encapsulation == 0 {
		return f&(wire.FlagMinimal|wire.FlagGRE) == 0
	}
	return encapsulation == packet.ProtocolIPIP
}
