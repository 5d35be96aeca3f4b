package main

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"mipvpn/client/control"
	"mipvpn/client/control/controltest"
)

// echo is one question and its round-trip time in milliseconds: 0 for no answer, less for not asked.
func echo(kind, role, target string, ms float64) control.PingLayer {
	l := control.PingLayer{Kind: kind, Role: role, Target: ip(target), Method: "ICMP echo", Asked: ms >= 0, Answered: ms > 0, RoundTrip: max(ms, 0)}
	if !l.Asked {
		l.Outcome = "not asked: the tunnel to the gateway is not set up"
	}
	return l
}

// pingOf is a round in mode cvc with those round-trip times.
func pingOf(router, straight, tunnel, gateway, internal float64) control.Ping {
	return control.Ping{Schema: control.Schema, State: control.StateConnected, Mode: "cvc", Interface: "wlan0", Layers: []control.PingLayer{
		echo("underlay", "router", "192.168.1.1", router), echo("underlay", "x-HA", "192.0.2.20", straight),
		echo("x-mip", "x-HA", "192.0.2.20", tunnel), echo("vpn", "gateway", "192.0.2.10", gateway), echo("i-mip", "i-HA", "10.0.1.10", internal),
	}}
}

func TestPingSaysWhereItBreaks(t *testing.T) {
	for _, c := range []struct {
		name  string
		round control.Ping
		code  int
		says  string
	}{
		{"whole", pingOf(1, 20, 21, 22, 24), exitDone, "every layer carries"},
		{"no echo below", pingOf(0, 0, 21, 22, 24), exitDone, "every layer carries"},
		{"ESP", pingOf(1, 20, 21, 22, 0), exitFailed, "the i-HA does not answer through it"},
		{"gateway", pingOf(1, 20, 21, 0, 0), exitFailed, "the VPN gateway does not answer"},
		{"tunnel", pingOf(1, 20, 0, 0, 0), exitFailed, "nothing comes back through its tunnel"},
		{"not set up", pingOf(1, 20, -1, -1, -1), exitFailed, "no layer above it is up"},
		{"way out", pingOf(1, 0, 0, 0, 0), exitFailed, "nothing behind it does"},
		{"nothing", pingOf(0, 0, 0, 0, 0), exitFailed, "not even this network's router"},
		{"no interface", control.Ping{Layers: []control.PingLayer{}}, exitFailed, "not even this network's router"},
	} {
		b := controltest.New(statuses()["outside"])
		b.SetPings(c.round)
		socket := serve(t, b, everybody(t))
		r := mipvpn(t.Context(), socket, "ping", "--count", "2", "--interval", "1ns", "--json")
		var doc pingReport
		if err := json.Unmarshal([]byte(r.out), &doc); err != nil {
			t.Fatalf("%s: %v: %s", c.name, err, r.out)
		}
		if r.code != c.code || !strings.Contains(doc.Message, c.says) || (doc.Advice == "") != (c.code == exitDone) || doc.Rounds != 2 || doc.Schema != control.Schema {
			t.Errorf("%s: exit %d, want %d with %q: %s", c.name, r.code, c.code, c.says, r.out)
		}
	}
}

func TestPingForPeople(t *testing.T) {
	b := controltest.New(statuses()["outside"])
	b.SetPings(pingOf(0, 20.4, 21, 22, 24), pingOf(0, 18, 19.25, 0, 140), pingOf(0, 9.5, 11, 13, -1))
	socket := serve(t, b, everybody(t))
	r := mipvpn(t.Context(), socket, "ping", "--count", "3", "--interval", "0s")
	if r.code != exitDone || r.err != "" {
		t.Errorf("exit %d, %s", r.code, r.err)
	}
	golden(t, "ping.txt", r.out)
}

// The picture in docs/terminal.md is what the command prints.
func TestPingInTerminalDocument(t *testing.T) {
	b := controltest.New(statuses()["outside"])
	b.SetPings(pingOf(0.35, 20.4, 21, 22, 24), pingOf(0.25, 18, 19.2, 20.5, 22.5))
	r := mipvpn(t.Context(), serve(t, b, everybody(t)), "ping", "--count", "2", "--interval", "0s")
	want := "```text\n$ mipvpn ping --count 2\n" + r.out + "```\n"
	document, err := os.ReadFile("../../docs/terminal.md")
	if err != nil || r.code != exitDone || !strings.Contains(string(document), want) {
		t.Errorf("exit %d, %v: want in docs/terminal.md\n%s", r.code, err, want)
	}
}

// A change of mode in between keeps the layers apart and in order.
func TestPingAcrossAHandoff(t *testing.T) {
	inside := control.Ping{Mode: "c", Interface: "eth0", Layers: []control.PingLayer{echo("underlay", "router", "10.0.2.1", 0.5), echo("i-mip", "i-HA", "10.0.1.10", 1)}}
	var r pingReport
	r.add(inside)
	r.add(pingOf(1, 2, 3, 4, 5))
	r.judge()
	var order []string
	for _, s := range r.Layers {
		order = append(order, s.Kind)
	}
	if got := strings.Join(order, " "); got != "underlay underlay underlay x-mip vpn i-mip" || r.Mode != "cvc" || r.Result != checkOK {
		t.Errorf("%s, %+v", got, r)
	}
	if s := r.Layers[5]; s.Sent != 2 || s.Answered != 2 || s.Least != 1 || s.Mean != 3 || s.Most != 5 {
		t.Errorf("%+v", s)
	}
}

func TestPingFails(t *testing.T) {
	b := controltest.New(statuses()["down"])
	b.Fail(errors.New("the client is down: run `mipvpn up`"))
	socket := serve(t, b, everybody(t))
	if r := mipvpn(t.Context(), socket, "ping"); r.code != exitFailed || !strings.Contains(r.err, "mipvpn up") {
		t.Errorf("%+v", r)
	}
	for _, args := range [][]string{{"ping", "--count", "0"}, {"ping", "--count", "100000"}, {"ping", "--interval", "-1s"}, {"ping", "x"}} {
		if r := mipvpn(t.Context(), socket, args...); r.code != exitUsage {
			t.Errorf("%q: exit %d", args, r.code)
		}
	}
}
