//go:build linux

package hostnet

import (
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
)

// threadTime returns the processor time of the calling thread in nanoseconds, which other programs do not disturb as much.
func threadTime() (int64, error) {
	var t unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)
	return t.Nano(), err
}

// BenchmarkEgress measures what the kill switch costs a packet of 1400 octets on its way out of an interface: of the client's
// own, and of an application in a split tunnel, which passes all rules.
func BenchmarkEgress(b *testing.B) {
	ns, other := netnstest.New(b), netnstest.New(b)
	netnstest.Wire(b, ns, "eth0", eth0, other, "eth0", netip.PrefixFrom(gate, 24))
	do := netnstest.Enter(b, ns)
	n := New(Options{})
	hw := net.HardwareAddr{2, 0, 0, 0, 0, 7}
	packet := append(ethernet(hw, unix.ETH_P_IP), ipv4(eth0.Addr(), lan, 9, 9, string(make([]byte, 1372)))...)
	for _, line := range []struct {
		name     string
		settings link.Settings
	}{{"without", link.Settings{}}, {"split", lined}, {"full", local}} {
		if err := do(func() error {
			if line.settings.KillSwitch {
				return n.Load(line.settings)
			}
			return n.Apply(line.settings)
		}); err != nil {
			b.Fatal(err)
		}
		for _, sender := range []struct {
			name string
			mark uint32
		}{{"client", protectedMark}, {"application", 0}} {
			b.Run(line.name+"/"+sender.name, func(b *testing.B) {
				if err := do(func() error {
					fd, err := packetSocket("eth0", unix.ETH_P_IP, sender.mark)
					if err != nil {
						return err
					}
					defer unix.Close(fd)
					before, err := threadTime()
					if err != nil {
						return err
					}
					for b.Loop() {
						if _, err := unix.Write(fd, packet); err != nil {
							return err
						}
					}
					after, err := threadTime()
					b.ReportMetric(float64(after-before)/float64(b.N), "cpu-ns/op")
					return err
				}); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
	if err := do(func() error { return n.Apply(link.Settings{}) }); err != nil {
		b.Fatal(err)
	}
}
