package homeagent

import (
	"bytes"
	"testing"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
)

// Shows: MIP-9, AGT-1 (the challenge comes back in the reply, in front of the foreign agent's authentication and behind the mobile
// node's; a Mobile-AAA authentication that nobody asks about is no hindrance, RFC 4721 §3.4)
func TestChallengeComesBack(t *testing.T) {
	f, fa, _ := revocationFixture(t, nil)
	aaa, err := auth.NewAAA(auth.Parameters{SPI: wire.CHAPSPI, Key: auth.Key("secret")})
	if err != nil {
		t.Fatal(err)
	}
	for _, lifetime := range []uint16{600, 0} {
		r := f.request()
		r.Flags, r.CareOfAddress, r.Lifetime = wire.FlagReverseTunnel, faAddr, lifetime
		challenge := []byte("a challenge")
		reply, raw, err := f.send(f.sign(r, f.mn, func(b []byte) []byte {
			b = append(append(b, uint8(wire.ExtMobileForeignChallenge), uint8(len(challenge))), challenge...)
			return fa.AppendExtension(aaa.AppendExtension(b, challenge), wire.ExtForeignHomeAuthentication)
		}), atFA)
		if err != nil {
			t.Fatal(err)
		}
		i, at := reply.Extensions.Index(wire.ExtMobileForeignChallenge), reply.Extensions.Index(wire.ExtForeignHomeAuthentication)
		if i < reply.Extensions.Index(wire.ExtMobileHomeAuthentication) || i > at || !bytes.Equal(reply.Extensions[i].Data, challenge) {
			t.Fatalf("extensions %+v", reply.Extensions)
		}
		if err := fa.Verify(raw, reply.Offset(at), wire.ExtForeignHomeAuthentication); err != nil {
			t.Error(err)
		}
		if reply.Extensions.Index(wire.ExtGeneralizedAuthentication) >= 0 {
			t.Error("a Mobile-AAA authentication in the reply (RFC 4721 §6)")
		}
	}
}
