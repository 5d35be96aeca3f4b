package charon

import (
	"bytes"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// The example of the plugin's README, "Message format".
const readmeExample = "\x03\x04key1\x00\x06value1" +
	"\x01\x08section1" +
	"\x01\x0bsub-section\x03\x04key2\x00\x06value2\x02" +
	"\x04\x05list1\x05\x00\x05item1\x05\x00\x05item2\x06" +
	"\x02"

func TestSection(t *testing.T) {
	want := Section{"key1": "value1", "section1": Section{"sub-section": Section{"key2": "value2"}, "list1": []string{"item1", "item2"}}}
	got, err := parseSection([]byte(readmeExample))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("parsed %v, %v; want %v", got, err, want)
	}
	wire, err := Section{"key1": []byte("value1"), "section1": Section{"sub-section": Section{"key2": "value2"},
		"list1": [][]byte{[]byte("item1"), []byte("item2")}}}.append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := parseSection(wire); err != nil || !reflect.DeepEqual(again, want) {
		t.Fatalf("parsed %v, %v; want %v", again, err, want)
	}
	if s := got.Section("section1"); s.List("list1")[1] != "item2" || got.String("key1") != "value1" || s.Section("none") != nil ||
		s.String("list1") != "" || got.List("key1") != nil {
		t.Errorf("access to %v", got)
	}
}

// Each prefix of the example that does not end between elements is too short, and no element may be where it has no place.
func TestMalformedSections(t *testing.T) {
	for n := range len(readmeExample) {
		_, err := parseSection([]byte(readmeExample[:n]))
		if whole := n == 0 || n == strings.Index(readmeExample, "\x01"); (err == nil) != whole || err != nil && !errors.Is(err, ErrControl) {
			t.Errorf("the first %d octets: %v", n, err)
		}
	}
	for _, bad := range []string{"\x02", "\x06", "\x05\x00\x01a", "\x07\x01a", "\x04\x01a\x03", strings.Repeat("\x01\x01a", maxDepth+1)} {
		if s, err := parseSection([]byte(bad)); !errors.Is(err, ErrControl) {
			t.Errorf("%q gives %v, %v", bad, s, err)
		}
	}
	for _, bad := range []Section{{strings.Repeat("k", 256): "v"}, {"k": strings.Repeat("v", 65536)}, {"k": 1}, {"k": []string{strings.Repeat("v", 65536)}}} {
		if _, err := bad.append(nil); err == nil {
			t.Errorf("a section with %q is written", slices.Collect(maps.Keys(bad))[0][:1])
		}
	}
}

// FuzzSection: what can be read is written and read again as the same.
func FuzzSection(f *testing.F) {
	f.Add([]byte(readmeExample))
	f.Add([]byte("\x04\x00\x06"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSection(b)
		if err != nil {
			if !errors.Is(err, ErrControl) {
				t.Fatal(err)
			}
			return
		}
		wire, err := s.append(nil)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseSection(wire)
		if err != nil {
			t.Fatal(err)
		}
		if rewritten, err := again.append(nil); err != nil || !bytes.Equal(rewritten, wire) {
			t.Fatalf("%x is written as %x, then as %x", b, wire, rewritten)
		}
	})
}
