package radius

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"

	codec "layeh.com/radius"

	"mipvpn/tun/link"
)

// Status is an Acct-Status-Type (RFC 2866 §5.1).
type Status uint32

// The kinds of records.
const (
	Start   Status = 1
	Stop    Status = 2
	Interim Status = 3
)

// Cause is an Acct-Terminate-Cause (RFC 2866 §5.10).
type Cause uint32

// The causes that a gateway has.
const (
	UserRequest    Cause = 1
	LostCarrier    Cause = 2
	IdleTimeout    Cause = 4
	SessionTimeout Cause = 5
	AdminReset     Cause = 6
	AdminReboot    Cause = 7
	NASError       Cause = 9
)

// Record is what is accounted (RFC 2866).
type Record struct {
	Status Status
	// Session names the session, the same in all its records and in no other's.
	Session string
	// User is the user's name, Station the outer address, Address the inner one (the zero Addr to leave it out).
	User, Station string
	Address       netip.Addr
	// Class is what the server gave with its Access-Accept.
	Class [][]byte
	// Time is how long the session has lasted; the counters are the user's: In is what came from the user. They are sent with
	// Stop and Interim.
	Time                                       time.Duration
	InOctets, OutOctets, InPackets, OutPackets uint64
	// Cause is why the session ended, for Stop.
	Cause Cause
}

// Account sends a record to a server that takes it; Accounted tells how that went. Errors: ErrBusy, ErrTooLong, ErrUnknown
// when no server takes records.
func (c *Client) Account(now link.Instant, r Record) (ID, error) {
	if len(c.account) == 0 {
		return 0, fmt.Errorf("%w: no server is given that takes records", ErrUnknown)
	}
	for _, s := range []string{r.User, r.Session, r.Station} {
		if len(s) > maxValue {
			return 0, fmt.Errorf("%w: want names of at most %d octets, found %d", ErrTooLong, maxValue, len(s))
		}
	}
	p, err := c.base(codec.CodeAccountingRequest)
	if err != nil {
		return 0, err
	}
	addInteger(p, attrAcctStatusType, uint32(r.Status))
	add(p, attrAcctSessionID, []byte(r.Session))
	if r.User != "" {
		add(p, attrUserName, []byte(r.User))
	}
	if r.Station != "" {
		add(p, attrCallingStationID, []byte(r.Station))
	}
	if a := r.Address.Unmap(); a.Is4() {
		add(p, attrFramedIPAddress, a.AsSlice())
	}
	for i, class := range r.Class {
		if i < maxClass && len(class) <= maxValue {
			add(p, attrClass, class)
		}
	}
	if r.Status == Stop || r.Status == Interim {
		addInteger(p, attrAcctSessionTime, uint32(r.Time/time.Second))
		for _, n := range []struct {
			low, high codec.Type
			value     uint64
		}{{attrAcctInputOctets, attrAcctInputGigawords, r.InOctets}, {attrAcctOutputOctets, attrAcctOutputGigawords, r.OutOctets},
			{attrAcctInputPackets, 0, r.InPackets}, {attrAcctOutputPackets, 0, r.OutPackets}} {
			addInteger(p, n.low, uint32(n.value))
			if high := uint32(n.value >> 32); n.high != 0 && high != 0 {
				addInteger(p, n.high, high)
			}
		}
	}
	if r.Status == Stop && r.Cause != 0 {
		addInteger(p, attrAcctTerminateCause, uint32(r.Cause))
	}
	c.lastID++
	return c.lastID, c.begin(now, &request{id: c.lastID, packet: p}, choose(now, c.account))
}

// maxText bounds what is passed on of a server's text, in characters.
const maxText = 256

// plain returns a server's text fit to be shown.
func plain(b []byte) string {
	n := 0
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if n++; n > maxText || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, string(b)))
}
