package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"mipvpn/client/config"
	"mipvpn/mipv4/auth"
)

// readSecret reads a secret file, which only its owner may read. The caller clears it.
func (c *configuration) readSecret(path string) ([]byte, error) { return readSecretIn(c.dir, path) }

// readSecretIn is readSecret for a path that is relative to dir.
func readSecretIn(dir, path string) ([]byte, error) {
	if path == "" {
		return nil, errors.New("no key file is named")
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	return config.ReadSecretFile(path)
}

// keyDigits are the hexadecimal digits of a key. They do not show in text.
type keyDigits string

// Format implements fmt.Formatter, so that no verb prints the digits.
func (k keyDigits) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "key of %d digits", len(k)) }

// security makes the security association of a table. The key file holds hexadecimal digits, white space ignored.
func (c *configuration) security(a association) (*auth.SecurityAssociation, error) {
	algorithm, err := auth.ParseAlgorithm(orDefault(a.Algorithm, auth.HMACMD5.String()))
	if err != nil {
		return nil, err
	}
	text, from := []byte(a.key), "key"
	if len(text) == 0 {
		if text, err = readSecretIn(orDefault(a.dir, c.dir), a.KeyFile); err != nil {
			return nil, fmt.Errorf("key_file of SPI %d: %w", a.SPI, err)
		}
		from = "key_file " + a.KeyFile
	}
	defer clear(text)
	digits := make([]byte, 0, len(text))
	defer func() { clear(digits[:cap(digits)]) }()
	for _, d := range text {
		if !strings.ContainsRune(" \t\r\n", rune(d)) {
			digits = append(digits, d)
		}
	}
	bare := bytes.TrimPrefix(digits, []byte("0x")) // as `mipvpn init` writes them
	key := make(auth.Key, hex.DecodedLen(len(bare)))
	defer clear(key)
	if _, err := hex.Decode(key, bare); err != nil {
		return nil, fmt.Errorf("%s: expected an even number of hexadecimal digits, perhaps behind 0x, and nothing else", from)
	}
	return auth.New(auth.Parameters{SPI: a.SPI, Algorithm: algorithm, Key: key, ReplayProtection: a.replay})
}
