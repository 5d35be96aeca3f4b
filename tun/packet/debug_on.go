//go:build packetdebug

package packet

import (
	"bytes"
	"fmt"
	"slices"
)

// poison fills a slot between Release and the next Get.
const poison = 0xdb

// poisoned is what slots are filled from and compared with, a piece at a time.
var poisoned = bytes.Repeat([]byte{poison}, 4096)

// debugState catches a Buf that is released twice or written to after its release, and poisons what is released so that
// a late reader sees garbage.
type debugState struct{ released bool }

func (d *debugState) debugGet(slot []byte) {
	if !d.released {
		return // new
	}
	d.released = false
	at := 0
	for piece := range slices.Chunk(slot, len(poisoned)) {
		if !bytes.Equal(piece, poisoned[:len(piece)]) {
			at += slices.IndexFunc(piece, func(octet byte) bool { return octet != poison })
			panic(fmt.Sprintf("packet: octet %d of a buffer was written to after its release", at))
		}
		at += len(piece)
	}
}

func (d *debugState) debugRelease(slot []byte) {
	if d.released {
		panic("packet: a buffer was released twice")
	}
	d.released = true
	for piece := range slices.Chunk(slot, len(poisoned)) {
		copy(piece, poisoned)
	}
}
