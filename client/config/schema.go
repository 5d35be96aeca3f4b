package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// SchemaPath is where packages put the JSON Schema of the configuration.
const SchemaPath = "/usr/share/mipvpn/mipvpn.schema.json"

// SchemaLine is the comment by which an editor finds the schema (taplo and what uses it).
const SchemaLine = "#:schema file://" + SchemaPath

// property is a key in JSON Schema.
type property struct {
	Description string `json:"description"`
	Default     any    `json:"default,omitempty"`
	shape
}

// object is a table in JSON Schema.
type object struct {
	Type       string     `json:"type"`
	Properties properties `json:"properties"`
	Additional bool       `json:"additionalProperties"`
	Required   []string   `json:"required,omitempty"`
	AllOf      []choice   `json:"allOf,omitempty"`
}

// choice has one of several keys required.
type choice struct {
	AnyOf []demand `json:"anyOf"`
}

type demand struct {
	Required []string `json:"required"`
}

// properties keep their order, that of the reference.
type properties []named

// named is a property or an object by its name.
type named struct {
	name  string
	value any
}

// MarshalJSON implements json.Marshaler.
func (p properties) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	for i, n := range p {
		b.WriteByte("{,"[min(i, 1)])
		value, err := json.Marshal(n.value)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%q:%s", n.name, value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// JSONSchema returns the JSON Schema (draft 7) of the configuration, for editors. It refuses unknown keys, values of a wrong type, values
// that are none of a few, numbers out of range, and tables in which something is missing. What concerns several keys, or the files that
// they name, only Parse and Load know.
func JSONSchema() ([]byte, error) {
	one := int64(Schema)
	root := object{Type: "object", Required: []string{"schema"}, Properties: properties{
		{"schema", property{Description: "version of this file", shape: shape{Type: "integer", Minimum: &one, Maximum: &one}}}}}
	inTables := map[string]*object{"": &root}
	for i := range fields {
		f := &fields[i]
		table, last := splitKey(f.key)
		o := inTables[table]
		if o == nil {
			o = &object{Type: "object"}
			inTables[table] = o
			root.Properties = append(root.Properties, named{table, o})
		}
		o.Properties = append(o.Properties, named{last, property{Description: describeKey(f), Default: standardValue(f.standard), shape: f.set.shape}})
		switch {
		case !f.required:
		case f.unless == "":
			o.Required = append(o.Required, last)
		default:
			o.AllOf = append(o.AllOf, choice{[]demand{{[]string{last}}, {[]string{f.unless}}}})
		}
	}
	for _, t := range tables() {
		if len(inTables[t].Required) > 0 && !optional(t) {
			root.Required = append(root.Required, t)
		}
	}
	doc := struct {
		Schema string `json:"$schema"`
		Title  string `json:"title"`
		object
	}{"http://json-schema.org/draft-07/schema#", "Configuration of mipvpn (mipvpn.toml)", root}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(doc); err != nil {
		return nil, fmt.Errorf("config: write the schema: %w", err)
	}
	return b.Bytes(), nil
}

// describeKey is what an editor shows beside a key.
func describeKey(f *field) string {
	text := fmt.Sprintf("%s\n\nValid: %s.", f.about, f.valid)
	if f.standard != "" {
		text += fmt.Sprintf(" Default: %s.", f.standard)
	}
	return text
}

// standardValue returns a default that is a value, nil for one in words.
func standardValue(standard string) any {
	doc := map[string]any{}
	if strings.Contains(standard, "\n") || toml.Unmarshal([]byte("x = "+standard), &doc) != nil {
		return nil
	}
	return doc["x"]
}
