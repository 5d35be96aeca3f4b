package wire

import (
	"fmt"
	"time"
)

// Identification is the 64-bit Identification field (RFC 5944 §5.7). With timestamps it is a time in the format of the
// Network Time Protocol: seconds since 1900-01-01 in the high half, their fraction in units of 2^-32 s in the low half.
type Identification uint64

// ntpUnixOffset is the number of seconds from 1900-01-01 to 1970-01-01.
const ntpUnixOffset = 2208988800

// IdentificationAt returns the NTP timestamp of t, to the nanosecond. NTP's seconds wrap in 2036 and go on in era 1.
func IdentificationAt(t time.Time) Identification {
	s := uint32(t.Unix() + ntpUnixOffset)
	return Identification(uint64(s)<<32 | uint64(t.Nanosecond())<<32/1e9)
}

// High returns the upper half: the seconds of a timestamp, the home agent's nonce otherwise.
func (i Identification) High() uint32 { return uint32(i >> 32) }

// Low returns the lower half, which a reply copies from its request and by which they are matched (RFC 5944 §5.7).
func (i Identification) Low() uint32 { return uint32(i) }

// WithHigh returns i with the upper half of time: the Identification of a reply with code 133, by which the mobile node
// sets its clock (RFC 5944 §5.7.1).
func (i Identification) WithHigh(time Identification) Identification {
	return Identification(uint64(time.High())<<32 | uint64(i.Low()))
}

// Time returns the timestamp as a time in UTC. A value whose top bit is clear is of era 1, from 2036 on (RFC 4330 §3
// gives that rule); the other half of each era is out of reach.
func (i Identification) Time() time.Time {
	s := int64(i.High())
	if i.High()&0x80000000 == 0 {
		s += 1 << 32
	}
	ns := (uint64(i.Low())*1e9 + 1<<31) >> 32
	return time.Unix(s-ntpUnixOffset, int64(ns)).UTC()
}

// String returns the value in hexadecimal, halves apart.
func (i Identification) String() string { return fmt.Sprintf("%08x:%08x", i.High(), i.Low()) }
