package gatetest

import (
	"bytes"
	"crypto/rand"
	"net/netip"
	"testing"
	"time"

	"mipvpn/detect/location"
	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

// Proof returns a proof that the interface was inside, in that epoch, when a request was sent at the boot time sentAt. It
// expires location.DefaultMonitor later.
func Proof(t testing.TB, iface int, epoch uint64, sentAt time.Duration) location.Proof {
	t.Helper()
	agent := netip.AddrFrom4([4]byte{10, 0, 1, 10})
	careOf := netip.AddrFrom4([4]byte{10, 0, 2, 77})
	now := link.Instant{Boot: sentAt, Wall: time.Unix(1_700_000_000, 0)}
	key, err := auth.New(auth.Parameters{SPI: 256, Key: bytes.Repeat([]byte{7}, auth.StrongKeyLen)})
	check(t, err)
	node, err := mobilenode.NewMachine(mobilenode.Config{
		HomeAgent: agent, HomeAddress: netip.AddrFrom4([4]byte{10, 0, 8, 100}), CareOfAddress: careOf, Association: key,
		Encapsulation: mobilenode.EncapsulationIPIP, Origin: mobilenode.Origin{Interface: iface, Epoch: epoch, Direct: true},
	}, rand.Reader)
	check(t, err)
	detector, err := location.New(location.Config{Interface: iface, InternalHomeAgent: agent})
	check(t, err)
	check(t, detector.HandleEpoch(now, location.Attachment{Epoch: epoch, Usable: true, Address: careOf}))
	node.Register(now)
	out, ok := node.PollTransmit()
	if !ok {
		t.Fatal("gatetest: no request")
	}
	request, err := wire.ParseRegistrationRequest(out.Payload)
	check(t, err)
	reply := request.Reply(wire.CodeAccepted, request.Lifetime)
	reply.Extensions = wire.Extensions{wire.TrustedNetworksConfigured()}
	payload, err := reply.Append(nil)
	check(t, err)
	check(t, node.HandleReply(now, key.AppendExtension(payload, wire.ExtMobileHomeAuthentication)))
	event, ok := node.PollEvent()
	accepted, is := event.(mobilenode.Accepted)
	if !ok || !is {
		t.Fatalf("gatetest: %T %+v", event, event)
	}
	check(t, detector.HandleInternalReply(now, accepted.Reply))
	proof, ok := detector.Proof()
	if !ok {
		t.Fatal("gatetest: no proof")
	}
	return proof
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("gatetest: %v", err)
	}
}
