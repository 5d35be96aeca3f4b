package gateway

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"time"

	"mipvpn/tun/link"
)

const (
	// cookieAge is how long a secret makes cookies; for as long again they are accepted.
	cookieAge = time.Minute
	// cookieLen is the length of a cookie in octets: the number of the secret, the difficulty of the puzzle that went with it, and
	// half a SHA-256 output.
	cookieLen = 1 + 1 + 16
)

// cookies makes and verifies COOKIE data without state for each peer (RFC 7296 §2.6):
//
//	cookie = number of the secret | bits | HMAC-SHA-256(secret, bits | IPi | SPIi | Ni)
//
// where bits is the difficulty of the puzzle that the initiator was given (RFC 8019 §7.1.1.3), 0 for none.
type cookies struct {
	rand    io.Reader
	secrets [2][sha256.Size]byte // by the lowest bit of the number
	number  uint8
	made    time.Duration // boot time of the current secret
	// spent are the cookies whose puzzles have been solved, by the lowest bit of their secret's number: a solution is good once.
	spent [2]map[[cookieLen]byte]bool
	ready bool
}

// rotate makes a new secret when the current one is old. After a long pause the one before is replaced too.
func (c *cookies) rotate(now link.Instant) error {
	if c.ready && now.Since(c.made) < cookieAge {
		return nil
	}
	rounds := 1
	if !c.ready || now.Since(c.made) >= 2*cookieAge {
		rounds = 2
	}
	for range rounds {
		var secret [sha256.Size]byte
		if _, err := io.ReadFull(c.rand, secret[:]); err != nil {
			return fmt.Errorf("gateway: secret of cookies: %w", err)
		}
		c.number++
		c.secrets[c.number&1], c.spent[c.number&1] = secret, nil
	}
	c.made, c.ready = now.Boot, true
	return nil
}

// make returns the cookie for a request, by the current secret.
func (c *cookies) make(now link.Instant, bits uint8, from netip.Addr, spi uint64, nonce []byte) ([]byte, error) {
	if err := c.rotate(now); err != nil {
		return nil, err
	}
	return c.of(c.number, bits, from, spi, nonce), nil
}

// valid reports whether the cookie is that of the request, by the current secret or the one before.
func (c *cookies) valid(now link.Instant, cookie []byte, from netip.Addr, spi uint64, nonce []byte) bool {
	if len(cookie) != cookieLen || c.rotate(now) != nil {
		return false
	}
	if cookie[0] != c.number && cookie[0] != c.number-1 {
		return false
	}
	return hmac.Equal(cookie, c.of(cookie[0], cookie[1], from, spi, nonce))
}

// spend takes a valid cookie out of use and reports whether it was in use.
func (c *cookies) spend(cookie []byte) bool {
	spent := &c.spent[cookie[0]&1]
	if *spent == nil {
		*spent = make(map[[cookieLen]byte]bool)
	}
	if (*spent)[[cookieLen]byte(cookie)] || len(*spent) == maxSpent {
		return false
	}
	(*spent)[[cookieLen]byte(cookie)] = true
	return true
}

func (c *cookies) of(number, bits uint8, from netip.Addr, spi uint64, nonce []byte) []byte {
	h := hmac.New(sha256.New, c.secrets[number&1][:])
	h.Write([]byte{bits})
	addr := from.As16()
	h.Write(addr[:])
	h.Write(binary.BigEndian.AppendUint64(nil, spi))
	h.Write(nonce)
	return append([]byte{number, bits}, h.Sum(nil)[:cookieLen-2]...)
}
