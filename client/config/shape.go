package config

// setter takes the value of a key into a configuration, and has the shape of what it takes.
type setter struct {
	shape shape
	// take takes the value, or returns an error that says what was found.
	take func(c *Config, v any) error
}

// shape is what of a valid value can be written as JSON Schema. It lets everything through that take does, and some more.
type shape struct {
	// Type is a type of JSON Schema: "string", "integer", "boolean" or "array".
	Type string `json:"type"`
	// Enum are the values of a text that is one of a few.
	Enum []string `json:"enum,omitempty"`
	// Minimum and Maximum bound an integer.
	Minimum *int64 `json:"minimum,omitempty"`
	Maximum *int64 `json:"maximum,omitempty"`
	// MinLength and MaxLength bound a text, in characters; 0 for no bound. Pattern is a regular expression for it.
	MinLength int    `json:"minLength,omitempty"`
	MaxLength int    `json:"maxLength,omitempty"`
	Pattern   string `json:"pattern,omitempty"`
	// Items is the shape of what is in a list, MinItems and MaxItems how many there may be, 0 for no bound.
	Items       *shape `json:"items,omitempty"`
	MinItems    int    `json:"minItems,omitempty"`
	MaxItems    int    `json:"maxItems,omitempty"`
	UniqueItems bool   `json:"uniqueItems,omitempty"`
}

// The shapes of common values.
var (
	addressShape  = shape{Type: "string", Pattern: `^[0-9]{1,3}(\.[0-9]{1,3}){3}$`}
	domainShape   = shape{Type: "string", Pattern: "^[0-9A-Za-z.-]+$", MaxLength: 253}
	endpointShape = domainShape
	durationShape = shape{Type: "string", Pattern: `^[+-]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$`}
)

// listShape is the shape of a list; least and most are 0 for no bound.
func listShape(least, most int, unique bool, items shape) shape {
	return shape{Type: "array", Items: &items, MinItems: least, MaxItems: most, UniqueItems: unique}
}

// texts returns the values as texts.
func texts[T ~string](values []T) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = string(v)
	}
	return out
}
