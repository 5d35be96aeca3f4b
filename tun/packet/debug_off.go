//go:build !packetdebug

package packet

type debugState struct{}

func (*debugState) debugGet()             {}
func (*debugState) debugRelease(_ []byte) {}
