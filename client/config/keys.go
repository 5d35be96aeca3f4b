package config

import (
	"fmt"
	"slices"
)

// Key describes one key of the configuration, as docs/configuration.md does.
type Key struct {
	// Name is the key with its table, such as "gateway.address".
	Name string
	// About says what the key is for, Valid what is valid, and Default what counts where it is left out, as it would be written or in
	// words; empty for a key that is required.
	About, Valid, Default string
	// Type is the type of its value: "string", "integer", "boolean" or "array", which is a list of texts.
	Type string
	// Required says that the key must be there, unless there is the key Instead of the same table (empty for none).
	Required bool
	Instead  string
}

// Table returns the key's table, empty for none, and Last its last part.
func (k Key) Table() string { table, _ := splitKey(k.Name); return table }

// Last returns the key without its table.
func (k Key) Last() string { _, last := splitKey(k.Name); return last }

// Keys returns all keys but "schema", in the order of the reference.
func Keys() []Key {
	all := make([]Key, len(fields))
	for i, f := range fields {
		all[i] = keyOf(&f)
	}
	return all
}

// KeyNamed returns the key of that name, with its table. The error says which was probably meant.
func KeyNamed(name string) (Key, error) {
	f := fieldOf(name)
	if f == nil {
		return Key{}, fmt.Errorf("%w: there is no key %q%s", ErrInvalid, name, suggest(name, keys()))
	}
	return keyOf(f), nil
}

func keyOf(f *field) Key {
	k := Key{Name: f.key, About: f.about, Valid: f.valid, Default: f.standard, Type: f.set.shape.Type, Required: f.required}
	if f.unless != "" {
		k.Instead = joinKey(k.Table(), f.unless)
	}
	return k
}

// CheckValue checks a value for a key by itself, as Parse would: a string, an int64, a bool or a []any. The error is an *Error without
// file and line.
func CheckValue(name string, value any) error {
	f := fieldOf(name)
	if f == nil {
		return &Error{Key: name, Message: "unknown key" + suggest(name, keys())}
	}
	if err := f.set.take(defaults(), value); err != nil {
		return &Error{Key: name, Message: err.Error(), Valid: f.valid}
	}
	return nil
}

// CheckText checks a configuration as Parse does, but for what is in the files that it names: these are not read.
func CheckText(name string, data []byte) error {
	c, err := Parse(name, data, placeholder)
	if err != nil {
		return err
	}
	c.Wipe()
	return nil
}

// Tables returns the names of the tables, in the order of the reference.
func Tables() []string { return slices.Clone(tables()) }
