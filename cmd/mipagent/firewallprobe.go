package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/packet"
)

// probeWait is how long an answer to a probe is waited for.
const probeWait = 2 * time.Second

// Ports that probes go to beside that of Mobile IP: one that traceroute uses and nothing should listen on, and what servers are
// administered by.
const (
	closedPort = 33434
	sshPort    = 22
	httpsPort  = 443
)

// probeFirewall sends packets of several kinds to an internal home agent, all at once, and returns what came back of each within the
// time. home is a home address that it serves, or the zero Addr.
func probeFirewall(ctx context.Context, target, home netip.Addr, wait time.Duration) []probeResult {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if !home.Is4() {
		home = netip.IPv4Unspecified()
	}
	request, err := strangersRequest(target, home)
	if err != nil {
		return []probeResult{{Probe: "registration request", Unsent: err.Error()}}
	}
	probes := []func() probeResult{
		func() probeResult {
			return probeUDP(ctx, "registration request to UDP port 434", target, wire.Port, request)
		},
		func() probeResult {
			return probeUDP(ctx, fmt.Sprintf("datagram to UDP port %d", closedPort), target, closedPort, []byte("mipagent check-firewall"))
		},
		func() probeResult { return probeTCP(ctx, target, sshPort) },
		func() probeResult { return probeTCP(ctx, target, httpsPort) },
		func() probeResult { return probeEcho(ctx, target) },
	}
	results := make([]probeResult, len(probes))
	var all sync.WaitGroup
	for i, p := range probes {
		all.Go(func() { results[i] = p() })
	}
	all.Wait()
	return results
}

// strangersRequest returns a registration request whose authenticator nobody can verify.
func strangersRequest(target, home netip.Addr) ([]byte, error) {
	if !target.Is4() {
		return nil, fmt.Errorf("%v: expected the IPv4 address of an internal home agent", target)
	}
	key := make(auth.Key, 16)
	_, _ = rand.Read(key) // never fails
	association, err := auth.New(auth.Parameters{SPI: 256, Key: key})
	if err != nil {
		return nil, err
	}
	r := wire.RegistrationRequest{
		Flags: wire.FlagDecapsulation | wire.FlagReverseTunnel, Lifetime: 1, HomeAddress: home, HomeAgent: target,
		CareOfAddress: netip.AddrFrom4([4]byte{192, 0, 2, 1}), Identification: wire.IdentificationAt(time.Now()), // a documentation address: it binds nothing
	}
	message, err := r.Append(nil)
	if err != nil {
		return nil, err
	}
	return association.AppendExtension(message, wire.ExtMobileHomeAuthentication), nil
}

// probeUDP sends a datagram three times, and waits for one, or for an ICMP message of the target about it.
func probeUDP(ctx context.Context, name string, target netip.Addr, port uint16, payload []byte) probeResult {
	r := probeResult{Probe: name}
	var d net.Dialer
	c, err := d.DialContext(ctx, "udp4", netip.AddrPortFrom(target, port).String())
	if err != nil {
		r.Unsent = err.Error()
		return r
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	answer := make([]byte, 2048)
	sent := false
	for i := range 3 {
		if _, err := c.Write(payload); err == nil {
			sent = true
		} else if said := refusal(err); said != "" {
			r.Answer = said
			return r
		} else if !sent {
			r.Unsent = err.Error()
		}
		left := time.Until(deadline)
		if err := c.SetReadDeadline(time.Now().Add(left / time.Duration(3-i))); err != nil {
			break
		}
		n, err := c.Read(answer)
		if err == nil {
			r.Answer = fmt.Sprintf("%d octets came back", n)
			if typ, ok := wire.TypeOf(answer[:n]); ok && typ == wire.TypeRegistrationReply && n > 1 {
				r.Answer = fmt.Sprintf("a registration reply with code %v came back", wire.Code(answer[1]))
			}
			break
		}
		if r.Answer = refusal(err); r.Answer != "" {
			break
		}
	}
	if sent {
		r.Unsent = ""
	}
	return r
}

// refusal says which answer of the target an error stands for, "" for none. That a host or network cannot be reached is said by
// routers on the way, which is what a firewall may do.
func refusal(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "it was answered that the port is closed; a firewall that rejects looks the same: have it drop instead"
	case errors.Is(err, syscall.ECONNRESET):
		return "it was reset; a firewall that rejects looks the same: have it drop instead"
	}
	return ""
}

// probeTCP tries to connect.
func probeTCP(ctx context.Context, target netip.Addr, port uint16) probeResult {
	r := probeResult{Probe: "connection to TCP port " + strconv.Itoa(int(port))}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp4", netip.AddrPortFrom(target, port).String())
	switch {
	case err == nil:
		c.Close()
		r.Answer = "it was accepted"
	case refusal(err) != "":
		r.Answer = refusal(err)
	case errors.Is(err, syscall.ENETUNREACH) && ctx.Err() == nil:
		r.Unsent = err.Error()
	}
	return r
}

// probeEcho sends ICMP echo requests, which takes the right to open raw sockets.
func probeEcho(ctx context.Context, target netip.Addr) probeResult {
	r := probeResult{Probe: "ICMP echo request"}
	c, err := net.ListenPacket("ip4:icmp", "0.0.0.0")
	if err != nil {
		r.Unsent = "this takes root: " + err.Error()
		return r
	}
	defer c.Close()
	id := make([]byte, 4)
	_, _ = rand.Read(id) // never fails
	message := append([]byte{8, 0, 0, 0}, id...)
	binary.BigEndian.PutUint16(message[2:], packet.Checksum(message, 0))
	if _, err := c.WriteTo(message, &net.IPAddr{IP: target.AsSlice()}); err != nil {
		r.Unsent = err.Error()
		return r
	}
	deadline, _ := ctx.Deadline()
	if err := c.SetReadDeadline(deadline); err != nil {
		return r
	}
	for answer := make([]byte, 2048); ; {
		n, from, err := c.ReadFrom(answer)
		if err != nil {
			return r
		}
		source, ok := from.(*net.IPAddr)
		if ok && n >= 8 && answer[0] == 0 && string(answer[4:8]) == string(id) && source.IP.Equal(target.AsSlice()) {
			r.Answer = "it was answered"
			return r
		}
	}
}
