package config

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// compiled is the schema, read by a validator.
var compiled = sync.OnceValues(func() (*jsonschema.Schema, error) {
	text, err := JSONSchema()
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("mipvpn.schema.json", doc); err != nil {
		return nil, err
	}
	return c.Compile("mipvpn.schema.json")
})

// fits returns what the schema has against a text that is TOML.
func fits(text string) error {
	schema, err := compiled()
	if err != nil {
		return err
	}
	doc := map[string]any{}
	if err := toml.Unmarshal([]byte(text), &doc); err != nil {
		return err
	}
	return schema.Validate(doc)
}

// beyondSchema are the examples of TestErrors that only the program can refuse: what they say concerns several keys, a file, or the inside of
// a text.
var beyondSchema = []string{
	"T_MONITOR under 5 s", "probe too often", "retransmission too fast", "retransmission maximum under initial", "grace not under T_MONITOR",
	"negative duration", "lifetime too long for the wire", "NAT refused and not seen", "address that no host has", "prefix with host bits", "device name",
	"equal home addresses", "home link of another network", "groups and no broadcasts", "no secret file", "weak i-HA key", "key not hexadecimal", "key of half octets", "empty PSK",
}

// Every example that the program refuses is refused by the schema, or named as beyond it.
func schemaAgrees(t *testing.T, name, text string) {
	t.Helper()
	if refused, beyond := fits(text) != nil, slices.Contains(beyondSchema, name); refused == beyond {
		t.Errorf("refused by the schema: %v, beyond it: %v", refused, beyond)
	}
}

// Every key of the reference is in the schema, with what it says and its default, which is valid; the example for laptops fits.
func TestSchema(t *testing.T) {
	text, err := JSONSchema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range Keys() {
		at := doc
		for name := range strings.SplitSeq(k.Name, ".") {
			at = at.(map[string]any)["properties"].(map[string]any)[name]
		}
		property, ok := at.(map[string]any)
		if !ok || !strings.HasPrefix(fmt.Sprint(property["description"]), k.About) || property["type"] != k.Type {
			t.Errorf("%s: %v", k.Name, at)
			continue
		}
		if standard, there := property["default"]; there {
			if n, isNumber := standard.(interface{ Int64() (int64, error) }); isNumber {
				if standard, err = n.Int64(); err != nil {
					t.Fatal(err)
				}
			}
			if err := CheckValue(k.Name, standard); err != nil {
				t.Errorf("the default is refused: %v", err)
			}
		}
	}
	example, err := os.ReadFile("../../configs/laptop/mipvpn.toml")
	if err != nil {
		t.Fatal(err)
	}
	if err := fits(string(example)); err != nil {
		t.Error(err)
	}
}

// CheckValue and KeyNamed say what is wrong, and with what was probably meant.
func TestKeys(t *testing.T) {
	k, err := KeyNamed("internal_home_agent.home_address")
	if err != nil || k.Table() != "internal_home_agent" || k.Last() != "home_address" || k.Instead != "internal_home_agent.nai" || !k.Required || k.Type != "string" {
		t.Errorf("%+v, %v", k, err)
	}
	if _, err := KeyNamed("gateway.adress"); err == nil || !strings.Contains(err.Error(), `did you mean "gateway.address"`) {
		t.Errorf("%v", err)
	}
	for _, bad := range []struct {
		key   string
		value any
		want  string
	}{
		{"device.mtu", int64(9000), "device.mtu: found the number 9000; valid is a whole number from 576 to 1500"},
		{"device.mut", int64(1400), `device.mut: unknown key, did you mean "device.mtu"?`},
	} {
		if err := CheckValue(bad.key, bad.value); err == nil || err.Error() != bad.want {
			t.Errorf("%v, want %q", err, bad.want)
		}
	}
	if err := CheckText("f", []byte(minimal)); err != nil {
		t.Error(err)
	}
	if err := CheckText("f", []byte(strings.Replace(minimal, "spi = 256", "spi = 1", 1))); err == nil {
		t.Error("accepted")
	}
	if !slices.Contains(Tables(), "gateway") {
		t.Errorf("%v", Tables())
	}
}
