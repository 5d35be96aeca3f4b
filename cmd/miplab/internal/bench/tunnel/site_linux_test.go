package tunnel

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"mipvpn/cmd/miplab/internal/bench"
	"mipvpn/cmd/miplab/internal/bench/traffic"
	"mipvpn/cmd/miplab/internal/capture"
	"mipvpn/cmd/miplab/internal/pinned"
	"mipvpn/cmd/miplab/internal/space"
)

// TestMain runs an end of a null tunnel when the test program is started as the tunnels start miplab.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "pinned" {
		e, err := pinned.Load(os.Args[2])
		if err == nil {
			err = e.Run(terminated(), pinned.Options{})
		}
		if err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

// longest is the greatest length of a frame that was seen.
type longest struct {
	mu     sync.Mutex
	octets int
}

func (l *longest) see(_ time.Time, frame []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.octets = max(l.octets, len(frame))
}

// TestWires looks at the frames that arrive at each end while a flow runs each way, of TCP itself and of a tunnel that asks the
// kernel to cut UDP datagrams: with offload some are longer than the MTU, else none is.
func TestWires(t *testing.T) {
	if s, err := space.New("trial"); err != nil {
		t.Skipf("needs root: %v", err)
	} else {
		s.Close()
	}
	if f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0); err != nil {
		t.Skipf("needs TUN devices: %v", err)
	} else {
		f.Close()
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const frame = 14 + mtu
	for _, name := range []string{bench.Kernel, bench.Null} {
		k, ok := Find(name)
		if !ok {
			t.Fatalf("there is no tunnel %s", name)
		}
		for _, wire := range Wires {
			t.Run(name+" "+wire, func(t *testing.T) {
				site, err := NewSite(wire, t.TempDir(), name)
				if err != nil {
					t.Fatal(err)
				}
				standing, err := k.Start(t.Context(), site, Programs{Self: self}, os.Stderr)
				if err != nil {
					t.Fatal(err)
				}
				defer func() {
					if err := standing.Stop(); err != nil {
						t.Error(err)
					}
				}()
				for _, up := range []bool{true, false} {
					var seen longest
					for _, end := range []*space.Space{site.Near, site.Far} {
						tap, err := capture.Open(end, Interface, "", seen.see)
						if err != nil {
							t.Fatal(err)
						}
						defer tap.Close()
					}
					carry(t, standing.Path, up)
					seen.mu.Lock()
					got := seen.octets
					seen.mu.Unlock()
					if wire == Frames && got > frame || wire == Offload && got <= frame {
						t.Errorf("up %v: the longest frame has %d octets; a real one has at most %d", up, got, frame)
					}
				}
			})
		}
	}
}

// carry sends some megabytes through the path.
func carry(t *testing.T, p traffic.Path, up bool) {
	t.Helper()
	f, err := traffic.OpenFlow(t.Context(), p, up)
	if err != nil {
		t.Fatal(err)
	}
	const enough = 8 << 20
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for f.Octets() < enough {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// TestMissing shows that a tunnel whose programs are not there says so.
func TestMissing(t *testing.T) {
	k, _ := Find(bench.ModeC)
	if err := k.Missing(Programs{Binaries: filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("mipvpn in an empty directory is not missed")
	}
}
