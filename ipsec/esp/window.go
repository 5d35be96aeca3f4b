package esp

// WindowSize is the number of sequence numbers below the highest one that are still accepted, each once, unless Parameters.Window
// says another (REQUIREMENTS IKE-9 asks for 4096 at least).
const WindowSize = windowBits - 64

// MaxWindow is the largest window: 64 KiB of bits.
const MaxWindow = 1<<19 - 64

const windowBits = 8192 // of the ring for WindowSize, a power of two

// window is the anti-replay window (RFC 4303 §3.4.3) as a ring of words by sequence number, as RFC 6479 has it: moving
// forward clears whole words and shifts nothing. Sequence numbers are the 64-bit ones; without ESN the upper half is 0.
// An empty one is made by newWindow; in it 0 counts as seen: the first sequence number is 1 (RFC 4303 §2.2).
type window struct {
	top  uint64 // highest sequence number accepted
	size uint64
	seen []uint64 // a power of two
}

// newWindow returns an empty window of size sequence numbers at least, WindowSize for 0.
func newWindow(size int) window {
	words := windowBits / 64
	if size > 0 {
		for words = 2; words*64-64 < min(size, MaxWindow); {
			words *= 2
		}
	}
	return window{size: uint64(words)*64 - 64, seen: make([]uint64, words)}
}

// word returns the word of seq, and its bit there.
func (w *window) word(seq uint64) (*uint64, uint64) {
	return &w.seen[seq/64&uint64(len(w.seen)-1)], 1 << (seq % 64)
}

// fresh reports whether seq is above or within the window and not seen.
func (w *window) fresh(seq uint64) bool {
	if seq == 0 {
		return false
	}
	if seq > w.top {
		return true
	}
	if w.top-seq >= w.size {
		return false
	}
	word, bit := w.word(seq)
	return *word&bit == 0
}

// mark accepts seq when it is fresh and reports whether it was.
func (w *window) mark(seq uint64) bool {
	if !w.fresh(seq) {
		return false
	}
	if seq > w.top {
		steps := min(seq/64-w.top/64, uint64(len(w.seen)))
		for i := range steps {
			word, _ := w.word((seq/64 - i) * 64)
			*word = 0
		}
		w.top = seq
	}
	word, bit := w.word(seq)
	*word |= bit
	return true
}

// extend returns the 64-bit sequence number that the lower half low of a packet stands for when top is the highest one
// accepted (RFC 4303 appendix A2.2): the one in the window or, when there is none, the next one above it. For one low it
// never falls when top grows.
func (w *window) extend(top uint64, low uint32) uint64 {
	size := uint32(w.size)
	topLow, topHigh := uint32(top), uint32(top>>32)
	high := topHigh
	if topLow >= size-1 { // the window lies within one subspace (case A)
		if low < topLow-(size-1) {
			high++
		}
	} else if low >= topLow-(size-1) { // it reaches into the one before (case B); the difference wraps
		if topHigh == 0 {
			// No subspace lies before the first. The number can only be one above the window.
			return uint64(low)
		}
		high--
	}
	return uint64(high)<<32 | uint64(low)
}
