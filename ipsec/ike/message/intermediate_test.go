package message

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"testing"

	"mipvpn/ipsec/suite"
)

// Shows: IKE-3 (RFC 9242 §3.3.2: both ends authenticate the same octets of an IKE_INTERMEDIATE message, with any cipher, whole or in
// fragments, and those of Figure 1)
func TestIntermediateOctets(t *testing.T) {
	h := Header{InitiatorSPI: 0x0102030405060708, ResponderSPI: 0x1112131415161718, Exchange: IKEIntermediate, Flags: FlagInitiator, MessageID: 1}
	short := []Payload{KE{Group: 36, Data: []byte("abcd")}}
	got, err := IntermediateOctets(h, short)
	if err != nil {
		t.Fatal(err)
	}
	want := "0102030405060708" + "1112131415161718" + "2e202b08" + "00000001" + "0000002c" + // header: next payload SK, length 44
		"22000010" + // SK: next payload KE, length 4 + 12
		"0000000c" + "00240000" + "61626364" // KE
	if hex.EncodeToString(got) != want {
		t.Errorf("octets %x, want %s", got, want)
	}
	large := []Payload{KE{Group: 36, Data: bytes.Repeat([]byte{7}, 1184)}, Notify{Message: 40000, Data: []byte("of a later extension")}}
	for _, ps := range [][]Payload{short, large, nil} {
		want, err := IntermediateOctets(h, ps)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range suite.Encryptions() {
			key := make([]byte, e.KeyLen())
			if _, err := rand.Read(key); err != nil {
				t.Fatal(err)
			}
			c, err := e.NewCipher(key)
			if err != nil {
				t.Fatal(err)
			}
			whole, err := AppendProtected(nil, h, ps, c, 1)
			if err != nil {
				t.Fatal(err)
			}
			m, _, err := Open(whole, c)
			if err != nil || !bytes.Equal(m.Intermediate, want) {
				t.Errorf("%v, whole: %x, %v, want %x", e, m.Intermediate, err, want)
			}
			counter := uint64(1)
			parts, err := AppendFragments(h, ps, c, func() uint64 { counter++; return counter }, 300)
			if err != nil {
				t.Fatal(err)
			}
			if len(parts) == 1 {
				continue
			}
			var first *Fragment
			var content []byte
			for i, b := range parts {
				f, ok := ParseFragment(b)
				if !ok {
					t.Fatalf("%v: no fragment: %x", e, b)
				}
				chunk, err := f.Open(c)
				if err != nil {
					t.Fatal(err)
				}
				if i == 0 {
					first = f
				}
				content = append(content, chunk...)
				clear(b) // the datagram is borrowed
			}
			m, err = Join(first, content)
			if err != nil || !bytes.Equal(m.Intermediate, want) {
				t.Errorf("%v, in %d fragments: %x, %v, want %x", e, len(parts), m.Intermediate, err, want)
			}
		}
	}
}

// Payloads in front of the Encrypted one are authenticated too, and their next payload field is that of the whole message.
func TestIntermediateOctetsInFront(t *testing.T) {
	h := Header{InitiatorSPI: 1, ResponderSPI: 2, Exchange: IKEIntermediate, MessageID: 1}
	outer, err := (&Message{Header: h, Payloads: []Payload{Notify{Message: 40001}, VendorID{Data: []byte("x")}}}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	front := append(bytes.Clone(outer), byte(TypeKE), 0, 0, 9) // the generic header of the SKF payload, without its numbers
	last := len(outer) - 5
	front[last] = byte(TypeEncryptedFragment)
	got := intermediateOctets(unfragmented(bytes.Clone(front)), []byte("content"))
	want := bytes.Clone(front)
	want[last] = byte(TypeEncrypted)
	want[len(want)-1] = 4 + 7
	want = append(want, "content"...)
	want[27] = byte(len(want))
	if !bytes.Equal(got, want) {
		t.Errorf("octets %x, want %x", got, want)
	}
}
