package config

import (
	"os"
	"strings"
	"testing"
)

// The example for laptops is a configuration that works as it stands, but for the secrets.
func TestExampleFile(t *testing.T) {
	const path = "../../configs/laptop/mipvpn.toml"
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	secrets := func(file string) ([]byte, error) {
		if strings.HasSuffix(file, ".psk") {
			return []byte("a pre-shared key for the test alone"), nil
		}
		return []byte("00112233445566778899aabbccddeeff"), nil
	}
	c, err := Parse(path, data, secrets)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) != 0 || c.Internal.HomeAddress.String() != "10.0.8.100" || c.Gateway.RemoteIdentity != "gateway.corp.example" {
		t.Errorf("warnings %v, %+v", c.Warnings, c)
	}
}
