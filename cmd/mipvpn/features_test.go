package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

// `version --features` names every mode with what is known of it here, and other systems' limits take just the modes that need what is
// missing.
func TestFeatures(t *testing.T) {
	r := mipvpn(t.Context(), "/nowhere", "version", "--features", "--json")
	var b build
	if err := json.Unmarshal([]byte(r.out), &b); r.code != exitDone || err != nil {
		t.Fatal(r, err)
	}
	state := func(list []feature) map[string]string {
		m := make(map[string]string)
		for _, f := range list {
			m[strings.TrimPrefix(f.Name, "mode ")] = f.State
			if f.State == featureUnavailable && f.Remark == "" {
				t.Errorf("%s is unavailable for no reason", f.Name)
			}
		}
		return m
	}
	here := state(b.Features)
	for _, m := range []string{"c", "f", "cvc", "fvc", "vc", "vf", "cvf", "fvf", "kill switch"} {
		if here[m] == "" {
			t.Errorf("nothing is said of %s: %v", m, here)
		}
	}
	limited := state(modeFeatures(featureUntried, "no permits", "no link layer"))
	for m, want := range map[string]string{"c": featureUnavailable, "f": featureUnavailable, "fvc": featureUnavailable, "fvf": featureUnavailable,
		"vc": featureUntried, "cvc": featureUntried, "vf": featureUntried, "cvf": featureUntried} {
		if limited[m] != want {
			t.Errorf("mode %s is %q where the system is limited, want %q", m, limited[m], want)
		}
	}
	if r := mipvpn(t.Context(), "/nowhere", "version", "--features"); !strings.Contains(r.out, "mode cvc") {
		t.Error(r.out)
	}
}

// The service files of other systems start the daemon: launchd's is well-formed and names the command.
func TestServiceFiles(t *testing.T) {
	b, err := os.ReadFile("../../configs/launchd/mipvpn.plist")
	if err != nil {
		t.Fatal(err)
	}
	var strs []string
	d := xml.NewDecoder(bytes.NewReader(b))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := token.(xml.StartElement); ok && s.Name.Local == "string" {
			var text string
			if err := d.DecodeElement(&text, &s); err != nil {
				t.Fatal(err)
			}
			strs = append(strs, text)
		}
	}
	if got := strings.Join(strs, " "); !strings.Contains(got, "/usr/local/bin/mipvpn daemon") {
		t.Error(got)
	}
	if b, err = os.ReadFile("../../configs/windows/service.ps1"); err != nil || !strings.Contains(string(b), "New-Service -Name mipvpn") || !strings.Contains(string(b), "daemon --config") || !strings.Contains(string(b), "sc.exe failureflag mipvpn 1") {
		t.Error(err)
	}
}
