package gateway

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"

	"mipvpn/ipsec/ike/message"
)

const (
	maxCrashSecrets = 4  // RFC 6290 §4.5
	minCrashSecret  = 32 // §5.1
)

// crashToken returns the token of the IKE SA with these SPIs by a secret (RFC 6290 §5.1): HMAC-SHA-256 of both SPIs in network
// order.
func crashToken(secret []byte, spiI, spiR uint64) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, spiI), spiR))
	return h.Sum(nil)
}

// lost returns what proves to the peer that the IKE SA of the header, whose SPI nobody here has, is lost: INVALID_IKE_SPI, and
// tokens. It has none for an IKE SA that is there from the other side, whose token a forger could get out of us by turning the
// initiator flag (RFC 6290 §9.2).
func (g *Gateway) lost(h message.Header) []message.Payload {
	out := []message.Payload{message.Notify{Message: message.InvalidIKESPI}}
	if g.bySPI[spiKey{spi: h.ResponderSPI}] != nil || g.bySPI[spiKey{spi: h.InitiatorSPI, initiator: true}] != nil {
		return out
	}
	for _, secret := range g.cfg.CrashSecrets {
		out = append(out, message.Notify{Protocol: message.ProtocolIKE, Message: message.QCDToken, Data: crashToken(secret, h.InitiatorSPI, h.ResponderSPI)})
	}
	return out
}
