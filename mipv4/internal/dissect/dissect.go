package dissect

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Transport says what text2pcap puts in front of the payloads.
type Transport []string

var (
	// MobileIP wraps payloads in IPv4 and UDP from a high port to 434.
	MobileIP = Transport{"-4", "192.0.2.1,192.0.2.20", "-u", "40000,434"}
	// MobileIPReply is the other way round.
	MobileIPReply = Transport{"-4", "192.0.2.20,192.0.2.1", "-u", "434,40000"}
	// ICMP wraps payloads in IPv4 with protocol 1.
	ICMP = Transport{"-4", "172.16.5.1,224.0.0.1", "-i", "1"}
)

// Fields has tshark dissect each payload and returns, for each, the values of the named fields in their order, one
// string a field with several values separated by commas. It fails the test when tshark finds a malformed field or an
// expert remark of error severity, and skips it when the tools are not installed.
func Fields(t *testing.T, transport Transport, payloads [][]byte, fields ...string) [][]string {
	t.Helper()
	for _, tool := range []string{"text2pcap", "tshark"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed (Debian package tshark): %v", tool, err)
		}
	}
	dir := t.TempDir()
	dump, capture := filepath.Join(dir, "dump"), filepath.Join(dir, "capture")
	var text strings.Builder
	for _, p := range payloads {
		for i, b := range p {
			if i%16 == 0 {
				fmt.Fprintf(&text, "\n%06x", i)
			}
			fmt.Fprintf(&text, " %02x", b)
		}
		text.WriteString("\n")
	}
	if err := os.WriteFile(dump, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "text2pcap", append(append([]string{"-q"}, transport...), dump, capture)...)

	names := append([]string{"_ws.malformed", "_ws.expert.severity"}, fields...)
	args := []string{"-r", capture, "-n", "-T", "fields", "-E", "separator=|", "-E", "aggregator=,"}
	for _, f := range names {
		args = append(args, "-e", f)
	}
	lines := strings.Split(strings.TrimSuffix(run(t, "tshark", args...), "\n"), "\n")
	if len(lines) != len(payloads) {
		t.Fatalf("tshark shows %d packets of %d:\n%s", len(lines), len(payloads), strings.Join(lines, "\n"))
	}
	var out [][]string
	for i, l := range lines {
		values := strings.Split(l, "|")
		if len(values) != len(names) {
			t.Fatalf("packet %d: %d fields of %d: %q", i, len(values), len(names), l)
		}
		// 8388608 is PI_ERROR, the severity of malformed and contradictory fields.
		if values[0] != "" || strings.Contains(values[1], "8388608") {
			t.Errorf("packet %d is malformed to tshark (%q, severity %q):\n%s", i, values[0], values[1], run(t, "tshark", "-r", capture, "-n", "-V"))
		}
		out = append(out, values[2:])
	}
	return out
}

// run returns what the program writes to standard output.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	c := exec.Command(name, args...)
	c.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
	var errs strings.Builder
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, errs.String())
	}
	return string(out)
}
