package wire

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
)

// testVendor is the private enterprise number for documentation (RFC 5612).
const testVendor = 32473

var testDestination = netip.MustParseAddr("192.0.2.4")

// Shows: MEC-D (the octets of both extensions, as docs/zero-overhead.md has them)
func TestZeroOverheadOctets(t *testing.T) {
	for name, c := range map[string]struct {
		e    Extension
		want string
	}{
		"request": {ZeroOverheadRequest(testVendor, testDestination), "86 0c 0000 00007ed9 0001 c0000204"},
		"reply":   {ZeroOverheadReply(testVendor, testDestination), "26 00 000a 00007ed9 0001 c0000204"},
	} {
		b, err := c.e.Append(nil)
		if want := octets(t, c.want); err != nil || !bytes.Equal(b, want) || c.e.Len() != len(want) {
			t.Errorf("%s: %x (Len %d), %v, want %x", name, b, c.e.Len(), err, want)
		}
	}
	if d, ok := ParseZeroOverheadRequest(ZeroOverheadRequest(testVendor, testDestination), testVendor); !ok || d != testDestination {
		t.Errorf("request read back: %v, %v", d, ok)
	}
	if d, err := ParseZeroOverheadReply(ZeroOverheadReply(testVendor, testDestination), testVendor); err != nil || d != testDestination {
		t.Errorf("reply read back: %v, %v", d, err)
	}
}

// Shows: MEC-D (what is not exactly the extension is no request, and no confirmation)
func TestZeroOverheadMalformed(t *testing.T) {
	for name, e := range map[string]Extension{
		"another vendor":    VendorNormal{Vendor: 1, Type: ZeroOverheadType, Value: make([]byte, 4)}.Extension(),
		"another type":      VendorNormal{Vendor: testVendor, Type: 2, Value: make([]byte, 4)}.Extension(),
		"a short address":   VendorNormal{Vendor: testVendor, Type: ZeroOverheadType, Value: make([]byte, 3)}.Extension(),
		"a long address":    VendorNormal{Vendor: testVendor, Type: ZeroOverheadType, Value: make([]byte, 16)}.Extension(),
		"nothing":           {Type: ExtVendorNormal},
		"cut short":         {Type: ExtVendorNormal, Data: make([]byte, 7)},
		"a critical one":    ZeroOverheadReply(testVendor, testDestination),
		"another extension": TrustedNetworksConfigured(),
	} {
		if d, ok := ParseZeroOverheadRequest(e, testVendor); ok {
			t.Errorf("%s is a request for %v", name, d)
		}
	}
	for name, e := range map[string]Extension{
		"another vendor":  VendorCritical{Vendor: 1, Type: ZeroOverheadType, Value: make([]byte, 4)}.Extension(),
		"another type":    VendorCritical{Vendor: testVendor, Type: 2, Value: make([]byte, 4)}.Extension(),
		"a short address": VendorCritical{Vendor: testVendor, Type: ZeroOverheadType, Value: make([]byte, 3)}.Extension(),
		"nothing":         {Type: ExtVendorCritical},
		"cut short":       {Type: ExtVendorCritical, Data: make([]byte, 6)},
		"a normal one":    ZeroOverheadRequest(testVendor, testDestination),
	} {
		if d, err := ParseZeroOverheadReply(e, testVendor); !errors.Is(err, ErrExtension) {
			t.Errorf("%s: %v, %v", name, d, err)
		}
	}
}

// An extension of the long format stands among the others, keeps its reserved octet, and is measured by its own length field.
func TestVendorCriticalInMessage(t *testing.T) {
	p := append(octets(t, goldenReply)[:ReplyLen:ReplyLen], octets(t, "00 26 aa 0007 00007ed9 0001 ff 95 02 0000")...)
	m, err := ParseRegistrationReply(p)
	if err != nil || len(m.Extensions) != 3 || m.Extensions[1].Type != ExtVendorCritical || !IsTrustedNetworksConfigured(m.Extensions[2]) {
		t.Fatalf("%v, %v", m, err)
	}
	if b, err := m.Append(nil); err != nil || !bytes.Equal(b, p) || m.Offset(2) != len(p)-4 {
		t.Errorf("appended: %x, %v, offset %d", b, err, m.Offset(2))
	}
	for _, cut := range []int{1, 3, 5, 10} {
		if _, err := ParseRegistrationReply(p[:ReplyLen+1+cut]); !errors.Is(err, ErrTruncated) {
			t.Errorf("cut after %d octets of it: %v", cut, err)
		}
	}
	for _, n := range []int{0, maxLongData + 1} {
		if _, err := (Extension{Type: ExtVendorCritical, Data: make([]byte, n)}).Append(nil); !errors.Is(err, ErrExtension) {
			t.Errorf("%d octets of data: %v", n, err)
		}
	}
	if b, err := (Extension{Type: ExtVendorCritical, Data: make([]byte, maxLongData)}).Append(nil); err != nil || len(b) != maxLongData+3 {
		t.Errorf("the longest: %d octets, %v", len(b), err)
	}
}

// FuzzVendorExtensions: any data are a vendor extension or an error, and what was read is made into the same octets.
func FuzzVendorExtensions(f *testing.F) {
	f.Add(ZeroOverheadRequest(testVendor, testDestination).Data, true)
	f.Add(ZeroOverheadReply(testVendor, testDestination).Data, false)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, data []byte, normal bool) {
		e := Extension{Type: ExtVendorCritical, Data: data}
		skip := 1
		if normal {
			e.Type, skip = ExtVendorNormal, 2
		}
		var back Extension
		if v, err := ParseVendorNormal(e); err == nil {
			back = v.Extension()
		} else if v, err := ParseVendorCritical(e); err == nil {
			back = v.Extension()
		} else if len(data) >= skip+6 {
			t.Fatalf("%x is refused", data)
		}
		if back.Data != nil && (back.Type != e.Type || !bytes.Equal(back.Data[skip:], data[skip:])) {
			t.Fatalf("%x came back as %x", data, back.Data)
		}
		if d, ok := ParseZeroOverheadRequest(e, testVendor); ok && (!normal || !d.Is4() || len(data) != 12) {
			t.Fatalf("%x is a request for %v", data, d)
		}
		if d, err := ParseZeroOverheadReply(e, testVendor); err == nil && (normal || !d.Is4() || len(data) != 11) {
			t.Fatalf("%x confirms %v", data, d)
		}
	})
}
