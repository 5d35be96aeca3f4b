package interop

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"mipvpn/mipv4/auth"
)

// scapy is the process of testdata/peer.py that all tests of this package share, as one test sees it.
type scapy struct {
	*process
	t testing.TB
}

type process struct {
	command *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	fault   strings.Builder
}

// errNoScapy means that scapy is not installed.
var errNoScapy = errors.New("scapy is not installed (Debian package python3-scapy)")

// shared starts scapy when the first test asks for it: that takes a second.
var shared = sync.OnceValues(func() (*process, error) {
	const python = "/usr/bin/python3" // Debian's, which python3-scapy is for
	if out, err := exec.Command(python, "-c", "import scapy.layers.mobileip").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %w %s", errNoScapy, err, out)
	}
	p := &process{command: exec.Command(python, filepath.Join("testdata", "peer.py"))}
	p.command.Stderr = &p.fault
	var err error
	if p.in, err = p.command.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	running = p
	return p, nil
})

// running is what shared has started.
var running *process

// TestMain ends scapy behind the tests.
func TestMain(m *testing.M) {
	code := m.Run()
	if p := running; p != nil {
		_ = p.in.Close() // which ends it
		if err := p.command.Wait(); err != nil {
			fmt.Fprintf(os.Stderr, "scapy: %v\n%s", err, p.fault.String())
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// startScapy returns scapy, and skips the test when it is not installed.
func startScapy(t testing.TB) *scapy {
	t.Helper()
	p, err := shared()
	if errors.Is(err, errNoScapy) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	return &scapy{process: p, t: t}
}

// under returns the same process for a subtest.
func (s *scapy) under(t testing.TB) *scapy {
	return &scapy{process: s.process, t: t}
}

// ask has scapy do something and fills in the answer.
func (s *scapy) ask(do string, command map[string]any, answer any) {
	s.t.Helper()
	command["do"] = do
	line, err := json.Marshal(command)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.in.Write(append(line, '\n')); err != nil {
		s.t.Fatalf("scapy does not listen: %v", err)
	}
	got, err := s.out.ReadBytes('\n')
	if err != nil {
		s.t.Fatalf("scapy does not answer %s: %v", line, err)
	}
	if err := json.Unmarshal(got, answer); err != nil {
		s.t.Fatalf("%v in %s", err, got)
	}
}

// fields are those of a message, under scapy's names.
type fields map[string]any

// extension is one that scapy is to put behind a message: with its data, or with a key for the authenticator.
type extension map[string]any

func data(typ int, octets ...byte) extension {
	return extension{"type": typ, "data": hex.EncodeToString(octets)}
}

// signature is an authentication extension of a type.
func signature(typ int, k secret) extension {
	return extension{"type": typ, "spi": k.spi, "algorithm": k.algorithm.String(), "key": hex.EncodeToString([]byte(k.key))}
}

// secret is a security association as both ends know it.
type secret struct {
	spi       uint32
	algorithm auth.Algorithm
	key       string
}

// association returns ours.
func (k secret) association(t testing.TB) *auth.SecurityAssociation {
	t.Helper()
	a, err := auth.New(auth.Parameters{SPI: k.spi, Algorithm: k.algorithm, Key: auth.Key(k.key)})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// build returns a message of scapy's.
func (s *scapy) build(typ int, f fields, x ...extension) []byte {
	s.t.Helper()
	var answer struct{ Octets string }
	s.ask("build", map[string]any{"type": typ, "fields": f, "extensions": x}, &answer)
	return unhex(s.t, answer.Octets)
}

// message is one of ours as scapy reads it.
type message struct {
	Layer  string
	Type   int
	Fields struct {
		Flags    int
		Code     int
		Lifetime int
		HomeAddr string
		HAAddr   string
		CoAddr   string
		ID       uint64
	}
	Extensions []struct {
		Type      int
		Data      string
		SPI       uint32
		Authentic bool
	}
}

// read has scapy read a message of ours.
func (s *scapy) read(p []byte, sport, dport uint16, k secret) message {
	s.t.Helper()
	var m message
	s.ask("read", map[string]any{"octets": hex.EncodeToString(p), "sport": sport, "dport": dport,
		"algorithm": k.algorithm.String(), "key": hex.EncodeToString([]byte(k.key))}, &m)
	return m
}

// signed reports whether the message has exactly one authentication extension of the type, with that SPI, which is right.
func (m message) signed(typ int, spi uint32) bool {
	n := 0
	for _, e := range m.Extensions {
		if e.Type == typ {
			n++
			if !e.Authentic || e.SPI != spi {
				return false
			}
		}
	}
	return n == 1
}

// has reports whether the message has an extension of the type with that data.
func (m message) has(typ int, octets string) bool {
	for _, e := range m.Extensions {
		if e.Type == typ && e.Data == octets {
			return true
		}
	}
	return false
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	p, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
