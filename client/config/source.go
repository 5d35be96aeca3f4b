package config

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// SourceCredential is the beginning of "credential:NAME", one of the service manager's credentials (systemd.exec(5), LoadCredential= and
// LoadCredentialEncrypted=, systemd-creds(1)).
const SourceCredential = "credential:"

// credentialsVariable names the directory in which the service manager hands a service its credentials.
const credentialsVariable = "CREDENTIALS_DIRECTORY"

// ErrNoCredentials means that the service manager has handed over no credentials.
var ErrNoCredentials = errors.New("the service manager has handed over no credentials: give the service LoadCredential= or LoadCredentialEncrypted= with this name")

// Runner runs a program, the first of the words, and returns what it prints.
type Runner func(ctx context.Context, words []string) ([]byte, error)

// keyCommandTime is how long a program that prints a key may take: the daemon does not begin before.
const keyCommandTime = 30 * time.Second

// ReadCredential returns a credential of the service manager's. Others than the service cannot reach the directory that it is in, so
// that its mode is not looked at. The caller clears the octets. Without credentials the error wraps ErrNoCredentials.
func ReadCredential(name string) ([]byte, error) {
	dir := os.Getenv(credentialsVariable)
	switch {
	case name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\\"):
		return nil, fmt.Errorf("%.64q names no credential", name)
	case dir == "":
		return nil, fmt.Errorf("%s%s: %w", SourceCredential, name, ErrNoCredentials)
	}
	data, err := readBounded(filepath.Join(dir, name), maxSecret)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s%s: the service manager has handed over none of this name: add LoadCredential= or LoadCredentialEncrypted=", SourceCredential, name)
	}
	return data, err
}

// readReference returns a reader of the secrets that a configuration names: files within its directory, credentials, and what programs
// print. Without a runner nothing is run, and neither programs nor the credentials of a service that this is not are looked at: what is
// returned then for them is good for nothing but to check the rest.
func readReference(within func(string) string, run Runner) SecretReader {
	return func(name string) ([]byte, error) {
		command, isCommand := strings.CutPrefix(name, SourceCommand)
		switch words := strings.Fields(command); {
		case isCommand && len(words) == 0:
			return nil, errors.New("no program is named")
		case isCommand && run == nil:
			return []byte(placeholderSecret), nil
		case isCommand:
			ctx, cancel := context.WithTimeout(context.Background(), keyCommandTime)
			defer cancel()
			return run(ctx, words)
		case !strings.HasPrefix(name, SourceCredential):
			return ReadSecretFile(within(name))
		}
		data, err := ReadSecretFile(name)
		if run == nil && errors.Is(err, ErrNoCredentials) {
			return []byte(placeholderSecret), nil
		}
		return data, err
	}
}
