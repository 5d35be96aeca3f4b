package suite

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"strings"
	"testing"
)

// unhex decodes hexadecimal digits, with spaces and line ends left out.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	p, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Shows: IKE-3 (PRF SHA-2). The vectors are PRF-3 to PRF-5 of RFC 4868 §2.7.1.
func TestPRFVectorsRFC4868(t *testing.T) {
	for _, c := range []struct {
		name, key, data        string
		sha256, sha384, sha512 string
	}{
		{
			"PRF-3", strings.Repeat("aa", 20), strings.Repeat("dd", 50),
			"773ea91e36800e46854db8ebd09181a7 2959098b3ef8c122d9635514ced565fe",
			"88062608d3e6ad8a0aa2ace014c8a86f 0aa635d947ac9febe83ef4e55966144b 2a5ab39dc13814b94e3ab6e101a34f27",
			"fa73b0089d56a284efb0f0756c890be9 b1b5dbdd8ee81a3655f83e33b2279d39 bf3e848279a722c806b485a47e67c807 b946a337bee8942674278859e13292fb",
		},
		{
			"PRF-4", "0102030405060708090a0b0c0d0e0f10 111213141516171819", strings.Repeat("cd", 50),
			"82558a389a443c0ea4cc819899f2083a 85f0faa3e578f8077a2e3ff46729665b",
			"3e8a69b7783c25851933ab6290af6ca7 7a9981480850009cc5577c6e1f573b4e 6801dd23c4a7d679ccf8a386c674cffb",
			"b0ba465637458c6990e5a8c5f61d4af7 e576d97ff94b872de76f8050361ee3db a91ca5c11aa25eb4d679275cc5788063 a5f19741120c4f2de2adebeb10a298dd",
		},
		{
			"PRF-5", strings.Repeat("aa", 131), hex.EncodeToString([]byte("Test Using Larger Than Block-Size Key - Hash Key First")),
			"60e431591ee0b67f0d8a26aacbf5b77f 8e0bc6213728c5140546040f0ee37f54",
			"4ece084485813e9088d2c63a041bc5b4 4f9ef1012a2b588f3cd11f05033ac4c6 0c2ef6ab4030fe8296248df163f44952",
			"80b24263c7c1a3ebb71493c1dd7be8b4 9b46d1f41b4aeec1121b013783f8f352 6b56d037e05f2598bd0fd2215d6a1e52 95e64f73f63f0aec8b915a985d786598",
		},
	} {
		key, data := unhex(t, c.key), unhex(t, c.data)
		for p, want := range map[PRF]string{PRFHMACSHA256: c.sha256, PRFHMACSHA384: c.sha384, PRFHMACSHA512: c.sha512} {
			if got := p.Sum(key, data[:7], data[7:]); !bytes.Equal(got, unhex(t, want)) {
				t.Errorf("%s, %v: %x, want %s", c.name, p, got, want)
			}
			if p.Size() != len(unhex(t, want)) {
				t.Errorf("%v says %d octets", p, p.Size())
			}
		}
	}
}

// prf+ is computed once more here as RFC 7296 §2.13 writes it.
func TestExpandFollowsItsDefinition(t *testing.T) {
	key, seed := []byte("key"), []byte("seed of two parts")
	for _, p := range PRFs() {
		var whole, last []byte
		for i := byte(1); i <= 5; i++ {
			last = p.Sum(key, bytes.Join([][]byte{last, seed, {i}}, nil))
			whole = append(whole, last...)
		}
		for _, n := range []int{0, 1, p.Size() - 1, p.Size(), p.Size() + 1, 5 * p.Size()} {
			if got := p.Expand(key, n, seed[:4], seed[4:]); !bytes.Equal(got, whole[:n]) {
				t.Errorf("%v: %d octets are %x, want %x", p, n, got, whole[:n])
			}
		}
		if n := len(p.Expand(key, 255*p.Size(), seed)); n != 255*p.Size() {
			t.Errorf("%v: the longest output has %d octets", p, n)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v: more than 255 outputs do not panic", p)
				}
			}()
			p.Expand(key, 255*p.Size()+1, seed)
		}()
	}
}

// Shows: IKE-3 (groups 19, 20, 21, 31). Vectors: RFC 5903 §8.1 to §8.3, RFC 8031 appendix A.
func TestKeyExchangeVectors(t *testing.T) {
	for _, c := range []struct {
		group                                          Group
		secretI, publicI, secretR, publicR, sharedWant string
	}{
		{
			GroupP256,
			"C88F01F5 10D9AC3F 70A292DA A2316DE5 44E9AAB8 AFE84049 C62A9C57 862D1433",
			`DAD0B653 94221CF9 B051E1FE CA5787D0 98DFE637 FC90B9EF 945D0C37 72581180
			 5271A046 1CDB8252 D61F1C45 6FA3E59A B1F45B33 ACCF5F58 389E0577 B8990BB3`,
			"C6EF9C5D 78AE012A 011164AC B397CE20 88685D8F 06BF9BE0 B283AB46 476BEE53",
			`D12DFB52 89C8D4F8 1208B702 70398C34 2296970A 0BCCB74C 736FC755 4494BF63
			 56FBF3CA 366CC23E 8157854C 13C58D6A AC23F046 ADA30F83 53E74F33 039872AB`,
			"D6840F6B 42F6EDAF D13116E0 E1256520 2FEF8E9E CE7DCE03 812464D0 4B9442DE",
		},
		{
			GroupP384,
			`099F3C70 34D4A2C6 99884D73 A375A67F 7624EF7C 6B3C0F16 0647B674 14DCE655
			 E35B5380 41E649EE 3FAEF896 783AB194`,
			`667842D7 D180AC2C DE6F74F3 7551F557 55C7645C 20EF73E3 1634FE72 B4C55EE6
			 DE3AC808 ACB4BDB4 C88732AE E95F41AA 9482ED1F C0EEB9CA FC498462 5CCFC23F
			 65032149 E0E144AD A0241815 35A0F38E EB9FCFF3 C2C947DA E69B4C63 4573A81C`,
			`41CB0779 B4BDB85D 47846725 FBEC3C94 30FAB46C C8DC5060 855CC9BD A0AA2942
			 E0308312 916B8ED2 960E4BD5 5A7448FC`,
			`E558DBEF 53EECDE3 D3FCCFC1 AEA08A89 A987475D 12FD950D 83CFA417 32BC509D
			 0D1AC43A 0336DEF9 6FDA41D0 774A3571 DCFBEC7A ACF31964 72169E83 8430367F
			 66EEBE3C 6E70C416 DD5F0C68 759DD1FF F83FA401 42209DFF 5EAAD96D B9E6386C`,
			`11187331 C279962D 93D60424 3FD592CB 9D0A926F 422E4718 7521287E 7156C5C4
			 D6031355 69B9E9D0 9CF5D4A2 70F59746`,
		},
		{
			GroupCurve25519,
			"75 1f b4 30 86 55 b4 76 b6 78 9b 73 25 f9 ea 8c dd d1 6a 58 53 3f f6 d9 e6 00 09 46 4a 5f 9d 94",
			"48 d5 dd d4 06 12 57 ba 16 6f a3 f9 bb db 74 f1 a4 e8 1c 08 93 84 fa 77 f7 90 70 9f 0d fb c7 66",
			"0a 54 64 52 53 29 0d 60 dd ad d0 e0 30 ba cd 9e 55 01 ef dc 22 07 55 a1 e9 78 f1 b8 39 a0 56 88",
			"0b e7 c1 f5 aa d8 7d 7e 44 86 62 67 32 98 a4 43 47 8b 85 97 45 17 9e af 56 4c 79 c0 ef 6e ee 25",
			"c7 49 50 60 7a 12 32 7f 32 04 d9 4b 68 25 bf b0 68 b7 f8 31 9a 9e 37 08 ed 3d 43 ce 81 30 c9 50",
		},
		{
			GroupP521,
			`0037ADE9 319A89F4 DABDB3EF 411AACCC A5123C61 ACAB57B5 393DCE47 608172A0
			 95AA85A3 0FE1C295 2C6771D9 37BA9777 F5957B26 39BAB072 462F68C2 7A57382D 4A52`,
			`0015417E 84DBF28C 0AD3C278 713349DC 7DF153C8 97A1891B D98BAB43 57C9ECBE
			 E1E3BF42 E00B8E38 0AEAE57C 2D107564 94188594 2AF5A7F4 601723C4 195D176C ED3E
			 017CAE20 B6641D2E EB695786 D8C94614 6239D099 E18E1D5A 514C739D 7CB4A10A
			 D8A78801 5AC405D7 799DC75E 7B7D5B6C F2261A6A 7F150743 8BF01BEB 6CA3926F 9582`,
			`0145BA99 A847AF43 793FDD0E 872E7CDF A16BE30F DC780F97 BCCC3F07 8380201E
			 9C677D60 0B343757 A3BDBF2A 3163E4C2 F869CCA7 458AA4A4 EFFC311F 5CB15168 5EB9`,
			`00D0B397 5AC4B799 F5BEA16D 5E13E9AF 971D5E9B 984C9F39 728B5E57 39735A21
			 9B97C356 436ADC6E 95BB0352 F6BE64A6 C2912D4E F2D0433C ED2B6171 640012D9 460F
			 015C6822 6383956E 3BD066E7 97B623C2 7CE0EAC2 F551A10C 2C724D98 52077B87
			 220B6536 C5C408A1 D2AEBB8E 86D678AE 49CB5709 1F473229 6579AB44 FCD17F0F C56A`,
			`01144C7D 79AE6956 BC8EDB8E 7C787C45 21CB086F A64407F9 7894E5E6 B2D79B04
			 D1427E73 CA4BAA24 0A347868 59810C06 B3C715A3 A8CC3151 F2BEE417 996D19F3 DDEA`,
		},
	} {
		i, err := NewKeyExchange(c.group, bytes.NewReader(unhex(t, c.secretI)))
		if err != nil {
			t.Fatal(err)
		}
		r, err := NewKeyExchange(c.group, bytes.NewReader(unhex(t, c.secretR)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(i.Public(), unhex(t, c.publicI)) || !bytes.Equal(r.Public(), unhex(t, c.publicR)) {
			t.Errorf("%v: public values %x and %x", c.group, i.Public(), r.Public())
		}
		for _, k := range []struct {
			own  *KeyExchange
			peer []byte
		}{{i, r.Public()}, {r, i.Public()}} {
			got, err := k.own.SharedSecret(k.peer)
			if err != nil || !bytes.Equal(got, unhex(t, c.sharedWant)) {
				t.Errorf("%v: shared secret %x, %v", c.group, got, err)
			}
		}
	}
}

// A random source that ends must not give a key.
func TestKeyExchangeNeedsItsRandomOctets(t *testing.T) {
	for _, g := range Groups() {
		if k, err := NewKeyExchange(g, bytes.NewReader(make([]byte, 3))); err == nil {
			t.Errorf("%v: a key pair %v out of three octets", g, k)
		}
	}
}

func BenchmarkKeyExchange(b *testing.B) {
	for _, g := range Groups() {
		peer, err := NewKeyExchange(g, rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(g.String(), func(b *testing.B) {
			for b.Loop() {
				k, err := NewKeyExchange(g, rand.Reader)
				if err != nil {
					b.Fatal(err)
				}
				if g.KEM() {
					if _, _, err := Answer(g, rand.Reader, k.Public()); err != nil {
						b.Fatal(err)
					}
				} else if _, err := k.SharedSecret(peer.Public()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
