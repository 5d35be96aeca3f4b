//go:build packetdebug

package packet

import "testing"

// fails reports whether f panics.
func fails(f func()) (failed bool) {
	defer func() { failed = recover() != nil }()
	f()
	return false
}

// The build with packetdebug finds a buffer that is released twice, one that is read after its release by garbage in it,
// and one that is written to after its release when its slot is used again.
func TestDebugFindsMisuse(t *testing.T) {
	b := &Buf{slot: make([]byte, Headroom+SmallSize+Tailroom)}
	p := b.fresh().Extend(4)
	copy(p, "1234")
	b.debugRelease(b.slot)
	if p[0] != poison {
		t.Errorf("a released buffer holds %q", p)
	}
	if !fails(func() { b.debugRelease(b.slot) }) {
		t.Error("a second release passes")
	}
	if fails(func() { b.fresh() }) {
		t.Error("a buffer that was not touched is refused")
	}
	b.debugRelease(b.slot)
	p[1] = 0
	if !fails(func() { b.fresh() }) {
		t.Error("a write after the release passes")
	}
}
