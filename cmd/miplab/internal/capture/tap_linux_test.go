package capture

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"

	"mipvpn/cmd/miplab/internal/topology"
)

// TestTap shows that every frame of a wire is seen once, by the function and in the file, also one that is on its way
// when the capture ends.
func TestTap(t *testing.T) {
	lab, err := topology.New(topology.Options{})
	if errors.Is(err, os.ErrPermission) {
		t.Skipf("needs root: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer lab.Close()
	const marks = 300
	mark := []byte("a mark of the capture's test")
	seen := 0
	file := filepath.Join(t.TempDir(), "core.pcap")
	tap, err := Open(lab.Fabric(), string(topology.Core), file, func(_ time.Time, frame []byte) {
		if bytes.Contains(frame, mark) {
			seen++
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	err = lab.Box(topology.Correspondent).Do(func() error {
		conn, err := net.Dial("udp4", "10.0.1.10:9")
		if err != nil {
			return err
		}
		defer conn.Close()
		for range marks {
			conn.Write(mark) // the port may be unreachable; it is the wire that counts
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	lost, err := tap.Close()
	if err != nil {
		t.Fatal(err)
	}
	// A refused port makes some writes report the refusal instead of sending; most are sent.
	if lost != 0 || seen < marks/2 || seen > marks {
		t.Errorf("saw %d frames and lost %d of up to %d", seen, lost, marks)
	}

	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	kept := 0
	for {
		frame, _, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(frame, mark) {
			kept++
		}
	}
	if kept != seen {
		t.Errorf("the file has %d frames with the mark, the function saw %d", kept, seen)
	}
}

// TestNoSuchWire shows that a wire that is not there is an error.
func TestNoSuchWire(t *testing.T) {
	lab, err := topology.New(topology.Options{})
	if errors.Is(err, os.ErrPermission) {
		t.Skipf("needs root: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer lab.Close()
	if _, err := Open(lab.Fabric(), "moon", "", func(time.Time, []byte) {}); err == nil {
		t.Error("a capture of no wire began")
	}
}
