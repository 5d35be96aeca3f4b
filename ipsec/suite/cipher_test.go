package suite

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
)

// cipherVectors are packets with their keying material (key, then salt).
var cipherVectors = []struct {
	name                         string
	encryption                   Encryption
	key, aad, iv, text, body, ic string
}{
	{
		"RFC 7634 appendix A, ESP", ChaCha20Poly1305,
		"808182838485868788898a8b8c8d8e8f 909192939495969798999a9b9c9d9e9f a0a1a2a3",
		"01020304 00000005", "1011121314151617",
		`45000054a6f200004001e778c6336405 c000020508005b7a3a080000553bec10 0007362708090a0b0c0d0e0f10111213
		 1415161718191a1b1c1d1e1f20212223 2425262728292a2b2c2d2e2f30313233 3435363701020204`,
		`24039428b97f417e3c13753a4f05087b 67c352e6a7fab1b982d466ef407ae5c6 14ee8099d52844eb61aa95dfab4c02f7
		 2aa71e7c4c4f64c9befe2facc638e8f3 cbec163fac469b502773f6fb94e664da 9165b82829f641e0`,
		"76aaa8266b7fb0f7b11b369907e1ad43",
	},
	{
		"RFC 7634 appendix B, IKE", ChaCha20Poly1305,
		"808182838485868788898a8b8c8d8e8f 909192939495969798999a9b9c9d9e9f a0a1a2a3",
		"c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d7 2e202500000000090000004529000029", "1011121314151617",
		"0000000c000040010000000a00", "610394701f8d017f7c12924889", "6b71bfe25236efd7cdc67066906315b2",
	},
	{
		"GCM specification, test case 4", AESGCM128,
		"feffe9928665731c6d6a8f9467308308 cafebabe",
		"feedfacedeadbeeffeedfacedeadbeef abaddad2", "facedbaddecaf888",
		`d9313225f88406e5a55909c5aff5269a 86a7a9531534f7da2e4c303d8a318a72 1c3c0c95956809532fcf0e2449a6b525
		 b16aedf5aa0de657ba637b39`,
		`42831ec2217774244b7221b784d0d49c e3aa212f2c02a4e035c17e2329aca12e 21d514b25466931c7d8f6a5aac84aa05
		 1ba30b396a0aac973d58e091`,
		"5bc94fbc3221a5db94fae95ae7121a47",
	},
	{
		"GCM specification, test case 16", AESGCM256,
		"feffe9928665731c6d6a8f9467308308 feffe9928665731c6d6a8f9467308308 cafebabe",
		"feedfacedeadbeeffeedfacedeadbeef abaddad2", "facedbaddecaf888",
		`d9313225f88406e5a55909c5aff5269a 86a7a9531534f7da2e4c303d8a318a72 1c3c0c95956809532fcf0e2449a6b525
		 b16aedf5aa0de657ba637b39`,
		`522dc1f099567d07f47f37a32a84427d 643a8cdcbfe5c0c97598a2bd2555d1aa 8cb08e48590dbb3da7b08b1056828838
		 c5f61e6393ba7a0abcc9f662`,
		"76fc6ece0f4e1768cddf8853bb2d551b",
	},
}

// gcmCAVP are vectors of NIST's CAVP, gcmEncryptExtIV128.rsp and gcmEncryptExtIV256.rsp, with an IV of 96 bits and a tag of 128:
// the IV is salt and IV here.
var gcmCAVP = []struct{ key, iv, text, sealed, tag string }{
	{"11754cd72aec309bf52f7687212e8957", "3c819d9a9bed087615030b65", "", "", "250327c674aaf477aef2675748cf6971"},
	{"b52c505a37d78eda5dd34f20c22540ea1b58963cf8e5bf8ffa85f9f2492505b4", "516c33929df5a3284ff463d7", "", "", "bdc1ac884d332457a1d2664f168c76f0"},
	{"31bdadd96698c204aa9ce1448ea94ae1fb4a9a0b3c9d773b51bb1822666b8f22", "0d18e06c7c725ac9e362e1ce", "2db5168e932556f8089a0622981d017d",
		"fa4362189661d163fcd6a56d8bf0405a", "d636ac1bbedd5cc3ee727dc2ab4a9489"},
}

// Shows: IKE-3 (AES-GCM)
func TestGCMVectorsCAVP(t *testing.T) {
	for _, v := range gcmCAVP {
		key, iv, text := unhex(t, v.key), unhex(t, v.iv), unhex(t, v.text)
		c, err := Encryption{ID: EncryptionAESGCM16, KeyBits: uint16(8 * len(key))}.NewCipher(append(key, iv[:saltLen]...))
		if err != nil {
			t.Fatal(err)
		}
		body := append(append(make([]byte, ivLen), text...), make([]byte, icvLen)...)
		c.Seal(nil, body, binary.BigEndian.Uint64(iv[saltLen:]))
		if want := append(append(bytes.Clone(iv[saltLen:]), unhex(t, v.sealed)...), unhex(t, v.tag)...); !bytes.Equal(body, want) {
			t.Errorf("key %s: sealed %x, want %x", v.key, body, want)
		}
	}
}

// Shows: IKE-3 (AES-GCM-16 with 128 and 256 bits, ChaCha20-Poly1305, in ESP and in IKE).
func TestCipherVectors(t *testing.T) {
	for _, v := range cipherVectors {
		c, err := v.encryption.NewCipher(unhex(t, v.key))
		if err != nil {
			t.Fatal(err)
		}
		aad, text := unhex(t, v.aad), unhex(t, v.text)
		body := make([]byte, c.IVLen()+len(text)+c.ICVLen())
		copy(body[c.IVLen():], text)
		c.Seal(aad, body, binary.BigEndian.Uint64(unhex(t, v.iv)))
		if want := unhex(t, v.iv+v.body+v.ic); !bytes.Equal(body, want) {
			t.Errorf("%s: sealed %x, want %x", v.name, body, want)
			continue
		}
		for i := range len(aad) + len(body) {
			a, b := bytes.Clone(aad), bytes.Clone(body)
			if i < len(a) {
				a[i] ^= 0x10
			} else {
				b[i-len(a)] ^= 0x10
			}
			if _, err := c.Open(a, b); !errors.Is(err, ErrAuthentication) {
				t.Fatalf("%s: with octet %d changed it opens: %v", v.name, i, err)
			}
		}
		for n := range body {
			if _, err := c.Open(aad, bytes.Clone(body[:n])); !errors.Is(err, ErrAuthentication) {
				t.Fatalf("%s: cut to %d octets it opens: %v", v.name, n, err)
			}
		}
		got, err := c.Open(aad, body)
		if err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s: opened %x, %v", v.name, got, err)
		}
		if len(got) > 0 && &got[0] != &body[c.IVLen()] {
			t.Errorf("%s: the plaintext has been moved", v.name)
		}
	}
}

// Shows: IKE-3. Sealing from one place into another gives the octets of the published vectors as sealing in place does,
// with one scratch memory for all ciphers, and leaves the text as it was.
func TestSealToVectors(t *testing.T) {
	var s Scratch
	for _, v := range cipherVectors {
		c, err := v.encryption.NewCipher(unhex(t, v.key))
		if err != nil {
			t.Fatal(err)
		}
		aad, text, want := unhex(t, v.aad), unhex(t, v.text), unhex(t, v.iv+v.body+v.ic)
		counter := binary.BigEndian.Uint64(unhex(t, v.iv))
		from := bytes.Clone(text)
		slab := bytes.Repeat([]byte{0x5a}, 10+len(want)+10)
		c.SealTo(&s, slab[10:10+len(want)], aad, from, counter)
		if got := slab[10 : 10+len(want)]; !bytes.Equal(got, want) {
			t.Errorf("%s: sealed %x, want %x", v.name, got, want)
		}
		if !bytes.Equal(from, text) {
			t.Errorf("%s: the text was changed to %x", v.name, from)
		}
		if edges := slices.Concat(slab[:10], slab[10+len(want):]); !bytes.Equal(edges, bytes.Repeat([]byte{0x5a}, 20)) {
			t.Errorf("%s: wrote outside: %x", v.name, slab)
		}
		body := make([]byte, len(want))
		copy(body[c.IVLen():], text)
		c.SealTo(&s, body, aad, body[c.IVLen():c.IVLen()+len(text)], counter)
		if !bytes.Equal(body, want) {
			t.Errorf("%s: sealed in place %x, want %x", v.name, body, want)
		}
		for i := range want {
			b := bytes.Clone(want)
			b[i] ^= 1
			if _, err := c.OpenWith(&s, aad, b); !errors.Is(err, ErrAuthentication) {
				t.Fatalf("%s: with octet %d changed it opens: %v", v.name, i, err)
			}
		}
		got, err := c.OpenWith(&s, aad, body)
		if err != nil || !bytes.Equal(got, text) || &got[0] != &body[c.IVLen()] {
			t.Errorf("%s: opened %x, %v", v.name, got, err)
		}
	}
}

// A destination of another length, or a body too short, is an error of the program.
func TestSealPanicsOnWrongLengths(t *testing.T) {
	panics := func(f func()) (did bool) {
		defer func() { did = recover() != nil }()
		f()
		return false
	}
	for _, e := range Encryptions() {
		c, err := e.NewCipher(make([]byte, e.KeyLen()))
		if err != nil {
			t.Fatal(err)
		}
		n := c.IVLen() + 16 + c.ICVLen()
		for _, m := range []int{0, n - 1, n + 1} {
			if !panics(func() { c.SealTo(new(Scratch), make([]byte, m), nil, make([]byte, 16), 1) }) {
				t.Errorf("%v: %d octets are sealed into %d", e, 16, m)
			}
		}
		if c.Align() > 1 && !panics(func() { c.SealTo(new(Scratch), make([]byte, n-1), nil, make([]byte, 15), 1) }) {
			t.Errorf("%v: 15 octets are sealed", e)
		}
		if !panics(func() { c.Seal(nil, make([]byte, c.IVLen()+c.ICVLen()-1), 1) }) {
			t.Errorf("%v: a body without room for IV and ICV is sealed", e)
		}
	}
}

func TestCiphersDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's sync.Pool drops what it holds at random, so allocations say nothing")
	}
	for _, e := range Encryptions() {
		c, err := e.NewCipher(make([]byte, e.KeyLen()))
		if err != nil {
			t.Fatal(err)
		}
		s, aad, text := new(Scratch), make([]byte, 8), make([]byte, 1408)
		body := make([]byte, c.IVLen()+len(text)+c.ICVLen())
		if n := testing.AllocsPerRun(100, func() {
			c.SealTo(s, body, aad, text, 7)
			if _, err := c.OpenWith(s, aad, body); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%v: %v allocations for sealing and opening", e, n)
		}
	}
}

func TestCipherRefusesWrongKeys(t *testing.T) {
	for _, e := range Encryptions() {
		for _, n := range []int{0, e.KeyLen() - 1, e.KeyLen() + 1} {
			if _, err := e.NewCipher(make([]byte, n)); !errors.Is(err, ErrKeyLength) {
				t.Errorf("%v with %d octets: %v", e, n, err)
			}
		}
	}
	for _, e := range []Encryption{{}, {ID: EncryptionAESGCM16}, {ID: EncryptionAESGCM16, KeyBits: 64},
		{ID: EncryptionChaCha20Poly1305, KeyBits: 256}, {ID: 3}, {ID: EncryptionAESCBC, KeyBits: 128}, {EncryptionAESCBC, 192, IntegrityHMACSHA256},
		{EncryptionAESCBC, 128, 2}, {EncryptionAESGCM16, 128, IntegrityHMACSHA256}, {EncryptionChaCha20Poly1305, 0, IntegrityHMACSHA512}} {
		if _, err := e.NewCipher(make([]byte, 36)); !errors.Is(err, ErrUnsupported) || e.Supported() {
			t.Errorf("%v: %v", e, err)
		}
	}
}

// What is sealed must not reach past body, whose capacity may go on into another packet.
func TestSealStaysInItsBody(t *testing.T) {
	for _, e := range Encryptions() {
		c, err := e.NewCipher(make([]byte, e.KeyLen()))
		if err != nil {
			t.Fatal(err)
		}
		slot, end := make([]byte, 200), 10+c.IVLen()+32+c.ICVLen()
		c.Seal(nil, slot[10:end], 1)
		if !bytes.Equal(slot[:10], make([]byte, 10)) || !bytes.Equal(slot[end:], make([]byte, len(slot)-end)) {
			t.Errorf("%v wrote outside its body: %x", e, slot)
		}
	}
}

func FuzzCipherOpen(f *testing.F) {
	for _, v := range cipherVectors {
		f.Add(unhex(f, v.aad), unhex(f, v.iv+v.body+v.ic))
	}
	var ciphers []Cipher
	for _, e := range Encryptions() {
		c, err := e.NewCipher(bytes.Repeat([]byte{7}, e.KeyLen()))
		if err != nil {
			f.Fatal(err)
		}
		ciphers = append(ciphers, c)
	}
	f.Fuzz(func(t *testing.T, aad, octets []byte) {
		for _, c := range ciphers {
			p := octets[:len(octets)-len(octets)%c.Align()]
			if text, err := c.Open(aad, bytes.Clone(octets)); err == nil {
				t.Fatalf("a forgery opens: %x", text)
			}
			if text, err := c.Open(aad, bytes.Clone(p)); err == nil {
				t.Fatalf("a forgery opens: %x", text)
			}
			body := make([]byte, c.IVLen()+len(p)+c.ICVLen())
			copy(body[c.IVLen():], p)
			c.Seal(aad, body, 3)
			apart := make([]byte, len(body))
			c.SealTo(new(Scratch), apart, aad, p, 3)
			if !bytes.Equal(apart, body) {
				t.Fatalf("%x sealed in place is %x, into another place %x", p, body, apart)
			}
			text, err := c.Open(aad, body)
			if err != nil || !bytes.Equal(text, p) {
				t.Fatalf("%x comes back as %x, %v", p, text, err)
			}
		}
	})
}

// BenchmarkSeal seals 1408 octets: in place, which takes scratch memory from a pool, and into another place with the
// caller's.
func BenchmarkSeal(b *testing.B) {
	for _, e := range Encryptions() {
		c, err := e.NewCipher(make([]byte, e.KeyLen()))
		if err != nil {
			b.Fatal(err)
		}
		aad, body, text := make([]byte, 8), make([]byte, c.IVLen()+1408+c.ICVLen()), make([]byte, 1408)
		run := func(name string, seal func(counter uint64)) {
			b.Run(e.String()+"/"+name, func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				var n uint64
				for b.Loop() {
					seal(n)
					n++
				}
			})
		}
		s := new(Scratch)
		run("in place", func(n uint64) { c.Seal(aad, body, n) })
		run("apart", func(n uint64) { c.SealTo(s, body, aad, text, n) })
	}
}

// BenchmarkOpen opens 1408 octets, which are put back for each run: copying them is in the figure.
func BenchmarkOpen(b *testing.B) {
	for _, e := range Encryptions() {
		b.Run(e.String(), func(b *testing.B) {
			c, err := e.NewCipher(make([]byte, e.KeyLen()))
			if err != nil {
				b.Fatal(err)
			}
			aad, sealed, s := make([]byte, 8), make([]byte, c.IVLen()+1408+c.ICVLen()), new(Scratch)
			c.Seal(aad, sealed, 1)
			body := make([]byte, len(sealed))
			b.SetBytes(1408)
			b.ReportAllocs()
			for b.Loop() {
				copy(body, sealed)
				if _, err := c.OpenWith(s, aad, body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
