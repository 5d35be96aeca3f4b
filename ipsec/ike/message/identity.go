package message

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// IDType is an identification type number (RFC 7296 §3.5).
type IDType uint8

// The identification types of RFC 7296 §3.5.
const (
	IDIPv4Addr   IDType = 1
	IDFQDN       IDType = 2
	IDRFC822Addr IDType = 3
	IDIPv6Addr   IDType = 5
	IDDERASN1DN  IDType = 9
	IDDERASN1GN  IDType = 10
	IDKeyID      IDType = 11
)

// String returns the standard's name, or "ID type N".
func (t IDType) String() string {
	switch t {
	case IDIPv4Addr:
		return "ID_IPV4_ADDR"
	case IDFQDN:
		return "ID_FQDN"
	case IDRFC822Addr:
		return "ID_RFC822_ADDR"
	case IDIPv6Addr:
		return "ID_IPV6_ADDR"
	case IDDERASN1DN:
		return "ID_DER_ASN1_DN"
	case IDDERASN1GN:
		return "ID_DER_ASN1_GN"
	case IDKeyID:
		return "ID_KEY_ID"
	default:
		return "ID type " + strconv.Itoa(int(t))
	}
}

// Identity is an identity as an Identification payload carries it (RFC 7296 §3.5). It is comparable, so that policies
// can be looked up by it; the zero value is no identity. FQDN and RFC822 identities are compared octet by octet.
type Identity struct {
	Type IDType
	// Data is the Identification Data: an address in 4 or 16 octets, or the name.
	Data string
}

// NewIdentity makes an identity from its usual written form: an IP address, a name with an @ inside (RFC822), or
// otherwise a domain name; a leading @ forces a domain name. Errors: empty.
func NewIdentity(s string) (Identity, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		if a = a.Unmap(); a.Is4() {
			return Identity{IDIPv4Addr, string(a.AsSlice())}, nil
		}
		return Identity{IDIPv6Addr, string(a.AsSlice())}, nil
	}
	name := strings.TrimPrefix(s, "@")
	switch {
	case name == "":
		return Identity{}, fmt.Errorf("identity %q: want an address, a user@domain or a domain name, found nothing", s)
	case strings.Contains(name, "@"):
		return Identity{IDRFC822Addr, name}, nil
	default:
		return Identity{IDFQDN, name}, nil
	}
}

// IsZero tells whether it is no identity.
func (id Identity) IsZero() bool { return id == Identity{} }

// String returns the written form: the address or name, hex octets for other types, control characters quoted.
func (id Identity) String() string {
	switch id.Type {
	case IDIPv4Addr, IDIPv6Addr:
		if a, ok := netip.AddrFromSlice([]byte(id.Data)); ok {
			return a.String()
		}
	case IDFQDN, IDRFC822Addr:
		return strings.Trim(strconv.QuoteToASCII(id.Data), `"`)
	case IDDERASN1DN, IDDERASN1GN, IDKeyID:
	}
	if id.IsZero() {
		return "(none)"
	}
	return id.Type.String() + ":" + hex.EncodeToString([]byte(id.Data))
}

// Body returns the Identification payload without its generic header, which is what AUTH covers as RestOfInitIDPayload
// and RestOfRespIDPayload (RFC 7296 §2.15).
func (id Identity) Body() []byte { return append([]byte{byte(id.Type), 0, 0, 0}, id.Data...) }

// IDi is the Identification payload of the initiator. Its reserved octets are read as zero.
type IDi struct{ Identity }

// IDr is the Identification payload of the responder.
type IDr struct{ Identity }

// Type returns TypeIDi.
func (IDi) Type() PayloadType            { return TypeIDi }
func (p IDi) appendBody(b []byte) []byte { return append(b, p.Body()...) }

// Type returns TypeIDr.
func (IDr) Type() PayloadType            { return TypeIDr }
func (p IDr) appendBody(b []byte) []byte { return append(b, p.Body()...) }

func parseIdentity(t PayloadType, b []byte) (Identity, error) {
	if len(b) < 4 {
		return Identity{}, malformed(t, "ID Type", "want at least 4 octets, found %d", len(b))
	}
	id := Identity{Type: IDType(b[0]), Data: string(b[4:])}
	want := -1
	switch id.Type {
	case IDIPv4Addr:
		want = 4
	case IDIPv6Addr:
		want = 16
	case IDFQDN, IDRFC822Addr, IDDERASN1DN, IDDERASN1GN, IDKeyID:
	}
	if want >= 0 && len(id.Data) != want {
		return Identity{}, malformed(t, "Identification Data", "want %d octets for %s, found %d", want, id.Type, len(id.Data))
	}
	return id, nil
}
