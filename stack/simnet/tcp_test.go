package simnet

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// content returns n octets that follow from the seed.
func content(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// serve accepts one stream at the host and gives it to f.
func serve(t *testing.T, h *Host, port uint16, f func(net.Conn) error) <-chan error {
	t.Helper()
	l, err := h.ListenTCP(netip.AddrPortFrom(netip.Addr{}, port))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			err = f(c)
		}
		done <- err
	}()
	return done
}

// exchange sends up and gets down over one stream, both ways at once, and compares.
func exchange(t *testing.T, from, at *Host, to netip.Addr, size int) (*Stream, error) {
	t.Helper()
	up, down := content(1, size), content(2, size)
	served := serve(t, at, 80, func(c net.Conn) error {
		sent := make(chan error, 1)
		go func() {
			_, err := c.Write(down)
			sent <- errors.Join(err, c.(*Stream).CloseWrite())
		}()
		got, err := io.ReadAll(c)
		if !bytes.Equal(got, up) {
			err = errors.Join(err, errors.New("what came up differs"))
		}
		return errors.Join(err, <-sent, c.Close())
	})
	s, err := from.DialTCP(netip.AddrPortFrom(to, 80), time.Minute)
	if err != nil {
		return nil, err
	}
	sent := make(chan error, 1)
	go func() {
		_, err := s.Write(up)
		sent <- errors.Join(err, s.CloseWrite())
	}()
	got, err := io.ReadAll(s)
	if !bytes.Equal(got, down) {
		err = errors.Join(err, errors.New("what came down differs"))
	}
	return s, errors.Join(err, <-sent, s.Close(), <-served)
}

func TestStreamOverImpairments(t *testing.T) {
	tests := []struct {
		name string
		imp  Impairment
		lost bool
	}{
		{"clean", Impairment{Latency: 10 * time.Millisecond}, false},
		{"5 % loss", Impairment{Latency: 10 * time.Millisecond, Loss: 0.05}, true},
		{"20 % loss", Impairment{Latency: 10 * time.Millisecond, Loss: 0.2}, true},
		{"duplicates", Impairment{Latency: 10 * time.Millisecond, Duplicate: 0.2}, false},
		{"reordering", Impairment{Latency: 10 * time.Millisecond, Reorder: 0.1}, false},
		{"everything", Impairment{Latency: 10 * time.Millisecond, Jitter: 10 * time.Millisecond, Loss: 0.05, Duplicate: 0.05, Reorder: 0.1}, true},
		{"slow", Impairment{Latency: 10 * time.Millisecond, Rate: 2e6, Queue: 20000}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(3, WireConfig{Impairment: tt.imp})
				defer p.Close()
				s, err := exchange(t, p.a, p.b, addrB, 500_000)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * timeWait)
				synctest.Wait()
				st := s.Stats()
				if st.Sent != 500_000 || st.Received != 500_000 {
					t.Errorf("%+v", st)
				}
				if (st.Retransmissions > 0) != tt.lost && tt.name != "reordering" && tt.name != "duplicates" {
					t.Errorf("%d retransmissions", st.Retransmissions)
				}
				p.mu.Lock()
				defer p.mu.Unlock()
				if len(p.a.streams)+len(p.b.streams) != 0 {
					t.Errorf("%d and %d streams are left", len(p.a.streams), len(p.b.streams))
				}
			})
		})
	}
}

func TestStreamThroughNAT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNatted(NATConfig{Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent})
		defer n.Close()
		if _, err := exchange(t, n.left, n.right, right, 100_000); err != nil {
			t.Error(err)
		}
	})
}

// A small link on the way makes the router say "fragmentation needed"; the stream goes on with smaller segments.
func TestStreamPathMTU(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChain(1)
		defer c.Close()
		c.rr.mtu = 600
		big := 0
		c.rw.Tap(func(f Frame) {
			if f.Sender == "router/eth1" && len(f.Packet) > 600 {
				t.Errorf("%d octets on a link of 600", len(f.Packet))
			}
		})
		c.lw.Tap(func(f Frame) {
			if f.Sender == "left/eth0" && len(f.Packet) > 600 {
				big++
			}
		})
		if _, err := exchange(t, c.left, c.right, right, 50_000); err != nil {
			t.Error(err)
		}
		if big == 0 || big > 20 {
			t.Errorf("%d packets over 600 octets were tried", big)
		}
		if _, err := exchange(t, c.right, c.left, addrA, 50_000); err != nil {
			t.Error(err)
		}
	})
}

func TestStreamWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(1, WireConfig{Impairment: Impairment{Latency: time.Millisecond}})
		defer p.Close()
		data := content(1, 400_000)
		served := serve(t, p.b, 80, func(c net.Conn) error {
			time.Sleep(time.Hour) // the window is closed meanwhile, and probed
			got, err := io.ReadAll(c)
			if !bytes.Equal(got, data) {
				err = errors.Join(err, errors.New("the data differs"))
			}
			return err
		})
		s, err := p.a.DialTCP(netip.AddrPortFrom(addrB, 80), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SetWriteDeadline(time.Now().Add(10 * time.Minute)); err != nil {
			t.Fatal(err)
		}
		n, err := s.Write(data)
		if !errors.Is(err, os.ErrDeadlineExceeded) || n < streamBuffer || n > streamBuffer+streamWindow+10 {
			t.Fatalf("wrote %d octets against a closed window, %v", n, err)
		}
		if err := s.SetWriteDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write(data[n:]); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
}

func TestStreamRefusedResetAndGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(1, WireConfig{})
		defer p.Close()
		if _, err := p.a.DialTCP(netip.AddrPortFrom(addrB, 80), time.Minute); !errors.Is(err, ErrRefused) {
			t.Errorf("dial to a closed port: %v", err)
		}
		if _, err := p.a.DialTCP(netip.MustParseAddrPort("203.0.113.1:80"), time.Minute); !errors.Is(err, ErrNoRoute) {
			t.Errorf("dial without a route: %v", err)
		}
		start := time.Now()
		if _, err := p.a.DialTCP(netip.MustParseAddrPort("10.1.0.99:80"), time.Minute); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("dial to nobody: %v after %v", err, time.Since(start))
		}
		served := serve(t, p.b, 80, func(c net.Conn) error {
			c.(*Stream).Abort()
			return nil
		})
		s, err := p.a.DialTCP(netip.AddrPortFrom(addrB, 80), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, ErrReset) {
			t.Errorf("read of a stream that the other end reset: %v", err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		serve(t, p.b, 81, func(net.Conn) error { return nil })
		s, err = p.a.DialTCP(netip.AddrPortFrom(addrB, 81), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		p.bn.Detach()
		if _, err := s.Write([]byte("into the dark")); err != nil {
			t.Fatal(err)
		}
		start = time.Now()
		_, err = s.Read(make([]byte, 1))
		if d := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || d < giveUp || d > giveUp+2*maxRTO {
			t.Errorf("the stream gave up after %v: %v", d, err)
		}
	})
}

// A stream whose address moves along, as a home address does, lives through a change of the wire and through suspend.
func TestStreamSurvivesMoveAndSuspend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChain(9)
		defer c.Close()
		data := content(4, 2_000_000)
		served := serve(t, c.right, 80, func(conn net.Conn) error {
			got, err := io.ReadAll(conn)
			if !bytes.Equal(got, data) {
				err = errors.Join(err, errors.New("the data differs"))
			}
			return err
		})
		s, err := c.left.DialTCP(netip.AddrPortFrom(right, 80), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		other := c.NewWire(WireConfig{Name: "other", Impairment: Impairment{Latency: 30 * time.Millisecond}})
		wrote := make(chan error, 1)
		go func() {
			_, err := s.Write(data)
			wrote <- errors.Join(err, s.Close())
		}()
		time.Sleep(20 * time.Millisecond)
		c.ln.Detach()
		time.Sleep(3 * time.Second)
		c.rl.Attach(other)
		c.ln.Attach(other)
		time.Sleep(2 * time.Second)
		c.left.Suspend()
		time.Sleep(5 * time.Minute)
		c.left.Resume()
		if err := errors.Join(<-wrote, <-served); err != nil {
			t.Error(err)
		}
		if st := s.Stats(); st.Timeouts == 0 {
			t.Errorf("%+v: without a carrier nothing timed out", st)
		}
	})
}

// A stream into a TUN device: the segments come out of it with their checksums right, and answers go in.
func TestStreamThroughDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLab(1)
		defer l.Close()
		l.Plug(l.Eth0, l.Office)
		time.Sleep(time.Second)
		dev, err := l.Laptop.OpenDevice("mip0", 1380)
		if err != nil {
			t.Fatal(err)
		}
		home, err := l.InternalHA.OpenDevice("home0", 1480)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Laptop.Apply(link.Settings{Device: "mip0", Address: LabHomeAddress, Routes: []netip.Prefix{LabEnterprise}}); err != nil {
			t.Fatal(err)
		}
		if err := l.InternalHA.Apply(link.Settings{Device: "home0", Routes: []netip.Prefix{LabHomeNetwork}, Forward: true}); err != nil {
			t.Fatal(err)
		}
		// An IP-in-IP tunnel in its simplest form: device to flow and back at each end.
		tunnel := func(h *Host, index int, own, other netip.Addr, d link.Device) {
			u, err := h.Underlay(index, own)
			if err != nil {
				t.Fatal(err)
			}
			f, err := u.Open(link.FlowSpec{Protocol: packet.ProtocolIPIP, Remote: netip.AddrPortFrom(other, 0)}, func(b *packet.Batch) {
				if err := d.Write(b); err != nil && !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				for {
					b := packet.GetBatch()
					if d.Read(b) != nil {
						return
					}
					b.Cut()
					for _, p := range b.Bufs {
						if ip := packet.IPv4(p.Bytes()); len(ip) > 1380 || !ip.ChecksumOK() || packet.TransportChecksum(ip.Payload(), ip.Src(), ip.Dst(), ip.Protocol()) != 0 {
							t.Errorf("out of device %s: % x", d.Name(), ip)
						}
					}
					if err := f.Path(link.Plaintext).Send(b); err != nil && !errors.Is(err, net.ErrClosed) {
						t.Error(err)
					}
				}
			}()
		}
		coa := l.Eth0.Address().Addr()
		tunnel(l.Laptop, l.Eth0.Index(), coa, LabInternalHA, dev)
		tunnel(l.InternalHA, 0, LabInternalHA, coa, home)
		s, err := exchange(t, l.Laptop, l.Correspondent, LabCorrespondent, 200_000)
		if err != nil {
			t.Fatal(err)
		}
		if a := s.LocalAddr().(*net.TCPAddr).AddrPort().Addr(); a != LabHomeAddress {
			t.Errorf("the stream's own address is %v, expected the home address", a)
		}
	})
}
