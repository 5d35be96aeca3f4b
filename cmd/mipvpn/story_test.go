package main

import (
	"bytes"
	"testing"
	"time"

	"mipvpn/client/control"
)

// A laptop is undocked, goes to sleep and wakes up at a café: what the help desk reads.
//
// Shows: DET-16, HST-6
func TestStoryOfARoam(t *testing.T) {
	var out bytes.Buffer
	for _, e := range []struct {
		after             time.Duration
		iface, kind, text string
	}{
		{0, "eth0", "interface", "eth0: carrier went"},
		{0, "", "hold", "eth0: carrier went"},
		{2 * time.Millisecond, "wlan0", "detecting", "registering from 10.0.2.61 with both home agents (eth0: carrier went)"},
		{9 * time.Millisecond, "wlan0", "verdict", "inside: the i-HA's reply straight through this interface, with the Trusted Networks Configured extension"},
		{10 * time.Millisecond, "wlan0", "handoff", "c wlan0, was c eth0, outage 10 ms (the i-HA's reply straight through this interface, with the Trusted Networks Configured extension)"},
		{time.Minute, "", "sleep", "the laptop goes to sleep: nothing leaves until it is awake and knows where it is"},
		{time.Hour, "", "resume", "the laptop was asleep: every interface is judged anew"},
		{time.Hour + 20*time.Millisecond, "wlan0", "verdict", "tentatively outside: the x-HA answered; the i-HA is still being tried"},
		{time.Hour + 21*time.Millisecond, "", "vpn", "the IKE SA with gateway 192.0.2.10 is used again, and the gateway asked whether it still has it (the laptop was asleep)"},
		{time.Hour + time.Second, "", "vpn", "no answer of the gateway within 1s: setting up a new IKE SA beside the old one"},
		{time.Hour + 1100*time.Millisecond, "wlan0", "handoff", "cvc wlan0, was c wlan0, outage 1100 ms (the x-HA answered and a VPN SA lives)"},
		{time.Hour + 1100*time.Millisecond, "", "state", "state: connected"},
		{2 * time.Hour, "", "a kind of tomorrow", "what it says\nin two lines \x1b[2J"},
	} {
		if err := writeEvent(&out, control.Event{Time: noon.Add(e.after), Interface: e.iface, Kind: e.kind, Message: e.text, State: control.StateConnected}); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "story.txt", out.String())
}
