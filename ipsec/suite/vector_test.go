package suite

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/mlkem"
	"crypto/mlkem/mlkemtest"
	"crypto/sha3"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
)

// Shows: IKE-3 (ML-KEM-768). The accumulated vectors of C2SP's CCTV for ML-KEM-768, of 100 key pairs: random octets are those of
// SHAKE128 of nothing, and what comes out is hashed: encapsulation key, ciphertext, shared key, and the shared key that a
// ciphertext of random octets is implicitly rejected with.
func TestMLKEM768AccumulatedVectors(t *testing.T) {
	source, out := sha3.NewSHAKE128(), sha3.NewSHAKE128()
	message, random := make([]byte, 32), make([]byte, GroupMLKEM768.AnswerLen())
	read := func(p []byte) {
		if _, err := io.ReadFull(source, p); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		k, err := NewKeyExchange(GroupMLKEM768, source)
		if err != nil {
			t.Fatal(err)
		}
		key, err := mlkem.NewEncapsulationKey768(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		read(message)
		shared, ciphertext, err := mlkemtest.Encapsulate768(key, message)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range [][]byte{k.Public(), ciphertext, shared} {
			out.Write(p)
		}
		if got, err := k.SharedSecret(ciphertext); err != nil || !bytes.Equal(got, shared) {
			t.Fatalf("shared secret %x, %v, want %x", got, err, shared)
		}
		read(random)
		rejected, err := k.SharedSecret(random)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(rejected)
	}
	sum := make([]byte, 32)
	if _, err := io.ReadFull(out, sum); err != nil {
		t.Fatal(err)
	}
	if want := "1114b1b6699ed191734fa339376afa7e285c9e6acf6ff0177d346696ce564415"; hex.EncodeToString(sum) != want {
		t.Errorf("accumulated %x, want %s", sum, want)
	}
}

// nistPlaintext is that of NIST SP 800-38A appendix F.
const nistPlaintext = `6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51
 30c81c46a35ce411e5fbc1191a0a52ef f69f2445df4f9b17ad2b417be66c3710`

// Shows: IKE-3 (AES-CBC). RFC 3602 §4, cases 1 to 4, and NIST SP 800-38A F.2.1 and F.2.5, with an ICV that is made here: it opens to the plaintext, and not with any
// octet changed or cut off.
func TestCBCVectors(t *testing.T) {
	integrity := bytes.Repeat([]byte{0x0b}, 32)
	for i, v := range []struct{ key, iv, text, sealed string }{
		{
			"06a9214036b8a15b512e03d534120006", "3dafba429d9eb430b422da802c9fac41",
			hex.EncodeToString([]byte("Single block msg")), "e353779c1079aeb82708942dbe77181a",
		},
		{
			"c286696d887c9aa0611bbb3e2025a45a", "562e17996d093d28ddb3ba695a2e6f58",
			"000102030405060708090a0b0c0d0e0f 101112131415161718191a1b1c1d1e1f",
			"d296cd94c2cccf8a3a863028b5e1dc0a 7586602d253cfff91b8266bea6d61ab1",
		},
		{
			"6c3ea0477630ce21a2ce334aa746c2cd", "c782dc4c098c66cbd9cd27d825682c81",
			hex.EncodeToString([]byte("This is a 48-byte message (exactly 3 AES blocks)")),
			"d0a02b3836451753d493665d33f0e886 2dea54cdb293abc7506939276772f8d5 021c19216bad525c8579695d83ba2684",
		},
		{
			"56e47a38c5598974bc46903dba290349", "8ce82eefbea0da3c44699ed7db51b7d9",
			`a0a1a2a3a4a5a6a7a8a9aaabacadaeaf b0b1b2b3b4b5b6b7b8b9babbbcbdbebf
			 c0c1c2c3c4c5c6c7c8c9cacbcccdcecf d0d1d2d3d4d5d6d7d8d9dadbdcdddedf`,
			`c30e32ffedc0774e6aff6af0869f71aa 0f3af07a9a31a9c684db207eb0ef8e4e
			 35907aa632c3ffdf868bb7b29d3d46ad 83ce9f9a102ee99d49a53e87f4c3da55`,
		},
		{ // NIST SP 800-38A F.2.1
			"2b7e151628aed2a6abf7158809cf4f3c", "000102030405060708090a0b0c0d0e0f", nistPlaintext,
			`7649abac8119b246cee98e9b12e9197d 5086cb9b507219ee95db113a917678b2
			 73bed6b8e3c1743b7116e69e22229516 3ff1caa1681fac09120eca307586e1a7`,
		},
		{ // NIST SP 800-38A F.2.5
			"603deb1015ca71be2b73aef0857d7781 1f352c073b6108d72d9810a30914dff4", "000102030405060708090a0b0c0d0e0f", nistPlaintext,
			`f58c4c04d6e5f1ba779eabfb5f7bfbd6 9cfc4e967edb808d679f777bc6702c7d
			 39f23369a9d9bacfa530e26304231461 b2eb05e2c39be9fcda6c19078c6a9d1b`,
		},
	} {
		e := AESCBC128SHA256
		e.KeyBits = uint16(8 * len(unhex(t, v.key)))
		c, err := e.NewCipher(append(unhex(t, v.key), integrity...))
		if err != nil {
			t.Fatal(err)
		}
		aad, text := []byte("12345678"), unhex(t, v.text)
		body := unhex(t, v.iv+v.sealed)
		mac := hmac.New(AESCBC128SHA256.Integrity.hash(), integrity)
		mac.Write(aad)
		mac.Write(body)
		body = append(body, mac.Sum(nil)[:16]...)
		for n := range body {
			if _, err := c.Open(aad, bytes.Clone(body[:n])); !errors.Is(err, ErrAuthentication) {
				t.Fatalf("case %d cut to %d octets opens: %v", i+1, n, err)
			}
			changed := bytes.Clone(body)
			changed[n] ^= 0x80
			if _, err := c.Open(aad, changed); !errors.Is(err, ErrAuthentication) {
				t.Fatalf("case %d with octet %d changed opens: %v", i+1, n, err)
			}
		}
		got, err := c.Open(aad, body)
		if err != nil || !bytes.Equal(got, text) || &got[0] != &body[aes.BlockSize] {
			t.Errorf("case %d opens to %x, %v", i+1, got, err)
		}
	}
}

// Shows: IKE-3 (HMAC-SHA2-256-128, -384-192, -512-256). The vectors are AUTH256-2, -4, AUTH384-2, -3 and AUTH512-2, -4 of
// RFC 4868 §2.7.2; the key of the last one is printed there with ten octets too many in front.
func TestIntegrityVectorsRFC4868(t *testing.T) {
	jefe := "4a6566654a6566654a6566654a656665"
	what := "7768617420646f2079612077616e7420666f72206e6f7468696e673f"
	for _, v := range []struct {
		encryption      Encryption
		key, data, want string
	}{
		{AESCBC128SHA256, jefe + jefe, what, "167f928588c5cc2eef8e3093caa0e87c"},
		{AESCBC256SHA256, "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20", strings.Repeat("cd", 50),
			"372efcf9b40b35c2115b1346903d2ef4"},
		{AESCBC128SHA384, jefe + jefe + jefe, what, "2c7353974f1842fd66d53c452ca42122b28c0b594cfb184d"},
		{AESCBC256SHA384, strings.Repeat("aa", 48), strings.Repeat("dd", 50), "809f439be00274321d4a538652164b53554a508184a0c316"},
		{AESCBC128SHA512, jefe + jefe + jefe + jefe, what,
			"cb370917ae8a7ce28cfd1d8f4705d6141c173b2a9362c15df235dfb251b15454"},
		{AESCBC256SHA512, "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20" +
			"2122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f40", strings.Repeat("cd", 50),
			"5e6688e5a3daec826ca32eaea224eff5e700628947470e13ad01302561bab108"},
	} {
		key := unhex(t, v.key)
		if len(key) != v.encryption.Integrity.KeyLen() || len(unhex(t, v.want)) != v.encryption.ICVLen() {
			t.Fatalf("%v: a key of %d octets", v.encryption, len(key))
		}
		c, err := newCBC(v.encryption, append(make([]byte, v.encryption.KeyBits/8), key...))
		if err != nil {
			t.Fatal(err)
		}
		s, data := c.states.Get().(*cbcState), unhex(t, v.data)
		if got := s.icv(data[:8], data[8:], c.icv); !bytes.Equal(got, unhex(t, v.want)) {
			t.Errorf("%v: ICV %x, want %s", v.encryption, got, v.want)
		}
	}
}

// Sealing with AES-CBC agrees with the standard library's modes and HMAC put together by hand, for IKE, for ESP and for ESP with
// extended sequence numbers, whose upper half is authenticated last (RFC 4303 §2.2.1). IVs differ from counter to counter and
// tell nothing of it.
func TestCBCIsPutTogetherAsTheStandardsSay(t *testing.T) {
	for _, e := range Encryptions() {
		if e.ID != EncryptionAESCBC {
			continue
		}
		key := make([]byte, e.KeyLen())
		for i := range key {
			key[i] = byte(i + 1)
		}
		c, err := e.NewCipher(key)
		if err != nil {
			t.Fatal(err)
		}
		n := int(e.KeyBits) / 8
		seen := make(map[[aes.BlockSize]byte]bool)
		for counter, aad := range [][]byte{make([]byte, 32), []byte("spi seqn"), []byte("spi HIGHlow ")} {
			text := bytes.Repeat([]byte{byte(counter), 7}, 24)
			body := make([]byte, c.IVLen()+len(text)+c.ICVLen())
			copy(body[c.IVLen():], text)
			c.Seal(aad, body, uint64(counter))
			iv, end := body[:aes.BlockSize], len(body)-c.ICVLen()
			if seen[[16]byte(iv)] || binary.BigEndian.Uint64(iv[8:]) == uint64(counter) {
				t.Errorf("%v: IV %x for counter %d", e, iv, counter)
			}
			seen[[16]byte(iv)] = true
			block, err := aes.NewCipher(key[:n])
			if err != nil {
				t.Fatal(err)
			}
			opened := make([]byte, len(text))
			cipher.NewCBCDecrypter(block, iv).CryptBlocks(opened, body[aes.BlockSize:end])
			mac := hmac.New(e.Integrity.hash(), key[n:])
			if len(aad) == 12 {
				mac.Write([]byte("spi low "))
				mac.Write(body[:end])
				mac.Write([]byte("HIGH"))
			} else {
				mac.Write(aad)
				mac.Write(body[:end])
			}
			if !bytes.Equal(opened, text) || !bytes.Equal(mac.Sum(nil)[:c.ICVLen()], body[end:]) {
				t.Errorf("%v: sealed as %x", e, body)
			}
		}
	}
}
