package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"mipvpn/tun/hostnet"
)

func TestKernelCheck(t *testing.T) {
	for release, want := range map[string]grade{
		"6.18.3-arch1-1": checkOK, "5.16.0": checkOK, "6.1.0-18-amd64": checkOK, "10.0": checkOK,
		"5.15.0-91-generic": checkFailed, "4.19.0": checkFailed, "5.9": checkFailed,
		"": checkWarning, "rolling": checkWarning, "99999999999999999999.1": checkWarning,
	} {
		if k := kernelCheck(release); k.Result != want || k.Result != checkOK && k.Advice == "" {
			t.Errorf("%q: %+v, want %s", release, k, want)
		}
	}
}

func FuzzKernelVersion(f *testing.F) {
	f.Add("5.15.0-91-generic")
	f.Add("-1.5")
	f.Fuzz(func(t *testing.T, release string) {
		if major, minor, ok := kernelVersion(release); ok && (major < 0 || minor < 0) {
			t.Errorf("%q: %d.%d", release, major, minor)
		}
	})
}

func TestReversePathCheck(t *testing.T) {
	dir := t.TempDir()
	if k := reversePathCheck(dir); k.Result != checkSkipped {
		t.Errorf("nothing there: %+v", k)
	}
	for name, value := range map[string]string{"all": "2\n", "eth0": "0\n", "wlan0": "2\n"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "rp_filter"), []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if k := reversePathCheck(dir); k.Result != checkOK {
		t.Errorf("loose: %+v", k)
	}
	if err := os.WriteFile(filepath.Join(dir, "eth0", "rp_filter"), []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if k := reversePathCheck(dir); k.Result != checkWarning || !strings.Contains(k.Message, "eth0") || strings.Contains(k.Message, "wlan0") {
		t.Errorf("strict: %+v", k)
	}
}

func TestRivalChecks(t *testing.T) {
	one := func(list []hostnet.Rival, err error) finding {
		t.Helper()
		found := rivalChecks(list, err)
		if len(found) != 1 || found[0].Result != checkOK && found[0].Advice == "" {
			t.Fatalf("%+v", found)
		}
		return found[0]
	}
	if k := one(nil, nil); k.Result != checkOK {
		t.Errorf("none: %+v", k)
	}
	if k := one(nil, errors.New("operation not permitted")); k.Result != checkSkipped {
		t.Errorf("not to be seen: %+v", k)
	}
	for _, kind := range []hostnet.RivalKind{hostnet.RivalRule, hostnet.RivalTunnel, hostnet.RivalFirewall, hostnet.RivalIPsec} {
		if k := one([]hostnet.Rival{{Kind: kind, Name: "its name", Text: "what it does"}}, nil); k.Result != checkWarning || !strings.Contains(k.Message, "its name") || !strings.Contains(k.Message, "what it does") {
			t.Errorf("%s: %+v", kind, k)
		}
	}
}

func TestClockCheck(t *testing.T) {
	if k := clockCheck(unix.TIME_OK, nil); k.Result != checkOK {
		t.Errorf("kept right: %+v", k)
	}
	if k := clockCheck(unix.TIME_ERROR, nil); k.Result != checkWarning || k.Advice == "" {
		t.Errorf("not kept right: %+v", k)
	}
	if k := clockCheck(0, errors.New("operation not permitted")); k.Result != checkSkipped {
		t.Errorf("not known: %+v", k)
	}
}

func TestKillSwitchCheck(t *testing.T) {
	if k := killSwitchCheck("rule x\nkillswitch output: enterprise destinations\n", nil); k.Result != checkOK {
		t.Errorf("there: %+v", k)
	}
	if k := killSwitchCheck("rule x\n", nil); k.Result != checkWarning || k.Advice == "" {
		t.Errorf("not there: %+v", k)
	}
	if k := killSwitchCheck("", errors.New("operation not permitted")); k.Result != checkSkipped || k.Advice == "" {
		t.Errorf("not to be seen: %+v", k)
	}
}
