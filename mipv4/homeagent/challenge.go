package homeagent

import "mipvpn/mipv4/wire"

// appendChallenge appends the Mobile-Foreign Challenge extension of the request to the reply, behind the mobile node's authentication,
// so that the foreign agent sees which request was answered (RFC 4721 §3.4). An empty one is skipped as if it were not known.
func appendChallenge(message []byte, q *request) []byte {
	i := q.rest.Index(wire.ExtMobileForeignChallenge)
	if i < 0 {
		return message
	}
	value, err := wire.ParseChallenge(q.rest[i])
	if err != nil {
		return message
	}
	return append(append(message, uint8(wire.ExtMobileForeignChallenge), uint8(len(value))), value...)
}
