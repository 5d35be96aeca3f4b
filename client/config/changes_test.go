package config

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

// TestEveryFieldHasItsKey goes through all fields of a Config: each must belong to a key, so that a change of it is noticed by its name
// (changes.go names the exceptions to the rule).
func TestEveryFieldHasItsKey(t *testing.T) {
	all := keys()
	of := reflect.TypeFor[Config]()
	for i := range of.NumField() {
		f := of.Field(i)
		if f.Name == "Warnings" {
			continue
		}
		if f.Type.Kind() != reflect.Struct {
			if !slices.Contains(all, snake(f.Name)) {
				t.Errorf("Config.%s would be %q, which is no key", f.Name, snake(f.Name))
			}
			continue
		}
		for j := range f.Type.NumField() {
			name := f.Type.Field(j).Name
			if key := keyOfField(f.Name, name); name != "Verifier" && !slices.Contains(all, key) {
				t.Errorf("Config.%s.%s would be %q, which is no key: add it to keysOfFields", f.Name, name, key)
			}
		}
	}
}

func TestChanges(t *testing.T) {
	a, err := parse(minimal)
	if err != nil {
		t.Fatal(err)
	}
	same, err := parse(minimal)
	if err != nil {
		t.Fatal(err)
	}
	if got := Changes(a, same); len(got) != 0 {
		t.Errorf("the same configuration differs in %q", got)
	}
	same.Interfaces.Use = []string{} // as good as none
	if got := Changes(a, same); len(got) != 0 {
		t.Errorf("an empty list differs in %q", got)
	}
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Mode = "cvc" }, "mode"},
		{func(c *Config) { c.ForeignAgent.Key = Secret{1} }, "foreign_agent.key_file"},
		{func(c *Config) { c.Internal.Key[0] ^= 1 }, "internal_home_agent.key_file"},
		{func(c *Config) { c.Gateway.PSK = Secret("another one that is long enough") }, "gateway.psk_file"},
		{func(c *Config) { c.Gateway.IKELifetime = time.Minute }, "gateway.ike_lifetime"},
		{func(c *Config) { c.Trust.Digest[0]++ }, "trust.anchors"},
		{func(c *Config) { c.DNS.Domains = []string{"other.example"} }, "dns.domains"},
		{func(c *Config) { c.Detection.Monitor = 50 * time.Second }, "detection.t_monitor"},
	} {
		b, err := parse(minimal)
		if err != nil {
			t.Fatal(err)
		}
		c.change(b)
		if got := Changes(a, b); !slices.Equal(got, []string{c.want}) {
			t.Errorf("the change of %s is told as %q", c.want, got)
		}
	}
}
