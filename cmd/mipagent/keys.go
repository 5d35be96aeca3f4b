package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"mipvpn/client/config"
	"mipvpn/mipv4/auth"
)

// readSecret reads a secret file, which only its owner may read. The caller clears it.
func (c *configuration) readSecret(path string) ([]byte, error) {
	if path == "" {
		return nil, errors.New("no key file is named")
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(c.dir, path)
	}
	return config.ReadSecretFile(path)
}

// security makes the security association of a table. The key file holds hexadecimal digits, white space ignored.
func (c *configuration) security(a association) (*auth.SecurityAssociation, error) {
	algorithm, err := auth.ParseAlgorithm(orDefault(a.Algorithm, auth.HMACMD5.String()))
	if err != nil {
		return nil, err
	}
	text, err := c.readSecret(a.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("key_file of SPI %d: %w", a.SPI, err)
	}
	defer clear(text)
	digits := make([]byte, 0, len(text))
	defer func() { clear(digits[:cap(digits)]) }()
	for _, d := range text {
		if !strings.ContainsRune(" \t\r\n", rune(d)) {
			digits = append(digits, d)
		}
	}
	key := make(auth.Key, hex.DecodedLen(len(digits)))
	defer clear(key)
	if _, err := hex.Decode(key, digits); err != nil {
		return nil, fmt.Errorf("key_file %s: expected an even number of hexadecimal digits and nothing else", a.KeyFile)
	}
	return auth.New(auth.Parameters{SPI: a.SPI, Algorithm: algorithm, Key: key, ReplayProtection: a.replay})
}
