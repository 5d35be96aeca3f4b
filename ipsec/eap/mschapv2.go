package eap

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"mipvpn/ipsec/eap/mschap"
)

// The operation codes of EAP-MSCHAPv2 (draft-kamath-pppext-eap-mschapv2-02 §2).
const (
	opChallenge = 1
	opResponse  = 2
	opSuccess   = 3
	opFailure   = 4
	opChange    = 7
)

// The error codes of RFC 2759 §6.
const (
	errorRestrictedHours = 646
	errorDisabled        = 647
	errorExpired         = 648
	errorNoDialIn        = 649
	errorAuthentication  = 691
)

const (
	msHeader      = 4                                              // operation, MS-CHAPv2-ID, MS-Length
	responseBody  = mschap.ChallengeSize + 8 + mschap.ResponseSize // of a response, without flags
	responseValue = responseBody + 1                               // the Value of EAP, with flags
)

// msPacket is an EAP-MSCHAPv2 packet without its operation's own fields: an operation in one octet, an ID in one, the length
// of all in two, then the value. The last response of a conversation has the operation only.
type msPacket struct {
	op, id byte
	value  []byte
}

// parseMS reads a packet. MS-Length repeats the EAP length and is not looked at: deployed servers get it wrong.
func parseMS(b []byte) (msPacket, error) {
	switch {
	case len(b) == 1:
		return msPacket{op: b[0]}, nil
	case len(b) < msHeader:
		return msPacket{}, fmt.Errorf("%w: EAP-MSCHAPv2: want a header of %d octets, found %d", ErrMalformed, msHeader, len(b))
	}
	return msPacket{op: b[0], id: b[1], value: b[msHeader:]}, nil
}

func (p msPacket) marshal() []byte {
	b := binary.BigEndian.AppendUint16([]byte{p.op, p.id}, uint16(msHeader+len(p.value)))
	return append(b, p.value...)
}

// parseChallenge reads the value of a challenge: a size, the challenge, the server's name.
func parseChallenge(b []byte) (challenge [mschap.ChallengeSize]byte, err error) {
	if len(b) < 1+mschap.ChallengeSize || b[0] != mschap.ChallengeSize {
		return challenge, fmt.Errorf("%w: EAP-MSCHAPv2 challenge: want a value of %d octets in %d, found %d", ErrMalformed, mschap.ChallengeSize, 1+mschap.ChallengeSize, len(b))
	}
	return [mschap.ChallengeSize]byte(b[1:]), nil
}

// msResponse is what a peer's response says (RFC 2759 §4). EAP puts a size in front, TTLS an ID and flags.
type msResponse struct {
	peer     [mschap.ChallengeSize]byte
	response [mschap.ResponseSize]byte
}

// parseMSResponse reads the peer's challenge, eight reserved octets and the response.
func parseMSResponse(b []byte) (msResponse, error) {
	if len(b) < responseBody {
		return msResponse{}, fmt.Errorf("%w: MS-CHAPv2 response: want %d octets, found %d", ErrMalformed, responseBody, len(b))
	}
	return msResponse{peer: [mschap.ChallengeSize]byte(b), response: [mschap.ResponseSize]byte(b[mschap.ChallengeSize+8:])}, nil
}

func (r msResponse) append(b []byte) []byte {
	b = append(append(b, r.peer[:]...), make([]byte, 8)...)
	return append(b, r.response[:]...)
}

// msFailure is what a failure says: "E=691 R=1 C=... V=3 M=text" (RFC 2759 §6).
type msFailure struct {
	code      int
	retry     bool
	challenge *[mschap.ChallengeSize]byte
	text      string
}

// parseFailure reads the text of a failure. Unknown and broken parts are passed over, since it is a failure whatever it says.
func parseFailure(b []byte) msFailure {
	var f msFailure
	rest, text, _ := strings.Cut(strings.TrimRight(string(b), "\x00"), "M=")
	f.text = plain([]byte(text))
	for part := range strings.FieldsSeq(rest) {
		key, value, _ := strings.Cut(part, "=")
		switch key {
		case "E":
			f.code, _ = strconv.Atoi(value)
		case "R":
			f.retry = value == "1"
		case "C":
			if c, err := hex.DecodeString(value); err == nil && len(c) == mschap.ChallengeSize {
				f.challenge = (*[mschap.ChallengeSize]byte)(c)
			}
		}
	}
	return f
}

func (f msFailure) marshal() []byte {
	retry := 0
	if f.retry {
		retry = 1
	}
	return fmt.Appendf(nil, "E=%d R=%d C=%X V=3 M=%s", f.code, retry, f.challenge[:], f.text)
}

// err returns the failure as an error.
func (f msFailure) err() error {
	var err error
	switch f.code {
	case errorAuthentication:
		err = ErrPasswordWrong
	case errorExpired:
		err = ErrPasswordExpired
	case errorRestrictedHours, errorDisabled, errorNoDialIn:
		err = ErrAccount
	default:
		err = ErrRejected
	}
	if f.text != "" {
		return fmt.Errorf("%w (E=%d: %s)", err, f.code, f.text)
	}
	return fmt.Errorf("%w (E=%d)", err, f.code)
}

// msKey returns the MSK: the server's receive key, its send key (RFC 3079 §3.4), and zeros to 64 octets.
func msKey(password mschap.Hash, response [mschap.ResponseSize]byte) []byte {
	receive, send := mschap.Keys(password, response)
	msk := make([]byte, mskSize)
	copy(msk, receive[:])
	copy(msk[mschap.KeySize:], send[:])
	return msk
}

// mskSize is the size of a master session key in octets (RFC 3748 §7.10).
const mskSize = 64
