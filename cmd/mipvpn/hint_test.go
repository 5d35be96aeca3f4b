package main

import (
	"bytes"
	"strings"
	"testing"

	"mipvpn/client/control"
)

// Shows: DET-16, DET-11
func TestDetectionShowsHints(t *testing.T) {
	d := control.Detection{Interfaces: []control.InterfaceDetection{
		{Interface: control.Interface{Name: "eth0"}, Hint: "looks like inside: DHCP gives the domain \"corp\x1b[2J.example\" (which proves nothing)"},
		{Interface: control.Interface{Name: "wlan0"}},
	}}
	var b bytes.Buffer
	if err := writeDetection(&b, d); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); strings.Count(got, "  hint      looks like inside: ") != 1 || strings.Count(got, "  hint ") != 1 || strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
}
