package esp

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"mipvpn/ipsec/suite"
	"mipvpn/tun/packet"
)

var (
	client = netip.MustParseAddr("10.0.9.1")
	server = netip.MustParseAddr("10.0.1.20")
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	p, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// parameters returns those of the client's sending half and of the server's receiving half of one SA.
func parameters(e suite.Encryption, esn bool) (out, in Parameters) {
	key := make([]byte, e.KeyLen())
	for i := range key {
		key[i] = byte(i * 7)
	}
	out = Parameters{SPI: 0xc0ffee01, Encryption: e, Key: key, ESN: esn,
		Local: []Selector{AddrSelector(client)}, Remote: []Selector{PrefixSelector(netip.MustParsePrefix("10.0.0.0/16"))}}
	in = out
	in.Local, in.Remote = out.Remote, out.Local
	return out, in
}

func pair(t testing.TB, e suite.Encryption, esn bool, drops *packet.Drops) (*Outbound, *Inbound) {
	t.Helper()
	po, pi := parameters(e, esn)
	o, err := NewOutbound(po, drops)
	if err != nil {
		t.Fatal(err)
	}
	in, err := NewInbound(pi)
	if err != nil {
		t.Fatal(err)
	}
	return o, in
}

// ping returns an IPv4 packet from src to dst whose payload has n octets.
func ping(src, dst netip.Addr, n int) *packet.Buf {
	b := packet.GetSmall()
	for i, payload := 0, b.Extend(n); i < n; i++ {
		payload[i] = byte(i)
	}
	packet.PushIPv4(b, packet.IPv4Fields{TTL: 64, Protocol: 254, Src: src, Dst: dst})
	return b
}

// seal returns the ESP packet that o makes of p, or nil when it drops it.
func seal(o *Outbound, p *packet.Buf) *packet.Buf {
	batch := packet.One(p)
	defer batch.Forget()
	o.Apply(batch)
	if batch.Len() == 0 {
		return nil
	}
	return batch.Bufs[0]
}

// Shows: IKE-9. RFC 7634 appendix A: the packet of its example opens and comes out as its source packet.
func TestOpenRFC7634Example(t *testing.T) {
	esp := unhex(t, `01020304000000051011121314151617
		24039428b97f417e3c13753a4f05087b 67c352e6a7fab1b982d466ef407ae5c6 14ee8099d52844eb61aa95dfab4c02f7
		2aa71e7c4c4f64c9befe2facc638e8f3 cbec163fac469b502773f6fb94e664da 9165b82829f641e0
		76aaa8266b7fb0f7b11b369907e1ad43`)
	inner := unhex(t, `45000054a6f200004001e778c6336405 c000020508005b7a3a080000553bec10 0007362708090a0b0c0d0e0f10111213
		1415161718191a1b1c1d1e1f20212223 2425262728292a2b2c2d2e2f30313233 34353637`)
	p := Parameters{SPI: 0x01020304, Encryption: suite.ChaCha20Poly1305,
		Key:   unhex(t, "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3"),
		Local: []Selector{AddrSelector(netip.MustParseAddr("192.0.2.5"))}, Remote: []Selector{AddrSelector(netip.MustParseAddr("198.51.100.5"))}}
	in, err := NewInbound(p)
	if err != nil {
		t.Fatal(err)
	}
	b := packet.From(esp)
	defer b.Release()
	if r := in.Open(b); r != packet.NotDropped {
		t.Fatal(r)
	}
	if !bytes.Equal(b.Bytes(), inner) || b.SA != p.SPI {
		t.Errorf("SA %08x, packet %x, want %x", b.SA, b.Bytes(), inner)
	}
	again := packet.From(esp)
	defer again.Release()
	if r := in.Open(again); r != packet.DropReplayed {
		t.Errorf("the same packet once more: %v", r)
	}
}

// Shows: IKE-9. What is sealed is of the figure of RFC 4303 §2 and opens to the same packet, for all lengths and ciphers.
func TestSealThenOpen(t *testing.T) {
	for _, e := range suite.Encryptions() {
		for _, esn := range []bool{false, true} {
			o, in := pair(t, e, esn, nil)
			for n := range 300 {
				p := ping(client, server, n)
				want := bytes.Clone(p.Bytes())
				p = seal(o, p)
				whole := p.Bytes()
				if got := binary.BigEndian.Uint32(whole); got != o.SPI() {
					t.Fatalf("SPI %08x", got)
				}
				if got := binary.BigEndian.Uint32(whole[4:]); got != uint32(n+1) {
					t.Fatalf("sequence number %d, want %d", got, n+1)
				}
				if len(whole)%4 != 0 || len(whole) > len(want)+Overhead(e) || bytes.Contains(whole, want[:20]) {
					t.Fatalf("%v: %d octets became %x", e, len(want), whole)
				}
				if r := in.Open(p); r != packet.NotDropped || !bytes.Equal(p.Bytes(), want) {
					t.Fatalf("%v, ESN %v, length %d: %v, %x", e, esn, n, r, p.Bytes())
				}
				p.Release()
			}
			if u := in.Usage(); u.Packets != 300 || o.Usage().Packets != 300 {
				t.Errorf("usage %+v and %+v", u, o.Usage())
			}
		}
	}
}

// The largest packet that fits does, as do those before it, and the next one does not.
func TestFits(t *testing.T) {
	for _, e := range suite.Encryptions() {
		o, _ := pair(t, e, false, nil)
		length := func(n int) int {
			p := seal(o, ping(client, server, n-packet.IPv4Len))
			defer p.Release()
			return p.Len()
		}
		for n := 88; n < 152; n++ { // an IPv4 header and two blocks of AES-CBC at least
			fits := o.Fits(n)
			for m := packet.IPv4Len; m <= fits; m++ {
				if got := length(m); got > n {
					t.Errorf("%v: %d octets become %d, more than %d", e, m, got, n)
				}
			}
			if got := length(fits + 1); got <= n {
				t.Errorf("%v: %d octets are said to fit into %d, %d octets become %d", e, fits, n, fits+1, got)
			}
		}
		// 1408 = 11*128 octets under the cipher, between a header of 8 octets, IV and ICV
		for n, want := range map[int]int{8 + e.IVLen() + 1408 + e.ICVLen(): 1406, 8 + e.IVLen() + 1407 + e.ICVLen(): 1406 - max(4, e.Align())} {
			if got := o.Fits(n); got != want {
				t.Errorf("%v: %d octets fit into %d, want %d", e, got, n, want)
			}
		}
		for _, n := range []int{-5, 0, 31, 34} {
			if got := o.Fits(n); got != 0 {
				t.Errorf("%v: %d octets fit into %d", e, got, n)
			}
		}
	}
}

// Every changed octet and every cut makes a packet that is dropped.
func TestOpenRefusesEveryChange(t *testing.T) {
	for _, esn := range []bool{false, true} {
		o, in := pair(t, suite.AESGCM128, esn, nil)
		p := seal(o, ping(client, server, 40))
		defer p.Release()
		for i := range p.Len() {
			q := packet.From(p.Bytes())
			q.Bytes()[i] ^= 0x40
			if r := in.Open(q); r == packet.NotDropped {
				t.Errorf("octet %d changed: it opens", i)
			}
			q.Release()
			q = packet.From(p.Bytes()[:i])
			if r := in.Open(q); r == packet.NotDropped {
				t.Errorf("cut to %d octets: it opens", i)
			}
			q.Release()
		}
		if in.Usage().Packets != 0 {
			t.Error("a forgery was counted as authentic")
		}
		if r := in.Open(p); r != packet.NotDropped {
			t.Errorf("after the forgeries the true one is dropped: %v", r)
		}
	}
}

// Shows: IKE-9 (selectors checked after decryption), IKE-8 (the inner source is always checked).
func TestSelectorsBothWays(t *testing.T) {
	stranger := netip.MustParseAddr("10.0.9.2")
	outside := netip.MustParseAddr("10.1.0.1")
	for _, c := range []struct {
		src, dst netip.Addr
		want     packet.DropReason
	}{
		{client, server, packet.NotDropped}, {stranger, server, packet.DropSelector},
		{client, outside, packet.DropSelector}, {server, client, packet.DropSelector},
	} {
		var drops packet.Drops
		o, in := pair(t, suite.AESGCM256, false, &drops)
		p := seal(o, ping(c.src, c.dst, 8))
		if (p != nil) != (c.want == packet.NotDropped) || p == nil && drops.Of(packet.DropSelector) != 1 {
			t.Errorf("outbound %v to %v: %v", c.src, c.dst, drops.Snapshot())
		}
		// The peer seals what its SA must not carry.
		loose, _ := parameters(suite.AESGCM256, false)
		loose.Local, loose.Remote = []Selector{AnySelector()}, []Selector{AnySelector()}
		bad, err := NewOutbound(loose, nil)
		if err != nil {
			t.Fatal(err)
		}
		q := seal(bad, ping(c.src, c.dst, 8))
		if r := in.Open(q); r != c.want {
			t.Errorf("inbound %v to %v: %v, want %v", c.src, c.dst, r, c.want)
		}
	}
}

// sealRaw makes an ESP packet out of any plaintext, as no Outbound would.
func sealRaw(t testing.TB, p Parameters, seq uint64, text []byte) *packet.Buf {
	t.Helper()
	c, err := p.Encryption.NewCipher(p.Key)
	if err != nil {
		t.Fatal(err)
	}
	whole := make([]byte, headerLen+c.IVLen()+len(text)+c.ICVLen())
	binary.BigEndian.PutUint32(whole, p.SPI)
	binary.BigEndian.PutUint32(whole[4:], uint32(seq))
	copy(whole[headerLen+c.IVLen():], text)
	aad := whole[:headerLen]
	if p.ESN {
		var x [12]byte
		putAAD(&x, p.SPI, seq)
		aad = x[:]
	}
	c.Seal(aad, whole[headerLen:], seq)
	return packet.From(whole)
}

// Shows: IKE-9 (dummy packets, TFC padding, padding check).
func TestOpenLooksAtTheTrailer(t *testing.T) {
	_, pi := parameters(suite.AESGCM128, false)
	ip := ping(client, server, 6).Bytes()
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for i, c := range []struct {
		name string
		text []byte
		want packet.DropReason
	}{
		{"no padding", join(ip, []byte{0, 4}), packet.NotDropped},
		{"long padding", join(ip, []byte{1, 2, 3, 4, 5, 5, 4}), packet.NotDropped},
		{"TFC padding", join(ip, make([]byte, 100), []byte{0, 4}), packet.NotDropped},
		{"dummy", join([]byte("anything"), []byte{0, 59}), packet.DropDummy},
		{"dummy, empty", []byte{0, 59}, packet.DropDummy},
		{"wrong padding", join(ip, []byte{1, 3, 2, 4}), packet.DropMalformed},
		{"padding longer than the packet", join(ip, []byte{255, 4}), packet.DropMalformed},
		{"empty", []byte{0, 4}, packet.DropMalformed},
		{"cut packet", join(ip[:len(ip)-1], []byte{0, 4}), packet.DropMalformed},
		{"IPv6", join(ip, []byte{0, 41}), packet.DropUnsupported},
		{"transport mode", join(ip, []byte{0, 6}), packet.DropUnsupported},
	} {
		in, err := NewInbound(pi)
		if err != nil {
			t.Fatal(err)
		}
		b := sealRaw(t, pi, uint64(i+1), c.text)
		if r := in.Open(b); r != c.want {
			t.Errorf("%s: %v, want %v", c.name, r, c.want)
		}
		if c.want == packet.NotDropped && !bytes.Equal(b.Bytes(), ip) {
			t.Errorf("%s: %x, want %x", c.name, b.Bytes(), ip)
		}
	}
}

// Shows: IKE-9 (sequence numbers never wrap; lifetime in octets).
func TestOutboundStopsAtItsLimits(t *testing.T) {
	var drops packet.Drops
	o, _ := pair(t, suite.AESGCM128, false, &drops)
	o.sequence.Store(1<<32 - 3)
	batch := packet.GetBatch()
	for range 5 {
		batch.Append(ping(client, server, 1))
	}
	if !o.Spent() {
		t.Error("with two sequence numbers left the SA is not to be rekeyed")
	}
	o.Apply(batch)
	if batch.Len() != 2 || drops.Of(packet.DropSAExhausted) != 3 {
		t.Fatalf("%d packets sealed, drops %v", batch.Len(), drops.Snapshot())
	}
	if got := binary.BigEndian.Uint32(batch.Bufs[1].Bytes()[4:]); got != 1<<32-1 {
		t.Errorf("the last sequence number is %d", got)
	}
	batch.Release()
	if p := seal(o, ping(client, server, 1)); p != nil {
		t.Errorf("sealed past the end: %x", p.Bytes())
	}
	po, pi := parameters(suite.AESGCM128, false)
	po.MaxBytes, pi.MaxBytes = 100, 100
	o, err := NewOutbound(po, &drops)
	if err != nil {
		t.Fatal(err)
	}
	in, err := NewInbound(pi)
	if err != nil {
		t.Fatal(err)
	}
	first := seal(o, ping(client, server, 100))
	if first == nil || in.Open(first) != packet.NotDropped || !o.Spent() {
		t.Fatal("the first packet does not pass")
	}
	if p := seal(o, ping(client, server, 1)); p != nil {
		t.Error("sealed past the lifetime in octets")
	}
	if r := in.Open(sealRaw(t, pi, 2, append(ping(client, server, 0).Bytes(), 0, 4))); r != packet.DropSAExhausted {
		t.Errorf("opened past the lifetime in octets: %v", r)
	}
}

// Shows: IKE-9 (lifetimes in bytes). Both halves say once each that the soft and the hard lifetime are over, in octets and in
// packets, and nothing passes beyond the hard one.
func TestLifeOver(t *testing.T) {
	for name, set := range map[string]func(*Parameters){
		"packets":         func(p *Parameters) { p.RekeyPackets, p.MaxPackets = 4, 6 },
		"octets":          func(p *Parameters) { p.RekeyBytes, p.MaxBytes = 4*60, 6*60 },
		"octets, no soft": func(p *Parameters) { p.MaxBytes = 6 * 60 },
	} {
		t.Run(name, func(t *testing.T) {
			var drops packet.Drops
			po, pi := parameters(suite.AESGCM256, true)
			set(&po)
			set(&pi)
			o, err := NewOutbound(po, &drops)
			if err != nil {
				t.Fatal(err)
			}
			in, err := NewInbound(pi)
			if err != nil {
				t.Fatal(err)
			}
			var toldOut, toldIn []int
			passed := 0
			for i := 1; i <= 10; i++ {
				if p := seal(o, ping(client, server, 40)); p != nil {
					if in.Open(p) == packet.NotDropped {
						passed++
					}
					p.Release()
				}
				if o.LifeOver() {
					toldOut = append(toldOut, i)
				}
				if in.LifeOver() {
					toldIn = append(toldIn, i)
				}
			}
			want := []int{4, 6}
			if name == "octets, no soft" {
				want = []int{5, 6}
			}
			if passed != 6 || !slices.Equal(toldOut, want) || !slices.Equal(toldIn, want) || !o.Exhausted() || !in.Exhausted() {
				t.Errorf("%d packets passed, told at %v and %v, want 6 and %v", passed, toldOut, toldIn, want)
			}
		})
	}
}

func TestParametersAreChecked(t *testing.T) {
	po, _ := parameters(suite.AESGCM128, false)
	for _, spi := range []uint32{0, 1, 255} {
		po.SPI = spi
		if _, err := NewOutbound(po, nil); !errors.Is(err, ErrSPI) {
			t.Errorf("outbound SPI %d: %v", spi, err)
		}
		if _, err := NewInbound(po); !errors.Is(err, ErrSPI) {
			t.Errorf("inbound SPI %d: %v", spi, err)
		}
	}
	po.SPI, po.Key = MinSPI, po.Key[1:]
	if _, err := NewInbound(po); !errors.Is(err, suite.ErrKeyLength) {
		t.Errorf("short key: %v", err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format, po); strings.Contains(text, hex.EncodeToString(po.Key[:4])) || strings.Contains(text, "7 14 21") {
			t.Errorf("%s shows the key: %s", format, text)
		}
	}
	po.Wipe()
	if !bytes.Equal(po.Key, make([]byte, len(po.Key))) {
		t.Error("the key is not wiped")
	}
}

// RFC 6040 Figure 4, and RFC 4301 §5.1.2.1 for the outer header.
func TestTOSOctet(t *testing.T) {
	const drop = 0xff
	want := [4][4]uint8{ // by inner, by outer: Not-ECT, ECT(1), ECT(0), CE
		0b00: {0, 0, 0, drop},
		0b10: {0b10, 0b01, 0b10, 0b11},
		0b01: {0b01, 0b01, 0b01, 0b11},
		0b11: {0b11, 0b11, 0b11, 0b11},
	}
	for inner := range uint8(4) {
		for outer := range uint8(4) {
			o, in := pair(t, suite.AESGCM128, false, nil)
			p := ping(client, server, 10)
			packet.IPv4(p.Bytes()).SetTOS(0xb8 | inner)
			p = seal(o, p)
			if p.TOS != 0xb8|inner {
				t.Errorf("outer TOS %#x for inner %#x", p.TOS, 0xb8|inner)
			}
			p.TOS = outer
			r := in.Open(p)
			if w := want[inner][outer]; w == drop {
				if r != packet.DropPolicy {
					t.Errorf("inner %02b, outer %02b: %v", inner, outer, r)
				}
			} else if ip := packet.IPv4(p.Bytes()); r != packet.NotDropped || ip.TOS() != 0xb8|w || !ip.ChecksumOK() {
				t.Errorf("inner %02b, outer %02b: %v, TOS %#x, want ECN %02b", inner, outer, r, ip.TOS(), w)
			}
		}
	}
}

func TestTableOpensBySPI(t *testing.T) {
	var drops packet.Drops
	var table Table
	o, in := pair(t, suite.AESGCM128, false, &drops)
	if table.Lookup(in.SPI()) != nil || table.Remove(1234) != nil {
		t.Error("the empty table is not empty")
	}
	if !table.Add(in) || table.Add(in) || table.Len() != 1 {
		t.Error("adding is wrong")
	}
	batch := packet.GetBatch()
	batch.Append(seal(o, ping(client, server, 1)))
	batch.Append(packet.From(make([]byte, 7)))
	batch.Append(packet.From(make([]byte, 100)))
	batch.Append(seal(o, ping(client, server, 2)))
	table.Open(batch, &drops)
	if batch.Len() != 2 || batch.Bufs[1].Len() != 22 || drops.Of(packet.DropUnknownSPI) != 1 || drops.Of(packet.DropMalformed) != 1 {
		t.Errorf("%d packets, drops %v", batch.Len(), drops.Snapshot())
	}
	batch.Release()
	if table.Remove(in.SPI()) != in || table.Lookup(in.SPI()) != nil {
		t.Error("removing is wrong")
	}
}

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		payload string
		want    Kind
	}{
		{"", KindInvalid}, {"ff", KindKeepalive}, {"00", KindInvalid}, {"ffff", KindInvalid}, {"00000000", KindInvalid},
		{"0000000001", KindIKE}, {"0000010001", KindESP}, {"ffffffffff", KindESP},
	} {
		if got := Classify(unhex(t, c.payload)); got != c.want {
			t.Errorf("%q is %d, want %d", c.payload, got, c.want)
		}
	}
}
