//go:build packetdebug

package packet

// debugState catches a Buf that is released twice, and poisons what is released so that a late reader sees garbage.
type debugState struct{ released bool }

func (d *debugState) debugGet() { d.released = false }

func (d *debugState) debugRelease(slot []byte) {
	if d.released {
		panic("packet: a buffer was released twice")
	}
	d.released = true
	for i := range slot {
		slot[i] = 0xdb
	}
}
