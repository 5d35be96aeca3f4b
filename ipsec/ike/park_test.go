package ike

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// Shows: MOD-park (a parked SA sends nothing and is not taken for dead, and is there again afterwards)
func TestPark(t *testing.T) {
	life := func(i *InitiatorConfig, r *ResponderConfig, _ *testPolicy) {
		i.Lifetimes, r.Lifetimes = Lifetimes{IKE: 4 * time.Hour, Child: 2 * time.Hour}, Lifetimes{IKE: -1, Child: -1}
		i.Liveness, i.Keepalive, r.Liveness = 0, 0, -1
		i.ForceUDPEncapsulation = true // so that there are keepalives
	}
	p := established(t, 120, life)
	if err := p.a.m.Park(); err != nil {
		t.Fatal(err)
	}
	p.lose = func(flight) bool { return true } // there is no path
	p.log = nil
	p.driveFor(118 * time.Minute) // rekeying would have been due
	if len(p.log) != 0 || p.a.m.Err() != nil {
		t.Fatalf("while parked: %v, sent\n%s", p.a.m.Err(), p.trace())
	}
	p.lose = nil
	p.a.m.Unpark(p.now)
	if err := p.a.m.CheckLiveness(p.now); err != nil {
		t.Fatal(err)
	}
	p.driveFor(0)
	if _, ok := find[Alive](p.a.events); !ok {
		t.Errorf("no Alive at once\n%s", p.trace())
	}
	p.drive()
	p.agree(1)
	if !strings.Contains(p.trace(), "A CREATE_CHILD_SA request") {
		t.Errorf("the rekeying that was due did not follow\n%s", p.trace())
	}
}

// Shows: MOD-park (lifetimes go on: keys are not used beyond theirs)
func TestParkEndsWithTheLifetime(t *testing.T) {
	for name, l := range map[string]Lifetimes{
		"child SA": {IKE: -1, Child: time.Hour, Grace: time.Minute},
		"IKE SA":   {IKE: time.Hour, Child: -1, Grace: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			p := established(t, 121, func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) { i.Lifetimes = l })
			if err := p.a.m.Park(); err != nil {
				t.Fatal(err)
			}
			p.log = nil
			p.driveFor(55 * time.Minute)
			if p.a.m.Err() != nil {
				t.Fatalf("too early: %v", p.a.m.Err())
			}
			p.driveFor(10 * time.Minute)
			if !errors.Is(p.a.closed, ErrExpired) || len(p.log) != 0 {
				t.Errorf("ended with %v, sent %v", p.a.closed, p.log)
			}
		})
	}
}

// Shows: MOD-park (an exchange that was cut off has all its repetitions left: a peer that lives is not given up)
func TestParkWithARequestOutstanding(t *testing.T) {
	p := established(t, 122)
	lost := true
	p.lose = func(flight) bool { return lost }
	if err := p.a.m.RekeyIKE(p.now); err != nil {
		t.Fatal(err)
	}
	p.drain()
	p.driveFor(75 * time.Second) // the last repetition but one
	if err := p.a.m.Park(); err != nil {
		t.Fatal(err)
	}
	p.driveFor(10 * time.Minute)
	p.a.m.Unpark(p.now)
	p.driveFor(40 * time.Second)
	if p.a.m.Err() != nil {
		t.Fatalf("given up: %v", p.a.m.Err())
	}
	lost = false
	p.drive()
	p.agree(1)
}

func TestParkOutOfPlace(t *testing.T) {
	p := newPair(t, 123)
	if err := p.a.m.Park(); !errors.Is(err, ErrClosed) {
		t.Errorf("before Start: %v", err)
	}
	p = established(t, 123)
	p.a.m.Unpark(p.now) // was never parked
	p.driveFor(time.Minute)
	p.agree(1)
}
