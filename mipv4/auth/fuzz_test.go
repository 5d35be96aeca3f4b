package auth

import (
	"testing"

	"mipvpn/mipv4/wire"
)

// Whatever a message holds and wherever an extension is said to begin, Verify returns; and it never accepts what was not
// made with the key, which the fuzzer does not have.
func FuzzVerify(f *testing.F) {
	s := association(f, HMACSHA256)
	m := unhex(f, message)
	f.Add(s.AppendExtension(m, wire.ExtMobileHomeAuthentication), len(m))
	f.Add(m, 0)
	f.Add([]byte{32, 4, 0, 0, 4, 0}, 0)
	secret, err := New(Parameters{SPI: 1024, Algorithm: HMACSHA256, Key: append(key(31), 0x5a)})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, p []byte, offset int) {
		if err := secret.Verify(p, offset, wire.ExtMobileHomeAuthentication); err == nil {
			t.Fatalf("forged: %x at %d", p, offset)
		}
		_ = s.Verify(p, offset, wire.ExtMobileHomeAuthentication)
	})
}
