package esp

// WindowSize is the number of sequence numbers below the highest one that are still accepted, each once (REQUIREMENTS
// IKE-9 asks for 4096 at least).
const WindowSize = windowBits - 64

const (
	windowBits  = 8192 // a power of two
	windowWords = windowBits / 64
)

// window is the anti-replay window (RFC 4303 §3.4.3) as a ring of words by sequence number, as RFC 6479 has it: moving
// forward clears whole words and shifts nothing. Sequence numbers are the 64-bit ones; without ESN the upper half is 0.
// The zero value is an empty window, in which 0 counts as seen: the first sequence number is 1 (RFC 4303 §2.2).
type window struct {
	top  uint64 // highest sequence number accepted
	seen [windowWords]uint64
}

// fresh reports whether seq is above or within the window and not seen.
func (w *window) fresh(seq uint64) bool {
	if seq == 0 {
		return false
	}
	if seq > w.top {
		return true
	}
	if w.top-seq >= WindowSize {
		return false
	}
	return w.seen[seq/64%windowWords]&(1<<(seq%64)) == 0
}

// mark accepts seq when it is fresh and reports whether it was.
func (w *window) mark(seq uint64) bool {
	if !w.fresh(seq) {
		return false
	}
	if seq > w.top {
		steps := min(seq/64-w.top/64, windowWords)
		for i := range steps {
			w.seen[(seq/64-i)%windowWords] = 0
		}
		w.top = seq
	}
	w.seen[seq/64%windowWords] |= 1 << (seq % 64)
	return true
}

// extend returns the 64-bit sequence number that the lower half low of a packet stands for when top is the highest one
// accepted (RFC 4303 appendix A2.2): the one in the window or, when there is none, the next one above it. For one low it
// never falls when top grows.
func extend(top uint64, low uint32) uint64 {
	topLow, topHigh := uint32(top), uint32(top>>32)
	high := topHigh
	if topLow >= WindowSize-1 { // the window lies within one subspace (case A)
		if low < topLow-(WindowSize-1) {
			high++
		}
	} else if low >= topLow-(WindowSize-1) { // it reaches into the one before (case B); the difference wraps
		if topHigh == 0 {
			// No subspace lies before the first. The number can only be one above the window.
			return uint64(low)
		}
		high--
	}
	return uint64(high)<<32 | uint64(low)
}
