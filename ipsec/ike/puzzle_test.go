package ike

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
)

// Shows: IKE-1 (puzzles, RFC 8019). Solutions are found for each PRF and verified; what is no solution is none.
func TestPuzzle(t *testing.T) {
	for _, prf := range suite.PRFs() {
		p := Puzzle{PRF: prf, Bits: 8, Cookie: []byte("a cookie of 17 octets")}
		s, err := p.Solve(nil)
		if err != nil || len(s) != 16 || !p.Verify(s) {
			t.Fatalf("%v: %x, %v", prf, s, err)
		}
		other := p
		other.Cookie = []byte("another cookie")
		harder := p
		harder.Bits = 30
		for name, c := range map[string]struct {
			p Puzzle
			s []byte
		}{
			"empty": {p, nil}, "one octet": {p, s[:1]}, "three keys": {p, s[:12]}, "one key four times": {p, bytes.Repeat(s[:4], 4)},
			"one key twice": {p, append(bytes.Clone(s[:12]), s[:4]...)}, "another cookie": {other, s}, "harder": {harder, s},
			"no PRF": {Puzzle{Bits: 0, Cookie: p.Cookie}, s}, "long keys": {Puzzle{PRF: prf}, make([]byte, 4*65)}, "odd length": {p, append(bytes.Clone(s), 1)},
		} {
			if c.p.Verify(c.s) {
				t.Errorf("%v: %s is taken for a solution", prf, name)
			}
		}
	}
	for _, p := range []Puzzle{{PRF: suite.PRFHMACSHA256, Bits: 25}, {PRF: 99, Bits: 3}, {PRF: suite.PRFHMACSHA256, Bits: -1}} {
		if _, err := p.Solve(nil); !errors.Is(err, ErrPuzzle) {
			t.Errorf("%+v: %v", p, err)
		}
	}
	if _, err := (Puzzle{PRF: suite.PRFHMACSHA256, Bits: 20}).Solve(func() bool { return true }); !errors.Is(err, ErrPuzzle) {
		t.Error(err)
	}
	if s, err := (Puzzle{PRF: suite.PRFHMACSHA256}).Solve(nil); err != nil || !(Puzzle{PRF: suite.PRFHMACSHA256, Bits: freeBits}).Verify(s) {
		t.Errorf("of free difficulty: %v", err)
	}
	for b, want := range map[string]int{"": 0, "\x01": 0, "\x80": 7, "\x01\x00": 8, "\x00\x00": 16} {
		if got := zeros([]byte(b)); got != want {
			t.Errorf("%x ends with %d zero bits, want %d", b, got, want)
		}
	}
}

// Shows: IKE-1. An initiator that is given a puzzle sends nothing until the driver has solved it, and then the solution in front of
// SA, as RFC 8019 §7.1.2 has it; without a solution it comes back with the cookie alone, and what is too hard or malformed it does not
// try.
func TestPuzzleOfAGateway(t *testing.T) {
	cookie := []byte("seventeen octets!")
	for name, c := range map[string]struct {
		notify        []byte
		answer        error
		asked, solved bool
	}{
		"solved":      {[]byte{0, 5, 6}, nil, true, true},
		"not solved":  {[]byte{0, 5, 6}, errors.New("no time"), true, false},
		"free":        {[]byte{0, 5, 0}, nil, true, true},
		"too hard":    {[]byte{0, 5, 20}, nil, false, false},
		"unknown PRF": {[]byte{0, 1, 6}, nil, false, false},
		"short":       {[]byte{0, 5}, nil, false, false},
		"no puzzle":   {nil, nil, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, 350, func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) { i.MaxPuzzle = 12 })
			p.start()
			first := p.queue[0]
			p.queue = nil
			m, err := message.Parse(first.Payload)
			if err != nil {
				t.Fatal(err)
			}
			h := message.Header{InitiatorSPI: m.Header.InitiatorSPI, Exchange: message.IKESAInit, Flags: message.FlagResponse}
			out := []message.Payload{message.Notify{Message: message.Cookie, Data: cookie}}
			if c.notify != nil {
				out = append(out, message.Notify{Message: message.Puzzle, Data: c.notify})
			}
			wire, err := (&message.Message{Header: h, Payloads: out}).Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.a.m.HandleDatagram(p.now, Datagram{Local: p.a.m.local, Remote: p.a.m.remote, Payload: wire}); err != nil {
				t.Fatal(err)
			}
			p.drain()
			asked, ok := find[PuzzleWanted](p.a.events)
			if ok != c.asked || ok && (len(p.queue) != 0 || !bytes.Equal(asked.Puzzle.Cookie, cookie)) {
				t.Fatalf("asked %t for %+v, %d datagrams are sent", ok, asked, len(p.queue))
			}
			if ok {
				p.now = p.now.Add(time.Minute) // it takes its time
				p.a.m.HandleTimeout(p.now)
				_ = p.a.m.HandleDatagram(p.now, Datagram{Local: p.a.m.local, Remote: p.a.m.remote, Payload: wire}) // a repetition
				if p.drain(); len(p.queue) != 0 || count[PuzzleWanted](p.a.events) != 1 {
					t.Fatalf("%d datagrams are sent, %d puzzles asked for", len(p.queue), count[PuzzleWanted](p.a.events))
				}
				var s []byte
				if c.answer == nil {
					if s, err = asked.Puzzle.Solve(nil); err != nil {
						t.Fatal(err)
					}
				}
				if err := p.a.m.Solved(p.now, s, c.answer); err != nil {
					t.Fatal(err)
				}
				if err := p.a.m.Solved(p.now, s, nil); !errors.Is(err, ErrUnexpected) {
					t.Errorf("a second answer: %v", err)
				}
				p.drain()
			}
			again, err := message.Parse(p.queue[0].Payload)
			if err != nil {
				t.Fatal(err)
			}
			solution, ok := message.Find[message.PuzzleSolution](again.Payloads)
			if ok != c.solved || again.Payloads[0].Type() != message.TypeNotify || ok && again.Payloads[1].Type() != message.TypePuzzleSolution {
				t.Errorf("sent %s", p.queue[0].text)
			}
			if ok {
				bits := max(int(c.notify[2]), 1)
				if !(Puzzle{PRF: suite.PRF(binary.BigEndian.Uint16(c.notify)), Bits: bits, Cookie: cookie}).Verify(solution.Data) {
					t.Error("it is no solution")
				}
			}
			p.drive()
			p.agree(1)
		})
	}
}
