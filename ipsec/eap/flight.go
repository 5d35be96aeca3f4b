package eap

import (
	"encoding/binary"
	"fmt"
)

// The flags of EAP-TLS and EAP-TTLS (RFC 5216 §3.1, RFC 5281 §9.1). The low three bits are the version of TTLS.
const (
	flagLength  = 0x80 // the total length of the flight follows, in four octets
	flagMore    = 0x40 // more fragments follow
	flagStart   = 0x20 // the server begins
	versionMask = 0x07
)

// maxFlight bounds what is put together of fragments: a handshake flight with long chains has some 20 KiB.
const maxFlight = 64 << 10

// fragment is the data of one EAP message of EAP-TLS or EAP-TTLS.
type fragment struct {
	more, start bool
	version     byte
	// total is the length of the whole flight, -1 when it is not said.
	total int
	data  []byte
}

// parseFragment reads a fragment; its data shares the memory of b.
func parseFragment(b []byte) (fragment, error) {
	if len(b) == 0 {
		return fragment{}, fmt.Errorf("%w: TLS in EAP: no flags", ErrMalformed)
	}
	f := fragment{more: b[0]&flagMore != 0, start: b[0]&flagStart != 0, version: b[0] & versionMask, total: -1, data: b[1:]}
	if b[0]&flagLength != 0 {
		if len(b) < 5 {
			return fragment{}, fmt.Errorf("%w: TLS in EAP: want a length of 4 octets, found %d", ErrMalformed, len(b)-1)
		}
		n := binary.BigEndian.Uint32(b[1:])
		if n > maxFlight {
			return fragment{}, fmt.Errorf("%w: TLS in EAP: want a flight of at most %d octets, found %d", ErrTooLong, maxFlight, n)
		}
		f.total, f.data = int(n), b[5:]
	}
	if len(f.data) > 0 && f.start {
		// RFC 5281 §9.2.3 lets a server put attributes into its start. There are none to be understood.
		f.data = nil
	}
	if f.more && len(f.data) == 0 {
		return fragment{}, fmt.Errorf("%w: TLS in EAP: an empty fragment, and more to follow", ErrMalformed)
	}
	if f.total >= 0 && len(f.data) > f.total {
		return fragment{}, fmt.Errorf("%w: TLS in EAP: want at most the %d octets of the flight, found %d", ErrMalformed, f.total, len(f.data))
	}
	return f, nil
}

// flights moves the flights of a TLS connection in as many EAP messages as they need.
type flights struct {
	// exchange is that of the peer or the server; success is EAP-Success in place of data.
	exchange func(data []byte) (next []byte, success bool, err error)
	size     int // of a fragment
}

// swap sends a flight, which may be empty, and returns the other end's next one.
func (f flights) swap(out []byte) (in []byte, success bool, err error) {
	flag := byte(flagLength | flagMore)
	for total := len(out); len(out) > f.size; flag = flagMore {
		head := []byte{flag}
		if flag&flagLength != 0 {
			head = binary.BigEndian.AppendUint32(head, uint32(total))
		}
		b, success, err := f.exchange(append(head, out[:f.size]...))
		if err != nil {
			return nil, false, err
		}
		if success {
			return nil, false, ErrEarlySuccess
		}
		if ack, err := parseFragment(b); err != nil || ack.start || ack.more || len(ack.data) > 0 {
			return nil, false, fmt.Errorf("%w: TLS in EAP: want the acknowledgement of a fragment", ErrUnexpected)
		}
		out = out[f.size:]
	}
	b, success, err := f.exchange(append([]byte{0}, out...))
	if err != nil || success {
		return nil, success, err
	}
	return f.collect(b)
}

// collect puts a flight together, acknowledging its fragments.
func (f flights) collect(b []byte) (in []byte, success bool, err error) {
	for total := -1; ; {
		part, err := parseFragment(b)
		switch {
		case err != nil:
			return nil, false, err
		case part.start:
			return nil, false, fmt.Errorf("%w: TLS in EAP: a start, where TLS has begun", ErrUnexpected)
		case total < 0:
			total = part.total
		case part.total >= 0 && part.total != total:
			return nil, false, fmt.Errorf("%w: TLS in EAP: the length of the flight was %d, now it is %d", ErrMalformed, total, part.total)
		}
		in = append(in, part.data...)
		switch {
		case len(in) > maxFlight:
			return nil, false, fmt.Errorf("%w: TLS in EAP: want a flight of at most %d octets", ErrTooLong, maxFlight)
		case !part.more && total >= 0 && len(in) != total:
			return nil, false, fmt.Errorf("%w: TLS in EAP: want a flight of %d octets, found %d", ErrMalformed, total, len(in))
		case !part.more:
			return in, false, nil
		}
		var success bool
		if b, success, err = f.exchange([]byte{0}); err != nil {
			return nil, false, err
		}
		if success {
			return nil, false, ErrEarlySuccess
		}
	}
}
