package charon

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Section is a message of charon's control interface, or a section of one. Values are string, []byte, []string, [][]byte
// and Section when it is sent; string, []string and Section when it was received.
type Section map[string]any

// ErrControl tells that charon's control interface said something that cannot be read.
var ErrControl = errors.New("charon: malformed control message")

// Elements of a control message (README of strongSwan's vici plugin, "Message format").
const (
	elementSectionStart = 1
	elementSectionEnd   = 2
	elementKeyValue     = 3
	elementListStart    = 4
	elementListItem     = 5
	elementListEnd      = 6
)

// maxDepth is more than charon nests sections.
const maxDepth = 16

// String returns the string under key, empty when there is none.
func (s Section) String(key string) string {
	v, _ := s[key].(string)
	return v
}

// List returns the list under key, nil when there is none.
func (s Section) List(key string) []string {
	v, _ := s[key].([]string)
	return v
}

// Section returns the section under key, nil when there is none.
func (s Section) Section(key string) Section {
	v, _ := s[key].(Section)
	return v
}

// append writes the section's contents, keys in their order so that the same section gives the same octets.
func (s Section) append(b []byte) ([]byte, error) {
	for _, key := range slices.Sorted(maps.Keys(s)) {
		if len(key) > 255 {
			return nil, fmt.Errorf("charon: key %q: want at most 255 octets", key)
		}
		named := func(element byte) { b = append(append(b, element, byte(len(key))), key...) }
		var err error
		switch v := s[key].(type) {
		case string:
			named(elementKeyValue)
			b, err = appendValue(b, v)
		case []byte:
			named(elementKeyValue)
			b, err = appendValue(b, string(v))
		case []string:
			named(elementListStart)
			b, err = appendItems(b, v)
		case [][]byte:
			named(elementListStart)
			b, err = appendItems(b, v)
		case Section:
			named(elementSectionStart)
			if b, err = v.append(b); err == nil {
				b = append(b, elementSectionEnd)
			}
		default:
			err = fmt.Errorf("charon: %s: want text, a list or a section, found %T", key, v)
		}
		if err != nil {
			return nil, err
		}
	}
	return b, nil
}

func appendItems[T ~string | ~[]byte](b []byte, items []T) (_ []byte, err error) {
	for _, item := range items {
		if b, err = appendValue(append(b, elementListItem), string(item)); err != nil {
			return nil, err
		}
	}
	return append(b, elementListEnd), nil
}

func appendValue(b []byte, v string) ([]byte, error) {
	if len(v) > 0xffff {
		return nil, fmt.Errorf("charon: a value of %d octets: want at most 65535", len(v))
	}
	return append(binary.BigEndian.AppendUint16(b, uint16(len(v))), v...), nil
}

// parseSection reads a message. It is total: whatever the octets are, it returns a section or an error that wraps ErrControl.
func parseSection(b []byte) (Section, error) {
	p := sectionParser{rest: b}
	s, err := p.section(0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w, %d octets before the end", ErrControl, err, len(p.rest))
	}
	return s, nil
}

type sectionParser struct{ rest []byte }

var (
	errShort   = errors.New("it ends too early")
	errElement = errors.New("an element where none of its type may be")
)

func (p *sectionParser) take(n int) (string, error) {
	if len(p.rest) < n {
		return "", errShort
	}
	v := string(p.rest[:n])
	p.rest = p.rest[n:]
	return v, nil
}

func (p *sectionParser) name() (string, error) {
	n, err := p.take(1)
	if err != nil {
		return "", err
	}
	return p.take(int(n[0]))
}

func (p *sectionParser) value() (string, error) {
	n, err := p.take(2)
	if err != nil {
		return "", err
	}
	return p.take(int(n[0])<<8 | int(n[1]))
}

// section reads to the end of the message at depth 0, to the end of the section below.
func (p *sectionParser) section(depth int) (Section, error) {
	s := Section{}
	for {
		if len(p.rest) == 0 && depth == 0 {
			return s, nil
		}
		element, err := p.take(1)
		if err != nil {
			return nil, err
		}
		if element[0] == elementSectionEnd && depth > 0 {
			return s, nil
		}
		name, err := p.name()
		if err != nil {
			return nil, err
		}
		switch element[0] {
		case elementSectionStart:
			if depth == maxDepth {
				return nil, errElement
			}
			s[name], err = p.section(depth + 1)
		case elementKeyValue:
			s[name], err = p.value()
		case elementListStart:
			s[name], err = p.items()
		default:
			err = errElement
		}
		if err != nil {
			return nil, err
		}
	}
}

func (p *sectionParser) items() ([]string, error) {
	list := []string{}
	for {
		element, err := p.take(1)
		if err != nil {
			return nil, err
		}
		switch element[0] {
		case elementListEnd:
			return list, nil
		case elementListItem:
			v, err := p.value()
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		default:
			return nil, errElement
		}
	}
}
