package ike

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
	"mipvpn/tun/link"
)

// Puzzles (RFC 8019): a gateway under attack asks who wants an IKE SA to work for it first, in IKE_SA_INIT. Puzzles in IKE_AUTH
// (§7.2) are neither asked for nor solved.

// Puzzle is a puzzle: to find four different keys for which the PRF of the cookie ends with Bits zero bits (RFC 8019 §7.1.3).
type Puzzle struct {
	PRF suite.PRF
	// Bits is the difficulty, 0 for as much as the initiator likes. Each more doubles the work.
	Bits int
	// Cookie is what the keys are applied to.
	Cookie []byte
}

// PuzzleWanted asks the driver to solve a puzzle, by Puzzle.Solve in a goroutine of its own, and to say what came of it by
// Machine.Solved. Nothing is sent until then. The receiver of the event owns the Cookie.
type PuzzleWanted struct{ Puzzle Puzzle }

func (PuzzleWanted) event() {}

// ErrPuzzle means that a puzzle was not solved.
var ErrPuzzle = errors.New("the puzzle is not solved")

const (
	puzzleKeys    = 4
	puzzleKeySize = 4 // of ours, in octets
	// maxPuzzleKey is the preferred key length of the longest PRF.
	maxPuzzleKey = 64
	// freeBits is how hard we make a puzzle for ourselves whose difficulty is left to us.
	freeBits = 12
)

// zeros returns how many zero bits b ends with.
func zeros(b []byte) int {
	n := 0
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] != 0 {
			return n + bits.TrailingZeros8(b[i])
		}
		n += 8
	}
	return n
}

// Solve finds a solution, the content of a Puzzle Solution payload: 2^(Bits+2) PRFs on average, 64 times that at most. It fails
// with ErrPuzzle when that was not enough or the PRF is not supported, or when stop, which is asked now and then unless it is nil, says
// so.
func (p Puzzle) Solve(stop func() bool) ([]byte, error) {
	want := p.Bits
	if want == 0 {
		want = freeBits
	}
	if !p.PRF.Supported() || want < 0 || want > 24 {
		return nil, fmt.Errorf("ike: %w: %v with %d bits", ErrPuzzle, p.PRF, p.Bits)
	}
	var out []byte
	key := make([]byte, puzzleKeySize)
	for try := range uint64(1) << (want + 8) {
		if try%4096 == 0 && stop != nil && stop() {
			return nil, fmt.Errorf("ike: %w: stopped", ErrPuzzle)
		}
		binary.BigEndian.PutUint32(key, uint32(try))
		if zeros(p.PRF.Sum(key, p.Cookie)) < want {
			continue
		}
		if out = append(out, key...); len(out) == puzzleKeys*puzzleKeySize {
			return out, nil
		}
	}
	return nil, fmt.Errorf("ike: %w: %v with %d bits", ErrPuzzle, p.PRF, p.Bits)
}

// Verify tells whether solution is one: four different keys of one length, each of which gives the zero bits (RFC 8019 §7.1.4).
func (p Puzzle) Verify(solution []byte) bool {
	size := len(solution) / puzzleKeys
	if !p.PRF.Supported() || size == 0 || size > min(maxPuzzleKey, p.PRF.Size()) || len(solution) != puzzleKeys*size {
		return false
	}
	seen := make(map[string]bool, puzzleKeys)
	for ; len(solution) > 0; solution = solution[size:] {
		key := solution[:size]
		if seen[string(key)] || zeros(p.PRF.Sum(key, p.Cookie)) < p.Bits {
			return false
		}
		seen[string(key)] = true
	}
	return true
}

// Notify returns the PUZZLE notification, which goes with a COOKIE.
func (p Puzzle) Notify() message.Notify {
	return message.Notify{Message: message.Puzzle, Data: append(binary.BigEndian.AppendUint16(nil, uint16(p.PRF)), byte(p.Bits))}
}

// readPuzzle takes the puzzle that comes with a cookie, nil when there is none, or one that is too hard or for another PRF than we
// have offered: it may be ignored then (RFC 8019 §7.1.2).
func (m *Machine) readPuzzle(in *message.Message, cookie []byte) *Puzzle {
	n, ok := message.FindNotify(in.Payloads, message.Puzzle)
	if !ok || len(n.Data) != 3 {
		return nil
	}
	p := &Puzzle{PRF: suite.PRF(binary.BigEndian.Uint16(n.Data)), Bits: int(n.Data[2]), Cookie: cookie}
	if !p.PRF.Supported() || p.Bits > m.initiator.MaxPuzzle {
		return nil
	}
	return p
}

// solve returns the payload with the solution of the puzzle, if there is one; errWait when the driver has been asked for it.
func (t *initTask) solve(m *Machine) ([]message.Payload, error) {
	if t.puzzle == nil {
		return nil, nil
	}
	if t.solution == nil {
		got, err := m.ask(askPuzzle, func() Event {
			p := *t.puzzle
			p.Cookie = append([]byte(nil), p.Cookie...)
			return PuzzleWanted{Puzzle: p}
		})
		switch {
		case err != nil:
			return nil, err
		case got.err != nil || !t.puzzle.Verify(got.signature):
			t.puzzle = nil // without a solution then: the gateway may take that
			return nil, nil
		}
		t.solution = got.signature
	}
	return []message.Payload{message.PuzzleSolution{Data: t.solution}}, nil
}

// Solved answers PuzzleWanted; err says why there is no solution, with which the gateway may still be content. Errors are those of
// Signed.
func (m *Machine) Solved(now link.Instant, solution []byte, err error) error {
	return m.reply(now, askPuzzle, answered{signature: append([]byte(nil), solution...), err: err})
}
