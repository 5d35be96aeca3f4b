//go:build !packetdebug

package packet

type debugState struct{}

func (*debugState) debugGet(_ []byte)     {}
func (*debugState) debugRelease(_ []byte) {}
