package gateway

import (
	"math/bits"
	"slices"

	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
)

// Puzzles (RFC 8019): from Config.PuzzleThreshold half-open IKE SAs on, a puzzle goes with the cookie, the harder the more there
// are. Who does not solve it, most likely because he does not know puzzles, may have the half of what may be half-open in all; the
// rest is kept for those who do.

// harder is how many bits more than Config.PuzzleBits a puzzle has at most.
const harder = 4

// puzzle returns the puzzle for the request, with 0 bits when none is called for.
func (g *Gateway) puzzle(m *message.Message) ike.Puzzle {
	threshold := g.cfg.PuzzleThreshold
	if threshold < 0 || g.halfOpen < threshold {
		return ike.Puzzle{}
	}
	prf := offeredPRF(m)
	if prf == 0 {
		return ike.Puzzle{} // IKE_SESSION_RESUME, or nothing that we know
	}
	// A bit more each time that the number doubles.
	more := bits.Len(uint(g.halfOpen / max(threshold, 1)))
	return ike.Puzzle{PRF: prf, Bits: g.cfg.PuzzleBits + min(max(more-1, 0), harder)}
}

// offeredPRF returns the first PRF of the request's proposals that puzzles can be of, 0 for none.
func offeredPRF(m *message.Message) suite.PRF {
	offered, _ := message.Find[message.SA](m.Payloads)
	for _, p := range offered.Proposals {
		for _, t := range p.Transforms {
			if prf := suite.PRF(t.ID); t.Type == message.TransformPRF && slices.Contains(suite.PRFs(), prf) {
				return prf
			}
		}
	}
	return 0
}

// worked reports whether a request with a valid cookie may be served: with the solution of the puzzle that was given with the cookie,
// once, or while there is room for those who have solved none.
func (g *Gateway) worked(m *message.Message, cookie []byte) bool {
	solution, ok := message.Find[message.PuzzleSolution](m.Payloads)
	if difficulty := int(cookie[1]); ok && difficulty > 0 {
		p := ike.Puzzle{PRF: offeredPRF(m), Bits: difficulty, Cookie: cookie}
		return p.Verify(solution.Data) && g.cookies.spend(cookie)
	}
	return g.cfg.PuzzleThreshold < 0 || g.halfOpen < max(g.cfg.PuzzleThreshold, g.cfg.MaxHalfOpen/2)
}
