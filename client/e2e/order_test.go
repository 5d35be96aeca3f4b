package e2e

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/stack/simnet"
)

// Of the flows of TestOrderOfFlows: datagrams in a train, trains, and where they go.
const (
	orderTrain = 40
	orderSize  = 1200
	orderTimes = 20
	orderPort  = 7300
)

// orderDatagram returns datagram i of a flow: its number, and octets that follow from flow and number.
func orderDatagram(flow byte, i int) []byte {
	p := make([]byte, orderSize)
	for k := range p {
		p[k] = byte(i*29 + k*3 + int(flow)*101)
	}
	binary.BigEndian.PutUint32(p, uint32(i))
	return p
}

// Four flows of datagram trains, two each way, and a TCP session beside them, all at once and through every mode: superpackets go
// into the client, the home agents and the gateway, and each flow comes out in order, whole, with nothing missing.
func TestOrderOfFlows(t *testing.T) {
	t.Parallel()
	for _, at := range places {
		t.Run(at.mode, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 140})
				connected(t, w, at)
				measuredMTU(t, w) // so that none is fragmented
				s, err := StartSession(w)
				if err != nil {
					t.Fatal(err)
				}
				var sending, receiving sync.WaitGroup
				for flow := range byte(4) {
					from, to := w.Laptop, w.Correspondent
					src, dst := simnet.LabHomeAddress, simnet.LabCorrespondent
					if flow >= 2 {
						from, to, src, dst = to, from, dst, src
					}
					port := orderPort + uint16(flow)
					out, err := from.ListenUDP(netip.AddrPortFrom(src, port))
					if err != nil {
						t.Fatal(err)
					}
					defer out.Close()
					in, err := to.ListenUDP(netip.AddrPortFrom(dst, port))
					if err != nil {
						t.Fatal(err)
					}
					defer in.Close()
					if err := in.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
						t.Fatal(err)
					}
					sending.Go(func() {
						for n := range orderTimes {
							var train []byte
							for i := range orderTrain {
								train = append(train, orderDatagram(flow, n*orderTrain+i)...)
							}
							if err := out.WriteTrain(train, orderSize, netip.AddrPortFrom(dst, port)); err != nil {
								t.Error(err)
								return
							}
							time.Sleep(20 * time.Millisecond)
						}
					})
					receiving.Go(func() {
						buf := make([]byte, 2048)
						for i := range orderTimes * orderTrain {
							n, _, err := in.ReadFromAddrPort(buf)
							if err != nil {
								t.Errorf("flow %d: after %d datagrams of %d: %v", flow, i, orderTimes*orderTrain, err)
								return
							}
							if !bytes.Equal(buf[:n], orderDatagram(flow, i)) {
								t.Errorf("flow %d: datagram %d of %d octets came as number %d, or with other octets", flow, binary.BigEndian.Uint32(buf), n, i)
								return
							}
						}
					})
				}
				sending.Wait()
				receiving.Wait()
				if up, down, err := s.Finish(); err != nil || up == 0 || down == 0 {
					t.Errorf("the TCP session carried %d octets up and %d down: %v", up, down, err)
				}
			})
		})
	}
}
