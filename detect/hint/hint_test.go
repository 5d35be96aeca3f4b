package hint

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mipvpn/detect/location"
	"mipvpn/tun/packet"
)

func hw(n int) packet.HardwareAddr {
	return packet.HardwareAddr{2, 0, 0, byte(n >> 16), byte(n >> 8), byte(n)}
}

var day = time.Unix(20_000*86400+3600, 0)

// Shows: DET-11
func TestJudge(t *testing.T) {
	g := &Gateways{}
	g.Learn(hw(1), true, day)
	g.Learn(hw(2), false, day)
	r := Rules{Domains: []string{"corp.example"}, Realms: []string{"fa.corp.example"}, Gateways: g}
	for _, tc := range []struct {
		s    Signs
		want location.Hint
	}{
		{Signs{}, location.HintNone},
		{Signs{Domain: "corp.example"}, location.HintInside},
		{Signs{Domain: "Berlin.CORP.example."}, location.HintInside},
		{Signs{Domain: "notcorp.example"}, location.HintNone},
		{Signs{Domain: "corp.example.org"}, location.HintNone},
		{Signs{Domain: strings.Repeat("a.", 200) + "corp.example"}, location.HintNone},
		{Signs{NAI: "agent7@fa.corp.example"}, location.HintInside},
		{Signs{NAI: "agent7@site2.fa.corp.example"}, location.HintInside},
		{Signs{NAI: "fa.corp.example"}, location.HintNone}, // no realm
		{Signs{Gateway: hw(1)}, location.HintInside},
		{Signs{Gateway: hw(2)}, location.HintOutside},
		{Signs{Gateway: hw(2), Domain: "corp.example"}, location.HintInside}, // what was named counts more
		{Signs{Gateway: hw(3)}, location.HintNone},
	} {
		h, why := r.Judge(tc.s)
		if h != tc.want || (why == "") != (h == location.HintNone) {
			t.Errorf("%+v: %v (%s), want %v", tc.s, h, why, tc.want)
		}
	}
	if h, _ := (Rules{}).Judge(Signs{Gateway: hw(1), Domain: "corp.example", NAI: "a@b"}); h != location.HintNone {
		t.Errorf("without rules: %v", h)
	}
}

// Shows: DET-11 (learned from past proofs; bounded; a proof is not unlearnt)
func TestGatewaysAreLearnt(t *testing.T) {
	g := &Gateways{}
	if g.Learn(packet.HardwareAddr{}, true, day) || g.Len() != 0 || g.Hint(packet.HardwareAddr{}) != location.HintNone {
		t.Error("no address was learnt")
	}
	for i, want := range []bool{true, false} { // the second time there is nothing to keep
		if got := g.Learn(hw(1), false, day); got != want {
			t.Errorf("learnt %d: %v", i, got)
		}
	}
	if !g.Learn(hw(1), true, day) || g.Hint(hw(1)) != location.HintInside {
		t.Error("a proof was not learnt")
	}
	if g.Learn(hw(1), false, day) || g.Hint(hw(1)) != location.HintInside {
		t.Error("anybody outside with the address of an inside gateway makes it forgotten")
	}
	if !g.Learn(hw(1), false, day.Add(24*time.Hour)) {
		t.Error("it was seen again and that is not kept")
	}
	for i := range 1000 {
		g.Learn(hw(100+i), i%2 == 0, day)
	}
	if g.Len() != maxGateways || g.Hint(hw(1)) != location.HintNone || g.Hint(hw(1099)) != location.HintOutside || g.Hint(hw(1098)) != location.HintInside {
		t.Errorf("%d gateways, the last one %v", g.Len(), g.Hint(hw(1099)))
	}
	p := g.Append(nil)
	if len(p) > maxState {
		t.Errorf("a full state has %d octets", len(p))
	}
	back, err := ParseGateways(p)
	if err != nil || !bytes.Equal(back.Append(nil), p) {
		t.Errorf("round trip: %v", err)
	}
}

func TestStateThatCannotBeRead(t *testing.T) {
	entry := func(s string) string { return `{"version":1,"gateways":[` + s + `]}` }
	good := `{"hardware":"02:00:00:00:00:01","inside":true,"seen_day":20000}`
	for _, tc := range []struct {
		name, text string
		want       error
	}{
		{"newer", `{"version":2,"gateways":{"anything":1}}`, ErrNewer},
		{"no version", `{"gateways":[]}`, ErrCorrupt},
		{"empty", ``, ErrCorrupt},
		{"cut off", entry(good)[:30], ErrCorrupt},
		{"no address", entry(`{"hardware":"00:00:00:00:00:00"}`), ErrCorrupt},
		{"other separators", entry(`{"hardware":"02-00-00-00-00-01"}`), ErrCorrupt},
		{"too long", entry(`{"hardware":"02:00:00:00:00:01:02"}`), ErrCorrupt},
		{"twice", entry(good + "," + good), ErrCorrupt},
		{"unknown key", entry(`{"hardware":"02:00:00:00:00:01","x":1}`), ErrCorrupt},
		{"a day before time", entry(`{"hardware":"02:00:00:00:00:01","seen_day":-1}`), ErrCorrupt},
		{"too large", strings.Repeat(" ", maxState) + entry(good), ErrCorrupt},
	} {
		if g, err := ParseGateways([]byte(tc.text)); !errors.Is(err, tc.want) {
			t.Errorf("%s: %+v, %v, want %v", tc.name, g, err, tc.want)
		}
	}
	var many []string
	for i := range maxGateways + 1 {
		many = append(many, fmt.Sprintf(`{"hardware":%q}`, hw(i+1)))
	}
	if _, err := ParseGateways([]byte(entry(strings.Join(many, ",")))); !errors.Is(err, ErrCorrupt) {
		t.Errorf("too many: %v", err)
	}
	if g, err := ParseGateways([]byte(entry(good))); err != nil || g.Hint(hw(1)) != location.HintInside {
		t.Errorf("%+v, %v", g, err)
	}
}

func TestFile(t *testing.T) {
	f := File{filepath.Join(t.TempDir(), "state", "gateways.json")}
	if _, err := f.Load(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
	for _, text := range []string{"one", "another"} {
		if err := f.Save([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := f.Load(); err != nil || string(got) != text {
			t.Errorf("%q, %v", got, err)
		}
	}
	info, err := os.Stat(f.Path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if list, err := os.ReadDir(filepath.Dir(f.Path)); err != nil || len(list) != 1 {
		t.Errorf("left behind: %v, %v", list, err)
	}
	aside, err := f.SetAside()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(aside); err != nil || string(got) != "another" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := f.SetAside(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing to set aside: %v", err)
	}
	if err := (File{filepath.Join(f.Path+".corrupt", "x", "y")}).Save(nil); err == nil {
		t.Error("a directory was made in a file")
	}
	if err := os.WriteFile(f.Path, bytes.Repeat([]byte{' '}, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Load(); err != nil || len(got) != maxState+1 {
		t.Errorf("%d octets of a large file, %v", len(got), err)
	}
}

func TestLeases(t *testing.T) {
	networkd := "# This is private data. Do not parse.\nADDRESS=10.0.2.100\nDNS=10.0.1.5\nDOMAINNAME=corp.example\nLIFETIME=43200\n"
	if got := ParseNetworkdLease(networkd); got != "corp.example" {
		t.Errorf("systemd-networkd: %q", got)
	}
	if got := ParseNetworkdLease("DOMAINNAME=a b;c\n"); got != "" {
		t.Errorf("no domain: %q", got)
	}
	dhclient := `lease {
  interface "eth0";
  fixed-address 10.0.2.100;
  option domain-name "old.example";
  renew 6 2026/11/21 10:00:00;
}
lease {
  interface "wlan0";
  option domain-name "cafe.example";
}
lease {
  interface "eth0";
  option domain-name "corp.example.";
  option domain-name-servers 10.0.1.5;
}
lease {
  interface "eth1";
}
`
	for iface, want := range map[string]string{"eth0": "corp.example", "wlan0": "cafe.example", "eth1": "", "eth2": ""} {
		if got := ParseDhclientLeases(dhclient, iface); got != want {
			t.Errorf("dhclient, %s: %q, want %q", iface, got, want)
		}
	}
}

func FuzzLeases(f *testing.F) {
	f.Add("DOMAINNAME=corp.example\n", "eth0")
	f.Add("lease {\n  interface \"eth0\";\n  option domain-name \"corp.example\";\n}\n", "eth0")
	f.Fuzz(func(t *testing.T, text, iface string) {
		for _, got := range []string{ParseNetworkdLease(text), ParseDhclientLeases(text, iface)} {
			if got != name(got) || !strings.Contains(text, got) {
				t.Errorf("%q is no name, or not in the lease", got)
			}
		}
	})
}

func FuzzParseGateways(f *testing.F) {
	g := &Gateways{}
	g.Learn(hw(1), true, day)
	g.Learn(hw(2), false, day)
	f.Add(g.Append(nil))
	f.Add([]byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, p []byte) {
		g, err := ParseGateways(p)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) {
				t.Errorf("%v", err)
			}
			return
		}
		if back, err := ParseGateways(g.Append(nil)); err != nil || back.Len() != g.Len() || g.Len() > maxGateways {
			t.Errorf("%d gateways, round trip %v", g.Len(), err)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	i := informed()
	m, xid, err := inform(i)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m)
	f.Fuzz(func(t *testing.T, p []byte) {
		if domain, ok := answer(p, i.Hardware, xid); !ok && domain != "" || domain != name(domain) {
			t.Errorf("%q, %v", domain, ok)
		}
	})
}
