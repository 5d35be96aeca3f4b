package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"mipvpn/client/control"
)

// shown returns the status as it stands on a screen, which it has to fit.
func shown(t *testing.T, sc screen, s control.Status) string {
	t.Helper()
	var b bytes.Buffer
	if err := writeStatus(&b, sc, s); err != nil {
		t.Fatal(err)
	}
	text := sgr.ReplaceAllString(b.String(), "")
	for l := range strings.SplitSeq(text, "\n") {
		if n := utf8.RuneCountInString(l); n > sc.width {
			t.Errorf("a line of %d characters on a screen of %d: %q", n, sc.width, l)
		}
	}
	if n := strings.Count(text, "\n"); n >= sc.height {
		t.Errorf("%d lines and a prompt on a screen of %d:\n%s", n, sc.height, text)
	}
	return b.String()
}

var sgr = regexp.MustCompile("\x1b\\[[0-9;]*m")

// fullStatus is a status in which everything that can be said is said.
func fullStatus() control.Status {
	s := statuses()["outside"]
	s.ModeReason = "the VPN gateway does not follow the laptop to another address, and a home agent beside it does, so that no move touches IKE"
	s.DNS = &control.DNS{By: "systemd-resolved", Forwarder: ip("127.0.77.53"), Domains: []string{"corp.example", "lab.example"},
		Servers: []netip.Addr{ip("10.0.1.53"), ip("10.0.1.54")}, Failed: 12}
	s.VPN = &control.VPN{Established: true, GatewayIdentity: "vpn.corp.example", GatewayProof: "certificate of CN=vpn.corp.example (ECDSA with P-256)", OwnProof: "EAP-TLS with certificate of CN=alice",
		Suite: "AES-GCM-16-256, PRF-HMAC-SHA2-384, X25519", PacketSuite: "AES-GCM-16-256", KeyExchanges: []string{"X25519", "ML-KEM-768"}, NoAgent: "the gateway offers none"}
	s.Problems = []control.Problem{
		{Peer: "x-HA 192.0.2.20", Message: "its clock is 95 s ahead of the laptop's", Advice: "set the clock: `timedatectl set-ntp true`"},
	}
	s.Layers[1].Why = "a NAT is on the way, which lets nothing but UDP through"
	for i := range 4 {
		s.Interfaces = append(s.Interfaces, control.Interface{Name: fmt.Sprintf("enx00e04c68%04x", i), Index: 20 + i, State: "idle", Proof: control.Proof{Verdict: control.VerdictUnknown}})
	}
	s.Handoffs = append(s.Handoffs, control.Handoff{Time: noon, From: "cvc wlan0", To: "cvc enx00e04c680001", Reason: "wlan0 is left for an interface that is preferred by configuration", Outage: 12000})
	return s
}

// Everything at once fits every screen that a terminal has by default, and says what matters on each.
func TestStatusFitsTheScreen(t *testing.T) {
	golden(t, "status-full-80x24.txt", shown(t, screen{width: 80, height: 24}, fullStatus()))
	for _, sc := range []screen{{width: 132, height: 43}, {width: 100, height: 30}, {width: 60, height: 40}, {width: 40, height: 60}} {
		text := shown(t, sc, fullStatus())
		for _, want := range []string{"CONNECTED, mode cvc", "outside", "10.0.8.100", "x-mip", "i-mip", "set-ntp"} {
			if !strings.Contains(text, want) {
				t.Errorf("%dx%d: nothing says %q:\n%s", sc.width, sc.height, want, text)
			}
		}
	}
}

// A screen that is too narrow to lay out for loses nothing: the terminal breaks the lines.
func TestTooNarrow(t *testing.T) {
	narrow, advice := screen{width: leastWidth - 1, height: 12}, "plug in a cable, or join a wireless network"
	var status, doctor bytes.Buffer
	r := &report{Checks: []finding{{"interfaces", checkFailed, "none is connected", advice}}, Result: checkFailed}
	if err := errors.Join(writeStatus(&status, narrow, fullStatus()), writeReport(&doctor, narrow, r)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(status.String(), fullStatus().ModeReason) || strings.Contains(status.String(), "…") {
		t.Errorf("status:\n%s", status.String())
	}
	if !strings.Contains(doctor.String(), advice) {
		t.Errorf("doctor:\n%s", doctor.String())
	}
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		text        string
		first, rest int
		want        []string
	}{
		{"", 10, 10, []string{""}},
		{"one two three", 0, 0, []string{"one two three"}},
		{"one two three", 7, 5, []string{"one two", "three"}},
		{"one two three", 3, 3, []string{"one", "two", "thr", "ee"}},
		{"über größe", 5, 5, []string{"über", "größe"}},
	} {
		if got := wrap(c.text, c.first, c.rest); !slices.Equal(got, c.want) {
			t.Errorf("%q by %d and %d: %q, want %q", c.text, c.first, c.rest, got, c.want)
		}
	}
}

func FuzzLayout(f *testing.F) {
	f.Add("outside: nothing leaves without ESP", "wlan0", 80, 24)
	f.Add("\x1b[2J a \u2028 b", "\xff", 30, 2)
	f.Fuzz(func(t *testing.T, text, name string, width, height int) {
		width, height = 1+(width&0xff), height&0xff
		p := page{screen: screen{width: width, height: height}}
		p.field(field{label: name, text: text, spare: 1})
		p.table(2, [][]span{{say(name), say(text)}, {say(text)}})
		p.fit()
		for _, l := range strings.Split(p.text(), "\n") {
			if n := utf8.RuneCountInString(l); n > width {
				t.Errorf("%d characters of %d: %q", n, width, l)
			}
			if strings.ContainsRune(l, 0x1b) {
				t.Errorf("%q", l)
			}
		}
	})
}

func TestScreenOfAFile(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := screenOf(f); got != (screen{}) {
		t.Errorf("%+v", got)
	}
}

func TestStatusInColour(t *testing.T) {
	for name, s := range statuses() {
		plain, coloured := shown(t, screen{width: 80, height: 24}, s), shown(t, screen{width: 80, height: 24, colour: true}, s)
		if !strings.Contains(coloured, "\x1b[") || strings.Contains(plain, "\x1b") || sgr.ReplaceAllString(coloured, "") != plain {
			t.Errorf("%s: the colours are more than colours:\n%s\n%s", name, plain, coloured)
		}
	}
}

func TestNothingCommandsTheTerminal(t *testing.T) {
	s := statuses()["blocked"]
	s.Problems[0].Message, s.Interface, s.Proof.Reason = "\x1b[2J\u009b1m", "eth\x1b]0;x\a", "in\r\ntwo lines"
	if text := sgr.ReplaceAllString(shown(t, screen{width: 80, height: 24, colour: true}, s), ""); strings.ContainsAny(text, "\x1b\u009b\a\r") {
		t.Errorf("%q", text)
	}
}

func TestPowerInStatus(t *testing.T) {
	for _, c := range []struct {
		power *control.Power
		want  string
	}{
		{nil, ""},
		{&control.Power{Battery: true, Sparing: 2}, "the laptop runs on battery: keepalives of the VPN are up to 2 times rarer"},
		{&control.Power{Metered: true, Sparing: 1}, "the connection is metered"},
		{&control.Power{Battery: true, Metered: true, Sparing: 3}, "the laptop runs on battery, and the connection is metered: keepalives of the VPN are up to 3 times rarer"},
	} {
		var b strings.Builder
		if err := writeStatus(&b, screen{}, control.Status{State: control.StateConnected, Power: c.power}); err != nil {
			t.Fatal(err)
		}
		shown := ""
		for l := range strings.Lines(b.String()) {
			if rest, ok := strings.CutPrefix(strings.TrimSpace(l), "power"); ok {
				shown = strings.TrimSpace(rest)
			}
		}
		if shown != c.want {
			t.Errorf("%+v shows %q, want %q", c.power, shown, c.want)
		}
	}
}
