package message

import "encoding/binary"

// IntermediateOctets returns what RFC 9242 §3.3.2 has authenticated of an IKE_INTERMEDIATE message that is sent with header h
// and the payloads ps inside an Encrypted payload: IntAuth_A | IntAuth_P, that is the message without initialization vector,
// padding and integrity check value, not encrypted, with lengths that do not count those. It is the same however the message is
// fragmented. Errors: ErrTooLong.
func IntermediateOctets(h Header, ps []Payload) ([]byte, error) {
	content, err := AppendPayloads(nil, ps)
	if err != nil {
		return nil, err
	}
	h.NextPayload = TypeEncrypted
	return intermediateOctets(append(h.append(nil), byte(firstType(ps)), 0, 0, 0), content), nil
}

// intermediateOctets joins what stands in front of the initialization vector and the content of the Encrypted payload, with
// their lengths put right.
func intermediateOctets(front, content []byte) []byte {
	b := append(append(make([]byte, 0, len(front)+len(content)), front...), content...)
	binary.BigEndian.PutUint32(b[24:], uint32(len(b))) //nolint:gosec // a datagram or what was joined of several
	putLength(b, len(front)-genericLen)
	return b
}

// unfragmented makes the octets in front of the content, that of fragment 1, what they are in the whole message: the payload is
// an SK one.
func unfragmented(front []byte) []byte {
	next, at := 16, HeaderLen // where the type of the payload at the octet "at" stands
	for at < len(front)-genericLen {
		next, at = at, at+int(binary.BigEndian.Uint16(front[at+2:]))
	}
	front[next] = byte(TypeEncrypted)
	return front
}
