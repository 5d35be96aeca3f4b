package main

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"mipvpn/client/control"
	"mipvpn/client/control/controltest"
)

func TestExplain(t *testing.T) {
	b := controltest.New(statuses()["outside"])
	socket := serve(t, b, everybody(t))
	b.SetExplanation(control.Explanation{Schema: 1, Address: netip.MustParseAddr("10.0.2.10"), Way: control.WayClient, Rule: "enterprise.prefixes 10.0.0.0/8",
		Reason: "it is the company's", Mode: "cvc", Interface: "wlan0", MTU: 1386,
		Layers: []control.Layer{{Kind: "underlay", Local: netip.MustParseAddr("192.0.2.77"), Encapsulation: "none"}, {Kind: "vpn", Local: netip.MustParseAddr("10.0.9.1"), Remote: netip.MustParseAddr("192.0.2.10"), Encapsulation: "esp"}}})
	r := mipvpn(t.Context(), socket, "explain", "10.0.2.10")
	for _, want := range []string{"10.0.2.10: through the client encrypted, mode cvc on wlan0\n", "  by      enterprise.prefixes 10.0.0.0/8\n", "  because it is the company's\n", "  vpn ", "esp", "packets up to 1386 octets\n"} {
		if r.code != exitDone || !strings.Contains(r.out, want) {
			t.Errorf("no %q in %+v", want, r)
		}
	}
	r = mipvpn(t.Context(), socket, "explain", "--json", "10.0.2.10")
	var doc explained
	if err := json.Unmarshal([]byte(r.out), &doc); err != nil || doc.Schema != 1 || len(doc.Explanations) != 1 || doc.Explanations[0].Way != control.WayClient {
		t.Errorf("%+v, %v", doc, err)
	}
	if calls := b.Calls(); calls[len(calls)-1] != "explain 10.0.2.10" {
		t.Errorf("asked %q", calls)
	}
	if r := mipvpn(t.Context(), socket, "explain", "no-such-name.invalid"); r.code != exitFailed || !strings.Contains(r.err, "no IP address") {
		t.Errorf("%+v", r)
	}
	if r := mipvpn(t.Context(), socket, "explain"); r.code != exitUsage {
		t.Errorf("%+v", r)
	}
}

func TestWayText(t *testing.T) {
	for want, e := range map[string]control.Explanation{
		"through the client in the clear, mode c on eth0": {Way: control.WayClient, Plaintext: true, Mode: "c", Interface: "eth0"},
		"through the client":                              {Way: control.WayClient},
		"dropped by the client for now":                   {Way: control.WayHeld},
		"refused":                                         {Way: control.WayRefused},
		"this laptop":                                     {Way: control.WaySelf},
		"left to the host's own routes":                   {Way: control.WayHost, Plaintext: true},
	} {
		if got := wayText(e); got != want {
			t.Errorf("%+v: %q, expected %q", e, got, want)
		}
	}
}
