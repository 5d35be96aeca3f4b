package radius

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	codec "layeh.com/radius"

	"mipvpn/tun/link"
)

// The values of Error-Cause (RFC 5176 §3.5) that are answered.
const (
	causeUnsupported     = 401 // Unsupported Attribute
	causeNotImplemented  = 405 // Unsupported Service
	causeSessionNotFound = 503 // Session Context Not Found
)

// maxAge is how far an Event-Timestamp may be from now (RFC 5176 §6.3 suggests 300 seconds).
const maxAge = 5 * time.Minute

// Target is which sessions a server wants ended: those that fit everything that is not zero. At least one thing is not.
type Target struct {
	User, Session, Station string
	Address                netip.Addr
}

// HandleRequest takes a datagram of a server that begins by itself (UDP port 3799, RFC 5176). end ends the sessions that
// fit and returns how many it found; it is called only for an authentic Disconnect-Request, which must have a
// Message-Authenticator, and an Event-Timestamp of these minutes, for else anybody could send it once more (RFC 5176 §6.3).
// The answer is to be sent back to where the datagram came from. A CoA-Request is refused. Errors: ErrUnknown for an address
// that is no server's, ErrForged, ErrMalformed; there is no answer then.
func (c *Client) HandleRequest(now link.Instant, from netip.AddrPort, payload []byte, end func(Target) int) ([]byte, error) {
	var secret []byte
	for _, f := range c.access {
		if f.to.Addr().Unmap() == from.Addr().Unmap() {
			secret = f.secret
			break
		}
	}
	if secret == nil {
		return nil, fmt.Errorf("%w: %v is no server's address", ErrUnknown, from.Addr())
	}
	p, b, err := parse(payload, secret)
	if err != nil {
		return nil, err
	}
	if p.Code != codec.CodeDisconnectRequest && p.Code != codec.CodeCoARequest {
		return nil, fmt.Errorf("%w: want a Disconnect-Request, found %v", ErrMalformed, p.Code)
	}
	if !codec.IsAuthenticRequest(b, secret) {
		return nil, fmt.Errorf("%w: the Request Authenticator is wrong: the secrets differ, or it is forged", ErrForged)
	}
	if err := checkMessageAuthenticator(b, make([]byte, md5.Size), secret, true); err != nil {
		return nil, err
	}
	if stamp, ok := p.Lookup(attrEventTimestamp); !ok || len(stamp) != 4 {
		return nil, fmt.Errorf("%w: no Event-Timestamp", ErrForged)
	} else if at := time.Unix(int64(binary.BigEndian.Uint32(stamp)), 0); now.Wall.Sub(at).Abs() > maxAge {
		return nil, fmt.Errorf("%w: the Event-Timestamp %v is more than %v from now; it is a repetition, or the clocks differ", ErrForged, at.UTC(), maxAge)
	}
	if p.Code == codec.CodeCoARequest {
		return answer(p, b, codec.CodeCoANAK, causeNotImplemented, secret)
	}
	t, ok := target(p, c.cfg.Identifier)
	switch {
	case !ok:
		return answer(p, b, codec.CodeDisconnectNAK, causeUnsupported, secret)
	case end(t) == 0:
		return answer(p, b, codec.CodeDisconnectNAK, causeSessionNotFound, secret)
	default:
		return answer(p, b, codec.CodeDisconnectACK, 0, secret)
	}
}

// target reads which sessions are meant; false when an attribute is not understood, for then too many would be ended.
func target(p *codec.Packet, own string) (t Target, ok bool) {
	for _, a := range p.Attributes {
		v := a.Attribute
		switch a.Type {
		case attrUserName:
			t.User = string(v)
		case attrAcctSessionID:
			t.Session = string(v)
		case attrCallingStationID:
			t.Station = string(v)
		case attrFramedIPAddress:
			var valid bool
			if t.Address, valid = netip.AddrFromSlice(v); !valid || !t.Address.Is4() {
				return t, false
			}
		case attrNASIdentifier:
			if string(v) != own {
				return t, false
			}
		case attrMessageAuthenticator, attrProxyState, attrNASIPAddress, attrNASIPv6Address, attrAcctTerminateCause, attrReplyMessage, attrEventTimestamp:
		default:
			return t, false
		}
	}
	return t, t != Target{}
}

// answer makes a response to a request of the server's.
func answer(p *codec.Packet, request []byte, code codec.Code, cause uint32, secret []byte) ([]byte, error) {
	r := p.Response(code)
	copy(r.Authenticator[:], request[authenticatorAt:headerSize])
	r.Attributes = codec.Attributes{{Type: attrMessageAuthenticator, Attribute: make([]byte, md5.Size)}}
	for _, a := range p.Attributes {
		if a.Type == attrProxyState {
			r.Attributes = append(r.Attributes, a)
		}
	}
	if cause != 0 {
		addInteger(r, attrErrorCause, cause)
	}
	b, err := r.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	h := hmac.New(md5.New, secret)
	h.Write(b)
	h.Sum(b[headerSize+2 : headerSize+2][:0])
	sum := md5.New()
	sum.Write(b)
	sum.Write(secret)
	sum.Sum(b[authenticatorAt:authenticatorAt][:0])
	return b, nil
}
