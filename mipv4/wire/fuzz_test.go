package wire

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Any octets are a message or an error; a message appends to the very octets that it was parsed from.

func FuzzRegistrationRequest(f *testing.F) {
	f.Add(octets(f, goldenRequest))
	f.Add(octets(f, goldenRequest)[:RequestLen])
	f.Add(append(octets(f, goldenRequest)[:RequestLen:RequestLen], 131, 255))
	f.Fuzz(func(t *testing.T, p []byte) {
		m, err := ParseRegistrationRequest(p)
		if err != nil {
			return
		}
		b, err := m.Append(nil)
		if err != nil || !bytes.Equal(b, p) || m.Len() != len(p) {
			t.Fatalf("%x came back as %x (Len %d), %v", p, b, m.Len(), err)
		}
		checkExtensions(t, p, RequestLen, m.Extensions, m.Offset)
		m2, err := ParseRegistrationRequest(b)
		if err != nil || !cmp.Equal(m, m2, equalAddr) {
			t.Fatalf("parsed again: %v, %v", m2, err)
		}
	})
}

func FuzzRegistrationReply(f *testing.F) {
	f.Add(octets(f, goldenReply))
	f.Add(octets(f, goldenReply)[:ReplyLen])
	f.Add(append(octets(f, goldenReply)[:ReplyLen:ReplyLen], 0, 0, 44, 6, 0, 64, 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, p []byte) {
		m, err := ParseRegistrationReply(p)
		if err != nil {
			return
		}
		b, err := m.Append(nil)
		if err != nil || !bytes.Equal(b, p) || m.Len() != len(p) {
			t.Fatalf("%x came back as %x (Len %d), %v", p, b, m.Len(), err)
		}
		checkExtensions(t, p, ReplyLen, m.Extensions, m.Offset)
	})
}

// checkExtensions holds each extension against the octets at its offset, and runs the typed parsers.
func checkExtensions(t *testing.T, p []byte, fixed int, x Extensions, offset func(int) int) {
	covered, rest, _ := x.Authorized()
	if len(covered)+len(rest) != len(x) {
		t.Fatalf("%d and %d extensions of %d", len(covered), len(rest), len(x))
	}
	for i, e := range x {
		at := offset(i)
		if at < fixed || at >= len(p) || p[at] != uint8(e.Type) {
			t.Fatalf("extension %d is at %d of %d", i, at, len(p))
		}
		if r, err := ParseUDPTunnelRequest(e); err == nil {
			if again, err := ParseUDPTunnelRequest(r.Extension()); err != nil || again != r {
				t.Fatalf("%+v came back as %+v, %v", r, again, err)
			}
		}
		if r, err := ParseUDPTunnelReply(e); err == nil {
			if again, err := ParseUDPTunnelReply(r.Extension()); err != nil || again != r {
				t.Fatalf("%+v came back as %+v, %v", r, again, err)
			}
		}
		if nai, err := ParseNAI(e); err == nil {
			if again, err := NAI(nai); err != nil || !bytes.Equal(again.Data, e.Data) {
				t.Fatalf("%q came back as %x, %v", nai, again.Data, err)
			}
		}
		if r, err := ParseRevocationSupport(e); err == nil {
			if again, err := ParseRevocationSupport(r.Extension()); err != nil || again != r {
				t.Fatalf("%+v came back as %+v, %v", r, again, err)
			}
		}
		if c, err := ParseChallenge(e); err == nil {
			if again, err := Challenge(c); err != nil || !bytes.Equal(again.Data, e.Data) {
				t.Fatalf("%x came back as %x, %v", c, again.Data, err)
			}
		}
		_, _ = ParseMobileAAA(e)
		_, _ = ParseAuthentication(e)
		_, _ = ParseForeignAgentError(e)
		_ = IsTrustedNetworksConfigured(e)
	}
}

func FuzzTunnelData(f *testing.F) {
	f.Add([]byte{4, 4, 0, 0, 0x45})
	f.Add([]byte{4, 4, 0})
	f.Fuzz(func(t *testing.T, p []byte) {
		next, payload, ok := ParseTunnelData(p)
		if want := len(p) >= 4 && p[0] == 4; ok != want {
			t.Fatalf("%x: ok = %v", p, ok)
		}
		if ok && (next != p[1] || !bytes.Equal(payload, p[4:])) {
			t.Fatalf("%x: next header %d, payload %x", p, next, payload)
		}
	})
}
