package e2e

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/ipsec/esp"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// Shows: IKE-6 (RFC 3948 §2.1: ESP in UDP leaves with a UDP checksum of zero, §2.2: IKE with one; both are taken)
func TestESPInUDPHasNoChecksum(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 460, Client: func(c *config.Config) { c.Gateway.ForceUDPEncapsulation = true }})
		var data, messages, wrong atomic.Int64
		stop := w.Internet.Tap(func(f simnet.Frame) { // between the x-HA, where the x-MIP tunnel ends, and the gateway
			ip := packet.IPv4(f.Packet)
			if !ip.Valid() || ip.Protocol() != packet.ProtocolUDP || ip.Src() != simnet.LabExternalHomeAddress || ip.Dst() != simnet.LabGateway {
				return
			}
			u := packet.UDP(ip.Payload())
			if !u.Valid() || u.DstPort() != esp.PortNATT {
				return
			}
			unsummed := u.Checksum() == 0
			switch esp.Classify(u.Payload()) {
			case esp.KindESP:
				data.Add(1)
				if !unsummed {
					wrong.Add(1)
				}
			case esp.KindIKE:
				messages.Add(1)
				if unsummed {
					wrong.Add(1)
				}
			}
		})
		k := talk(t, w, 50*time.Millisecond)
		connected(t, w, cafePlace)
		k.works(t, 5*time.Second)
		time.Sleep(40 * time.Second)
		stop() // nobody counts any more
		if data.Load() < 50 || messages.Load() == 0 || wrong.Load() != 0 {
			t.Errorf("%d ESP packets and %d IKE messages in UDP, %d with the wrong kind of checksum", data.Load(), messages.Load(), wrong.Load())
		}
	})
}
