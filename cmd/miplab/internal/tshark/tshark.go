package tshark

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ErrNotInstalled is returned where there is no tshark.
var ErrNotInstalled = errors.New("tshark is not installed (Debian package tshark)")

// Available returns nil when tshark is there, otherwise an error that wraps ErrNotInstalled.
func Available() error {
	if _, err := exec.LookPath("tshark"); err != nil {
		return fmt.Errorf("%w: %w", ErrNotInstalled, err)
	}
	return nil
}

// servicePort is the port of the lab's services. Their payload is random octets, which tshark would take for the protocol that
// usually has the port (RX of the Andrew File System) and call malformed now and then.
const servicePort = "7000"

// Frames returns a line for each frame of the capture that the display filter matches: its number and what tshark sees
// in it.
func Frames(file, filter string) ([]string, error) {
	// Names are not resolved, and nothing is sent. Reassembly is off: TCP that was sent again would count as malformed.
	cmd := exec.Command("tshark", "-n", "-o", "tcp.desegment_tcp_streams:FALSE", "-o", "ip.defragment:FALSE",
		"-d", "udp.port=="+servicePort+",data", "-d", "tcp.port=="+servicePort+",data", "-r", file, "-Y", filter)
	// No preferences of whoever runs this.
	cmd.Env = append(os.Environ(), "WIRESHARK_CONFIG_DIR="+filepath.Join(filepath.Dir(file), "no-preferences"))
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("tshark: %s with filter %q: %w: %s", file, filter, err, strings.TrimSpace(errOut.String()))
	}
	var lines []string
	for line := range strings.Lines(out.String()) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines, nil
}

// registration matches registration requests and replies (RFC 5944 §3.3 and §3.4).
const registration = "(mip.type == 1 || mip.type == 3)"

// Leaks returns the frames that show a canary at any offset, or one of the addresses in a header that tshark sees,
// outside registration messages. What is inside ESP tshark does not see.
func Leaks(file string, canary []byte, secret ...netip.Addr) ([]string, error) {
	terms := []string{"frame contains " + colons(canary)}
	for _, a := range secret {
		terms = append(terms, fmt.Sprintf("((ip.addr == %v || arp.dst.proto_ipv4 == %v || arp.src.proto_ipv4 == %v) && !%s)", a, a, a, registration))
	}
	return Frames(file, strings.Join(terms, " || "))
}

// Malformed returns the frames in which tshark found a malformed field or an error of a protocol of ours: Mobile IP, IKE,
// ESP, and the ICMP that agents are discovered by.
func Malformed(file string) ([]string, error) {
	return Frames(file, "_ws.malformed && (mip || isakmp || esp || udp.port == 434 || udp.port == 4500 || udp.port == 500 || icmp)")
}

// colons writes octets as display filters take them.
func colons(p []byte) string {
	h := hex.EncodeToString(p)
	var b strings.Builder
	for i := 0; i < len(h); i += 2 {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(h[i : i+2])
	}
	return b.String()
}
