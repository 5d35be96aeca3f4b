package radius

import (
	"fmt"

	codec "layeh.com/radius"

	"mipvpn/tun/link"
)

const (
	attrCHAPPassword  codec.Type = 3
	attrCHAPChallenge codec.Type = 60
	// chapResponse is the length of a CHAP response in octets (RFC 2865 §5.3).
	chapResponse = 16
)

// CHAP is a user's answer to a challenge (RFC 2865 §5.3, §5.40): Response is the MD5 of Identifier, the user's secret and Challenge.
type CHAP struct {
	Identifier byte
	// Challenge has 1 to 253 octets, Response 16.
	Challenge, Response []byte
}

// Authenticate has a server check a user's answer to a challenge. station is as in Open. Accepted or Failed follows, with the ID that is
// returned; their messages have no meaning. Errors: ErrTooLong, ErrBusy.
func (c *Client) Authenticate(now link.Instant, user, station string, answer CHAP) (ID, error) {
	if len(answer.Challenge) == 0 || len(answer.Challenge) > maxValue || len(answer.Response) != chapResponse {
		return 0, fmt.Errorf("%w: want a challenge of 1 to %d octets and a response of %d, found %d and %d", ErrTooLong, maxValue, chapResponse, len(answer.Challenge), len(answer.Response))
	}
	id, err := c.Open(user, station)
	if err != nil {
		return 0, err
	}
	t := c.talks[id]
	t.chap = true
	p, err := c.base(codec.CodeAccessRequest)
	if err != nil {
		c.end(t)
		return 0, err
	}
	add(p, attrUserName, []byte(user))
	addInteger(p, attrServiceType, serviceFramed)
	if station != "" {
		add(p, attrCallingStationID, []byte(station))
	}
	add(p, attrCHAPPassword, append([]byte{answer.Identifier}, answer.Response...))
	add(p, attrCHAPChallenge, answer.Challenge)
	r := &request{id: id, packet: p, talk: t}
	if err := c.begin(now, r, choose(now, c.access)); err != nil {
		c.end(t)
		return 0, err
	}
	t.pending = r
	return id, nil
}
