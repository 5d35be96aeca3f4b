//go:build packetdebug

package packet

import "fmt"

// poison fills a slot between Release and the next Get.
const poison = 0xdb

// debugState catches a Buf that is released twice or written to after its release, and poisons what is released so that
// a late reader sees garbage.
type debugState struct{ released bool }

func (d *debugState) debugGet(slot []byte) {
	if !d.released {
		return // new
	}
	d.released = false
	for i, octet := range slot {
		if octet != poison {
			panic(fmt.Sprintf("packet: octet %d of a buffer was written to after its release", i))
		}
	}
}

func (d *debugState) debugRelease(slot []byte) {
	if d.released {
		panic("packet: a buffer was released twice")
	}
	d.released = true
	for i := range slot {
		slot[i] = poison
	}
}
