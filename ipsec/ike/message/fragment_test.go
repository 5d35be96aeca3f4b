package message

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"mipvpn/ipsec/suite"
)

func fragmentCipher(tb testing.TB) suite.Cipher {
	tb.Helper()
	c, err := suite.AESGCM128.NewCipher(make([]byte, 20))
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// counting returns 1, 2, 3.
func counting() func() uint64 {
	var n uint64
	return func() uint64 { n++; return n }
}

// join opens fragments in order and joins them.
func join(tb testing.TB, wires [][]byte, c suite.Cipher) *Message {
	tb.Helper()
	var first *Fragment
	var content []byte
	for i, w := range wires {
		f, ok := ParseFragment(bytes.Clone(w))
		if !ok || int(f.Number) != i+1 || int(f.Total) != len(wires) {
			tb.Fatalf("fragment %d of %d parses as %+v", i+1, len(wires), f)
		}
		chunk, err := f.Open(c)
		if err != nil {
			tb.Fatal(err)
		}
		if first == nil {
			first = f
		}
		content = append(content, chunk...)
	}
	m, err := Join(first, content)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// Shows: IKE-6
func TestFragments(t *testing.T) {
	c := fragmentCipher(t)
	h := Header{InitiatorSPI: 1, ResponderSPI: 2, Exchange: IKEAuth, Flags: FlagInitiator, MessageID: 1}
	ps := []Payload{IDi{Identity{Type: IDKeyID, Data: string(bytes.Repeat([]byte{7}, 900))}}, EAP{Message: bytes.Repeat([]byte{9}, 700)}}
	whole, err := AppendProtected(nil, h, ps, c, 1)
	if err != nil {
		t.Fatal(err)
	}
	one, err := AppendFragments(h, ps, c, counting(), len(whole))
	if err != nil || len(one) != 1 || !bytes.Equal(one[0], whole) {
		t.Errorf("a message of %d octets became %d messages, %v", len(whole), len(one), err)
	}
	for size := len(whole) - 1; size > HeaderLen+8+8+16+1; size -= 13 {
		wires, err := AppendFragments(h, ps, c, counting(), size)
		if errors.Is(err, ErrTooLong) && (len(whole)-HeaderLen)/(size-60) > MaxFragments/2 {
			continue
		}
		if err != nil {
			t.Fatalf("%d: %v", size, err)
		}
		ivs := map[string]bool{}
		for i, w := range wires {
			if len(w) > size {
				t.Fatalf("%d: fragment %d has %d octets", size, i+1, len(w))
			}
			if want := byte(0); i > 0 && w[HeaderLen] != want || i == 0 && PayloadType(w[HeaderLen]) != TypeIDi {
				t.Fatalf("%d: fragment %d has Next Payload %d inside", size, i+1, w[HeaderLen])
			}
			ivs[string(w[HeaderLen+8:HeaderLen+16])] = true
		}
		if len(ivs) != len(wires) {
			t.Fatalf("%d: an initialization vector occurs twice", size)
		}
		if m := join(t, wires, c); !reflect.DeepEqual(m.Payloads, ps) || m.Header.NextPayload != TypeEncrypted || m.Header.MessageID != 1 {
			t.Fatalf("%d: %+v", size, m)
		}
	}
	for _, size := range []int{0, -1, 60} {
		if _, err := AppendFragments(h, ps, c, counting(), size); !errors.Is(err, ErrTooLong) {
			t.Errorf("fragments of %d octets: %v", size, err)
		}
	}
}

func TestFragmentNumbers(t *testing.T) {
	for _, tc := range []struct {
		number, total uint16
		good          bool
	}{{1, 1, true}, {2, 2, true}, {65535, 65535, true}, {0, 1, false}, {0, 0, false}, {1, 0, false}, {3, 2, false}} {
		m := Message{Header: Header{Exchange: IKEAuth}, Payloads: []Payload{EncryptedFragment{Number: tc.number, Total: tc.total, Body: make([]byte, 30)}}}
		wire, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, good := ParseFragment(wire); good != tc.good {
			t.Errorf("fragment %d of %d: taken %t", tc.number, tc.total, good)
		}
	}
}

// FuzzFragment gives any octets as a fragment, and any contents in any size to the fragmenting.
func FuzzFragment(f *testing.F) {
	c := fragmentCipher(f)
	wires, err := AppendFragments(Header{Exchange: IKEAuth}, []Payload{EAP{Message: make([]byte, 600)}}, c, counting(), 300)
	if err != nil {
		f.Fatal(err)
	}
	for _, w := range wires {
		f.Add(w, uint16(300))
	}
	f.Add([]byte{}, uint16(0))
	f.Fuzz(func(t *testing.T, b []byte, size uint16) {
		if p, ok := ParseFragment(bytes.Clone(b)); ok {
			if p.Number == 0 || p.Number > p.Total {
				t.Fatalf("fragment %d of %d", p.Number, p.Total)
			}
			if chunk, err := p.Open(c); err == nil {
				if m, err := Join(p, chunk); m == nil || err != nil && !errors.Is(err, ErrMalformed) {
					t.Fatalf("%v, %v", m, err)
				}
			} else if !errors.Is(err, suite.ErrAuthentication) && !errors.Is(err, ErrMalformed) {
				t.Fatalf("untyped error %v", err)
			}
		}
		if len(b) == 0 || len(b) > 60000 {
			return
		}
		ps := []Payload{EAP{Message: b}}
		wires, err := AppendFragments(Header{Exchange: IKEAuth}, ps, c, counting(), int(size))
		switch {
		case errors.Is(err, ErrTooLong):
		case err != nil:
			t.Fatal(err)
		case len(wires) > 1:
			if m := join(t, wires, c); !reflect.DeepEqual(m.Payloads, ps) {
				t.Fatal("the payloads have changed")
			}
		}
	})
}
