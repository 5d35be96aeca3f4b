package main

import (
	"strings"
	"testing"
)

// TestManual has the manual page name every command that --help names, and every exit code.
func TestManual(t *testing.T) {
	page := mipvpn(t.Context(), "/nowhere", "manual").out
	for _, c := range (&app{}).root().Commands() {
		if want := ".SS \"" + c.Name(); !c.Hidden && c.Name() != "completion" && c.Name() != "help" && !strings.Contains(page, want) {
			t.Errorf("no %q in the page", want)
		}
	}
	for _, want := range []string{".TH \"MIPVPN\" 1", ".B 124\n", ".BR mipvpn.toml (5),\n", "MIPVPN_SOCKET"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in the page", want)
		}
	}
	if strings.Contains(page, "SS \"manual") {
		t.Error("a hidden command is in the page")
	}
}
