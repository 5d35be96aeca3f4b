package radius

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	codec "layeh.com/radius"
)

// ErrForged tells that a datagram does not come from who has the secret, or was changed on its way.
var ErrForged = errors.New("radius: not authentic")

// ErrMalformed tells that a packet or an attribute is not formed as its specification says.
var ErrMalformed = errors.New("radius: malformed packet")

// The attributes in use, by RFC 2865, 2866, 2869, 3162 and 3579.
const (
	attrUserName             codec.Type = 1
	attrNASIPAddress         codec.Type = 4
	attrServiceType          codec.Type = 6
	attrFramedIPAddress      codec.Type = 8
	attrFilterID             codec.Type = 11
	attrFramedMTU            codec.Type = 12
	attrReplyMessage         codec.Type = 18
	attrState                codec.Type = 24
	attrClass                codec.Type = 25
	attrVendorSpecific       codec.Type = 26
	attrSessionTimeout       codec.Type = 27
	attrCallingStationID     codec.Type = 31
	attrNASIdentifier        codec.Type = 32
	attrProxyState           codec.Type = 33
	attrAcctStatusType       codec.Type = 40
	attrAcctInputOctets      codec.Type = 42
	attrAcctOutputOctets     codec.Type = 43
	attrAcctSessionID        codec.Type = 44
	attrAcctSessionTime      codec.Type = 46
	attrAcctInputPackets     codec.Type = 47
	attrAcctOutputPackets    codec.Type = 48
	attrAcctTerminateCause   codec.Type = 49
	attrAcctInputGigawords   codec.Type = 52
	attrAcctOutputGigawords  codec.Type = 53
	attrEventTimestamp       codec.Type = 55
	attrNASPortType          codec.Type = 61
	attrEAPMessage           codec.Type = 79
	attrMessageAuthenticator codec.Type = 80
	attrNASIPv6Address       codec.Type = 95
	attrErrorCause           codec.Type = 101
)

const (
	vendorMicrosoft = 311
	msMPPESendKey   = 16
	msMPPERecvKey   = 17
)

const (
	serviceFramed   = 2    // Service-Type Framed
	portVirtual     = 5    // NAS-Port-Type Virtual
	framedMTU       = 1400 // lets an EAP server cut its fragments so that answers fit into 4096 octets (RFC 3579 §2.4)
	headerSize      = 20
	authenticatorAt = 4
	mskSize         = 64
)

// add appends an attribute. Values are checked before; an overlong one would not be encoded.
func add(p *codec.Packet, t codec.Type, value []byte) { p.Add(t, codec.Attribute(value)) }

func addInteger(p *codec.Packet, t codec.Type, v uint32) { p.Add(t, codec.NewInteger(v)) }

// seal encodes a request: an Access-Request with its Message-Authenticator, which stands first (RFC 2869 §5.14), an
// Accounting-Request with the authenticator of RFC 2866 §3.
func seal(p *codec.Packet, secret []byte) ([]byte, error) {
	if p.Code != codec.CodeAccessRequest {
		p.Secret = secret
		b, err := p.Encode()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		return b, nil
	}
	p.Attributes = append(codec.Attributes{{Type: attrMessageAuthenticator, Attribute: make([]byte, md5.Size)}}, p.Attributes...)
	b, err := p.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	h := hmac.New(md5.New, secret)
	h.Write(b)
	h.Sum(b[headerSize+2 : headerSize+2][:0])
	return b, nil
}

// openResponse checks a response to a request and reads it. request is the request as it was sent. needed tells that the
// response must have a Message-Authenticator; one that is there is always checked.
func openResponse(b, request, secret []byte, needed bool) (*codec.Packet, error) {
	p, b, err := parse(b, secret)
	if err != nil {
		return nil, err
	}
	h := md5.New()
	h.Write(b[:authenticatorAt])
	h.Write(request[authenticatorAt:headerSize])
	h.Write(b[headerSize:])
	h.Write(secret)
	if !hmac.Equal(h.Sum(nil), b[authenticatorAt:headerSize]) {
		return nil, fmt.Errorf("%w: the Response Authenticator is wrong: the secrets differ, or it is forged", ErrForged)
	}
	if err := checkMessageAuthenticator(b, request[authenticatorAt:headerSize], secret, needed); err != nil {
		return nil, err
	}
	copy(p.Authenticator[:], request[authenticatorAt:headerSize]) // what keys are hidden with
	return p, nil
}

// parse reads a packet and cuts off what follows its length.
func parse(b, secret []byte) (*codec.Packet, []byte, error) {
	p, err := codec.Parse(b, secret)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return p, b[:binary.BigEndian.Uint16(b[2:])], nil
}

// checkMessageAuthenticator checks attribute 80 of a packet that has been parsed; authenticator stands in its header for that.
func checkMessageAuthenticator(b, authenticator, secret []byte, needed bool) error {
	copied := append([]byte(nil), b...)
	copy(copied[authenticatorAt:headerSize], authenticator)
	var found []byte
	for at := headerSize; at < len(b); at += int(b[at+1]) {
		if codec.Type(b[at]) != attrMessageAuthenticator {
			continue
		}
		if found != nil || int(b[at+1]) != 2+md5.Size {
			return fmt.Errorf("%w: Message-Authenticator: want one of %d octets", ErrMalformed, md5.Size)
		}
		found = b[at+2 : at+2+md5.Size]
		clear(copied[at+2 : at+2+md5.Size])
	}
	if found == nil {
		if needed {
			return fmt.Errorf("%w: no Message-Authenticator; have the server send one always (CVE-2024-3596)", ErrForged)
		}
		return nil
	}
	h := hmac.New(md5.New, secret)
	h.Write(copied)
	if !hmac.Equal(h.Sum(nil), found) {
		return fmt.Errorf("%w: the Message-Authenticator is wrong: the secrets differ, or it is forged", ErrForged)
	}
	return nil
}

// joined returns the values of all attributes of a type, one after the other.
func joined(p *codec.Packet, t codec.Type) (out []byte) {
	for _, a := range p.Attributes {
		if a.Type == t {
			out = append(out, a.Attribute...)
		}
	}
	return out
}

// key returns the master session key: what the server calls the keys to receive and to send with (RFC 2548 §2.4.2, §2.4.3),
// with zeros to 64 octets. It is nil when there are none.
func key(p *codec.Packet, secret []byte) ([]byte, error) {
	var receive, send []byte
	for _, a := range p.Attributes {
		if a.Type != attrVendorSpecific {
			continue
		}
		vendor, rest, err := codec.VendorSpecific(a.Attribute)
		if err != nil || vendor != vendorMicrosoft {
			continue
		}
		for len(rest) >= 2 && int(rest[1]) >= 2 && int(rest[1]) <= len(rest) {
			value := rest[2:rest[1]]
			if t := rest[0]; t == msMPPERecvKey || t == msMPPESendKey {
				k, _, err := codec.TunnelPassword(value, secret, p.Authenticator[:])
				if err != nil || len(k) > mskSize/2 {
					return nil, fmt.Errorf("%w: MS-MPPE key: want at most %d octets, found %d (%v)", ErrMalformed, mskSize/2, len(k), err)
				}
				if t == msMPPERecvKey {
					receive = k
				} else {
					send = k
				}
			}
			rest = rest[rest[1]:]
		}
	}
	if len(receive) == 0 || len(send) == 0 {
		return nil, nil
	}
	out := make([]byte, mskSize)
	n := copy(out, receive)
	copy(out[n:], send)
	clear(receive)
	clear(send)
	return out, nil
}

// User is what a server says of a user that it accepts. Zero values were not said.
type User struct {
	// Name is the name to account under, where it is another than the one that was asked about.
	Name string
	// Address is the inner address, Framed-IP-Address.
	Address netip.Addr
	// Filter is Filter-Id, which names a policy of the gateway.
	Filter string
	// Session is Session-Timeout: how long the session may last.
	Session time.Duration
	// Class are octet strings that accounting requests repeat.
	Class [][]byte
}

const maxClass = 8

func readUser(p *codec.Packet) User {
	var u User
	for _, a := range p.Attributes {
		v := a.Attribute
		switch a.Type {
		case attrUserName:
			u.Name = string(v)
		case attrFilterID:
			u.Filter = string(v)
		case attrFramedIPAddress:
			// 255.255.255.255 lets the user choose, 255.255.255.254 the gateway (RFC 2865 §5.8).
			if a4, ok := netip.AddrFromSlice(v); ok && a4.Is4() && a4.As4()[0] != 255 && !a4.IsUnspecified() {
				u.Address = a4
			}
		case attrSessionTimeout:
			if len(v) == 4 {
				u.Session = time.Duration(binary.BigEndian.Uint32(v)) * time.Second
			}
		case attrClass:
			if len(u.Class) < maxClass {
				u.Class = append(u.Class, append([]byte(nil), v...))
			}
		}
	}
	return u
}
