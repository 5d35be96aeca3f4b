package config

import (
	"fmt"
	"io"
	"os"
	"strings"

	"mipvpn/client/permission"
)

// maxSecret is the greatest length of a secret file in octets.
const maxSecret = 4096

// ReadSecretFile reads a file that holds a secret, or a credential (ReadCredential) where the path begins with SourceCredential. A file
// must be a regular one that its owner alone may read or write (mode 0600 or less; on Windows by its access control list); the error
// wraps permission.ErrOthers otherwise. The caller clears the octets.
func ReadSecretFile(path string) ([]byte, error) {
	if name, is := strings.CutPrefix(path, SourceCredential); is {
		return ReadCredential(name)
	}
	return readOwn(path, maxSecret)
}

// maxPrivate is the greatest length of a file with a private key, and perhaps certificates, in octets.
const maxPrivate = 256 << 10

// ReadPrivateFile is ReadSecretFile for a private key, with which certificates may be.
func ReadPrivateFile(path string) ([]byte, error) { return readOwn(path, maxPrivate) }

func readOwn(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if err := permission.Private(f); err != nil {
		return nil, err
	}
	return readMost(f, path, most)
}

// readBounded reads a file of at most that many octets.
func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readMost(f, path, most)
}

func readMost(f io.Reader, path string, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > most {
		clear(data)
		return nil, fmt.Errorf("%s is longer than %d octets", path, most)
	}
	return data, nil
}
