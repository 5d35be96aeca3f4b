package ike

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/suite"
)

// times returns a filter that loses the first n datagrams whose description has this prefix.
func times(n map[string]int) func(flight) bool {
	return func(f flight) bool {
		for prefix, left := range n {
			if left > 0 && strings.HasPrefix(f.text, prefix) {
				n[prefix]--
				return true
			}
		}
		return false
	}
}

// Shows: IKE-5. RFC 7296 §2.25.1 and §2.25.2: while the IKE SA is rekeyed, child SAs are not, and the other way round; both
// ends say TEMPORARY_FAILURE, and both try again.
func TestIKEAndChildRekeyCross(t *testing.T) {
	p := established(t, 200)
	begin(t, p, commands[1], commands[0])
	p.driveFor(time.Second)
	want := []string{
		"A CREATE_CHILD_SA request 2: SA Nonce KE",
		"B CREATE_CHILD_SA request 0: N(REKEY_SA) SA Nonce KE TSi TSr",
		"B CREATE_CHILD_SA response 2: N(TEMPORARY_FAILURE)",
		"A CREATE_CHILD_SA response 0: N(TEMPORARY_FAILURE)",
	}
	if !slices.Equal(p.log, want) {
		t.Errorf("%s", p.trace())
	}
	p.drive()
	p.agree(1)
	assertRekeyed(t, p, commands[1], commands[0])
}

// Shows: IKE-5. A has rekeyed the IKE SA before B's own request comes through: A says TEMPORARY_FAILURE, and B carries on
// with A's SA (RFC 7296 §2.8.2).
func TestIKERekeyLateRequest(t *testing.T) {
	p := established(t, 201)
	begin(t, p, commands[1], commands[1])
	p.lose = times(map[string]int{"B CREATE_CHILD_SA request": 1, "A INFORMATIONAL request": 3})
	p.drive()
	p.agree(1)
	if !strings.Contains(p.trace(), "A CREATE_CHILD_SA response 0: N(TEMPORARY_FAILURE)") {
		t.Errorf("another course than the one to be tested:\n%s", p.trace())
	}
	for _, e := range []*end{p.a, p.b} {
		if n := count[IKERekeyed](e.events); n != 1 {
			t.Errorf("%s: %d rekeyings\n%s", e.name, n, p.trace())
		}
	}
}

// The same, and neither B's request nor A's Delete ever comes through: both ends find to A's SA by their own timers.
func TestIKERekeyNothingComesThrough(t *testing.T) {
	p := established(t, 202)
	begin(t, p, commands[1], commands[1])
	p.lose = times(map[string]int{"B CREATE_CHILD_SA request": 1000, "A INFORMATIONAL request 3: D(IKE)": 1000, "B INFORMATIONAL request": 1000})
	p.drive()
	p.agree(1)
	if !p.a.m.current.initiator {
		t.Errorf("A's SA must have survived:\n%s", p.trace())
	}
}

// The end that has rekeyed never deletes the old IKE SA: the other does, in bounded time.
func TestOldIKESANeverDeleted(t *testing.T) {
	p := established(t, 203)
	p.lose = times(map[string]int{"A INFORMATIONAL request 3: D(IKE)": 1000})
	if err := p.a.m.RekeyIKE(p.now); err != nil {
		t.Fatal(err)
	}
	p.drain()
	p.driveFor(30 * time.Second)
	if n := len(p.b.m.sas); n != 2 {
		t.Errorf("B has %d IKE SAs, want the old one too", n)
	}
	p.drive()
	p.agree(1)
}

// What waits behind a rekeying of the IKE SA is done on the new one.
func TestQueueMovesToNewSA(t *testing.T) {
	p := established(t, 204)
	if err := errors.Join(p.a.m.RekeyIKE(p.now), p.a.m.RekeyChild(p.now, p.a.m.children[0].id)); err != nil {
		t.Fatal(err)
	}
	p.drain()
	p.driveFor(time.Second)
	want := []string{
		"A CREATE_CHILD_SA request 2: SA Nonce KE",
		"B CREATE_CHILD_SA response 2: SA Nonce KE",
		"A INFORMATIONAL request 3: D(IKE)",
		"A CREATE_CHILD_SA request 0: N(REKEY_SA) SA Nonce KE TSi TSr", // message IDs begin anew (RFC 7296 §2.2)
		"B INFORMATIONAL response 3:",
		"B CREATE_CHILD_SA response 0: SA Nonce KE TSi TSr",
		"A INFORMATIONAL request 1: D(ESP)",
		"B INFORMATIONAL response 1: D(ESP)",
	}
	if !slices.Equal(p.log, want) {
		t.Errorf("%s", p.trace())
	}
	p.drive()
	p.agree(1)
}

// The responder of an IKE rekeying holds its requests back until the other end is known to have the new SA.
func TestHeldBack(t *testing.T) {
	p := established(t, 205)
	if err := p.a.m.RekeyIKE(p.now); err != nil {
		t.Fatal(err)
	}
	p.drain()
	p.next() // B answers and has the new SA
	if err := p.b.m.RekeyChild(p.now, p.b.m.children[0].id); err != nil {
		t.Fatal(err)
	}
	p.drain()
	if len(p.queue) != 1 || !strings.HasPrefix(p.queue[0].text, "B CREATE_CHILD_SA response 2") {
		t.Fatalf("under way: %v", p.queue)
	}
	p.driveFor(time.Second)
	p.drive()
	p.agree(1)
	assertRekeyed(t, p, commands[1], commands[0])
	for _, f := range p.seen {
		if f.from == p.b && f.text == "B CREATE_CHILD_SA request 0: N(REKEY_SA) SA Nonce KE TSi TSr" {
			return
		}
	}
	t.Errorf("B's rekeying did not use the new SA:\n%s", p.trace())
}

// A rekeying that ends narrower than before is not taken (RFC 7296 §2.9.2).
func TestNarrowerRekey(t *testing.T) {
	p := established(t, 206)
	p.lax = true
	narrower := []esp.Selector{esp.PrefixSelector(netip.MustParsePrefix("10.0.1.0/24"))}
	p.policy.localSide, p.b.m.children[0].local = narrower, narrower // B answers as one that does not know the rule
	if err := p.a.m.RekeyChild(p.now, p.a.m.children[0].id); err != nil {
		t.Fatal(err)
	}
	p.drain()
	p.driveFor(time.Second)
	ev, ok := find[ChildFailed](p.a.events)
	if !ok || !errors.Is(ev.Err, ErrInvalidAnswer) || len(p.a.children) != 1 {
		t.Errorf("events %+v\n%s", p.a.events, p.trace())
	}
	if n := len(p.b.children); n != 1 {
		t.Errorf("B has %d child SAs: what it made was not deleted\n%s", n, p.trace())
	}
}

// An end behind a NAT does not follow its peer's address (RFC 7296 §2.23).
func TestNoFollowingBehindNAT(t *testing.T) {
	p := established(t, 207)
	p.a.m.nat = NAT{Local: true, Remote: true}
	if err := p.b.m.CheckLiveness(p.now); err != nil {
		t.Fatal(err)
	}
	p.drain()
	f := p.queue[0]
	f.Local = netip.MustParseAddrPort("203.0.113.66:4500")
	p.queue = nil
	if err := p.deliver(f); err != nil {
		t.Fatal(err)
	}
	if _, ok := find[EndpointChanged](p.a.events); ok || p.a.m.remote.Addr() != gatewayAddr {
		t.Errorf("followed to %v", p.a.m.remote)
	}
	if len(p.queue) != 1 || p.queue[0].Remote != f.Local {
		t.Errorf("the answer goes where the request came from (RFC 7296 §2.11): %v", p.queue)
	}
}

// Keys computed apart from this package, with Python's hmac by the formulas of RFC 7296 §2.13 to §2.18: both ends of our own
// would agree on wrong ones too.
func TestKeyDerivation(t *testing.T) {
	seq := func(start byte, n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = start + byte(i)
		}
		return b
	}
	ni, nr, shared := seq(0x10, 32), seq(0x40, 32), seq(0x80, 32)
	s := ikeSuite{encryption: suite.AESGCM256, prf: suite.PRFHMACSHA256, group: suite.GroupCurve25519}
	k, err := deriveKeys(s, skeyseed(s.prf, ni, nr, shared), ni, nr, 0x0102030405060708, 0x1112131415161718)
	if err != nil {
		t.Fatal(err)
	}
	sealed := make([]byte, 8+4+16)
	k.fromInitiator.Seal([]byte("aad"), sealed, 1)
	sealedR := make([]byte, 8+4+16)
	k.fromResponder.Seal([]byte("aad"), sealedR, 1)
	toR, toI := k.childKeys(suite.AESGCM128, nil, ni, nr)
	pfsR, pfsI := k.childKeys(suite.AESGCM128, shared, ni, nr)
	eiCipher, err := suite.AESGCM256.NewCipher(goldenKeys["ei"])
	if err != nil {
		t.Fatal(err)
	}
	erCipher, err := suite.AESGCM256.NewCipher(goldenKeys["er"])
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][]byte{
		"d": k.d, "pi": k.pi, "pr": k.pr, "child to responder": toR, "child to initiator": toI,
		"PFS child to responder": pfsR, "PFS child to initiator": pfsI,
		"successor's SKEYSEED": k.successorSeed(shared, nr, ni),
		"AUTH":                 k.sharedKeyAuth([]byte("secret"), (&firstExchange{request: []byte("message"), nr: nr}).signedOctets(k, true, mustID("a.example"))),
	} {
		if want := goldenKeys[name]; !bytes.Equal(got, want) || len(want) == 0 {
			t.Errorf("%s: %x, want %x", name, got, want)
		}
	}
	if _, err := eiCipher.Open([]byte("aad"), sealed); err != nil {
		t.Errorf("SK_ei: %v", err)
	}
	if _, err := erCipher.Open([]byte("aad"), sealedR); err != nil {
		t.Errorf("SK_er: %v", err)
	}
	k.wipe()
	if !bytes.Equal(append(append(k.d, k.pi...), k.pr...), make([]byte, 96)) || k.fromInitiator != nil {
		t.Error("not wiped")
	}
}
