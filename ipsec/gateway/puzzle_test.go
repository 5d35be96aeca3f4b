package gateway

import (
	"errors"
	"net/netip"
	"testing"

	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
)

// Shows: IKE-1 (puzzles, RFC 8019). Under load a gateway gives puzzles, harder ones the more half-open IKE SAs there are; who solves his
// is served when who does not is not any more, and a solution is good once.
func TestPuzzles(t *testing.T) {
	cfg := config(t, 2)
	cfg.CookieThreshold, cfg.PuzzleThreshold, cfg.MaxHalfOpen, cfg.MaxHalfOpenAddress = 2, 4, 12, 100
	cfg.PuzzleBits = 6
	n := newNet(t, cfg)
	// first returns a client's first message, and again what it answers to the gateway's.
	first := func(i int, max int) (*ike.Machine, ike.Transmit) {
		t.Helper()
		id, own := netip.AddrFrom4([4]byte{198, 18, 1, byte(i)}), identity(t, "laptop0@corp.example")
		m, err := ike.NewInitiator(ike.InitiatorConfig{Config: ike.Config{LocalID: own}, Local: netip.AddrPortFrom(id, 500),
			Remote: netip.AddrPortFrom(gatewayAddr, 500), PSK: psk(0), MaxPuzzle: max}, source(byte(i)))
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Start(n.now); err != nil {
			t.Fatal(err)
		}
		tr, ok := m.PollTransmit()
		if !ok {
			t.Fatal("nothing is sent")
		}
		return m, tr
	}
	give := func(tr ike.Transmit) (answer ike.Transmit, err error) {
		err = n.g.HandleDatagram(n.now, ike.Datagram{Local: tr.Remote, Remote: tr.Local, Payload: tr.Payload})
		for out, ok := n.g.PollTransmit(); ok; out, ok = n.g.PollTransmit() {
			answer = out
		}
		return answer, err
	}
	served, unserved, solved := 0, 0, 0
	hardest := 0
	var replay ike.Transmit
	for i := range 30 {
		willing := 0
		if i%2 == 0 {
			willing = 24
		}
		m, tr := first(i, willing)
		answer, err := give(tr)
		if err == nil {
			served++ // no cookie yet
			continue
		}
		if !errors.Is(err, ErrCookieAsked) {
			t.Fatal(err)
		}
		if err := m.HandleDatagram(n.now, ike.Datagram{Local: answer.Remote, Remote: answer.Local, Payload: answer.Payload}); err != nil {
			t.Fatal(err)
		}
		for e, ok := m.PollEvent(); ok; e, ok = m.PollEvent() {
			if p, ok := e.(ike.PuzzleWanted); ok {
				if n.g.halfOpen < 4 {
					t.Errorf("a puzzle with %d half open", n.g.halfOpen)
				}
				hardest = max(hardest, p.Puzzle.Bits)
				s, err := p.Puzzle.Solve(nil)
				if err := m.Solved(n.now, s, err); err != nil {
					t.Fatal(err)
				}
				solved++
			}
		}
		tr, ok := m.PollTransmit()
		if !ok {
			t.Fatal("the client does not come back")
		}
		switch _, err := give(tr); {
		case err == nil && willing > 0:
			served++
			replay = tr
		case err == nil:
			if served++; n.g.halfOpen > cfg.MaxHalfOpen/2 {
				t.Errorf("without a solution, and %d are half open", n.g.halfOpen)
			}
		default:
			unserved++
		}
	}
	if n.g.halfOpen != cfg.MaxHalfOpen || solved < 6 || hardest <= cfg.PuzzleBits {
		t.Errorf("%d half open, %d served, %d not, %d solved puzzles of up to %d bits", n.g.halfOpen, served, unserved, solved, hardest)
	}
	t.Logf("%d served, %d not, %d solved puzzles of up to %d bits", served, unserved, solved, hardest)
	// Another request with the same cookie and solution.
	n.g.cfg.MaxHalfOpen = 100
	in, err := message.Parse(replay.Payload)
	if err != nil {
		t.Fatal(err)
	}
	in.Payloads = append(in.Payloads, message.VendorID{Data: []byte("another request")})
	if replay.Payload, err = in.Append(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := give(replay); !errors.Is(err, ErrCookieAsked) {
		t.Errorf("a solution was good twice: %v", err)
	}
}
