package hint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"mipvpn/detect/location"
	"mipvpn/tun/packet"
)

const (
	// maxGateways bounds the gateways that are remembered; the one that was seen longest ago goes first.
	maxGateways = 128
	// maxState is the largest state file that is read, in octets.
	maxState = 64 << 10
	// stateVersion is the version of the state that Append writes. There is no older one yet.
	stateVersion = 1
)

var (
	// ErrNewer means that the state was written by a later version of the program and must be left as it is.
	ErrNewer = errors.New("hint: the state is of a newer version")
	// ErrCorrupt means that the state cannot be read.
	ErrCorrupt = errors.New("hint: the state is corrupt")
)

// Gateways are the hardware addresses of gateways and foreign agents of networks that were inside or outside. Its zero
// value is empty and ready.
type Gateways struct {
	list []gateway // the one seen last first
}

// gateway is one of them.
type gateway struct {
	hardware packet.HardwareAddr
	inside   bool
	seen     int64 // day of the Unix time
}

// Hint returns what is known of the gateway.
func (g *Gateways) Hint(hardware packet.HardwareAddr) location.Hint {
	i := g.find(hardware)
	switch {
	case i < 0 || hardware.IsZero():
		return location.HintNone
	case g.list[i].inside:
		return location.HintInside
	}
	return location.HintOutside
}

// Len returns how many gateways are known.
func (g *Gateways) Len() int { return len(g.list) }

func (g *Gateways) find(hardware packet.HardwareAddr) int {
	return slices.IndexFunc(g.list, func(e gateway) bool { return e.hardware == hardware })
}

// Learn notes that the network behind the gateway was inside, by a proof, or outside, on the day of now. It reports whether
// there is anything new to be kept. A gateway that a proof came through stays inside: anybody outside can take its address.
func (g *Gateways) Learn(hardware packet.HardwareAddr, inside bool, now time.Time) (changed bool) {
	if hardware.IsZero() {
		return false
	}
	e := gateway{hardware, inside, now.Unix() / (24 * 60 * 60)}
	i := g.find(hardware)
	if i >= 0 {
		old := g.list[i]
		e.inside = e.inside || old.inside
		if old == e && i == 0 {
			return false
		}
		changed = old != e // the order alone need not be kept
		g.list = slices.Delete(g.list, i, i+1)
	}
	g.list = slices.Insert(g.list, 0, e)
	if len(g.list) > maxGateways {
		g.list = g.list[:maxGateways]
	}
	return changed || i < 0
}

// document is the state as it is written: JSON.
type document struct {
	Version  int             `json:"version"`
	Gateways []documentEntry `json:"gateways"`
}

type documentEntry struct {
	// Hardware is six octets in hexadecimal digits, separated by colons.
	Hardware string `json:"hardware"`
	Inside   bool   `json:"inside"`
	// Seen is the day on which it was seen last, counted from 1 January 1970 UTC.
	Seen int64 `json:"seen_day"`
}

// Append writes the state behind b, as JSON.
func (g *Gateways) Append(b []byte) []byte {
	d := document{Version: stateVersion, Gateways: []documentEntry{}}
	for _, e := range g.list {
		d.Gateways = append(d.Gateways, documentEntry{e.hardware.String(), e.inside, e.seen})
	}
	text, err := json.MarshalIndent(d, "", "\t")
	if err != nil {
		panic(err) // plain values
	}
	return append(append(b, text...), '\n')
}

// ParseGateways reads what Append has written. Errors wrap ErrNewer or ErrCorrupt. It is a total function.
func ParseGateways(p []byte) (*Gateways, error) {
	if len(p) > maxState {
		return nil, fmt.Errorf("%w: %d octets, at most %d are expected", ErrCorrupt, len(p), maxState)
	}
	var version struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(p, &version); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	switch {
	case version.Version > stateVersion:
		return nil, fmt.Errorf("%w: version %d, this program knows %d", ErrNewer, version.Version, stateVersion)
	case version.Version != stateVersion:
		return nil, fmt.Errorf("%w: version %d, expected %d", ErrCorrupt, version.Version, stateVersion)
	}
	var d document
	decoder := json.NewDecoder(bytes.NewReader(p))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if len(d.Gateways) > maxGateways {
		return nil, fmt.Errorf("%w: %d gateways, at most %d are expected", ErrCorrupt, len(d.Gateways), maxGateways)
	}
	g := &Gateways{}
	for _, e := range d.Gateways {
		hardware, err := parseHardware(e.Hardware)
		if err != nil || g.find(hardware) >= 0 || e.Seen < 0 {
			return nil, fmt.Errorf("%w: gateway %q, day %d", ErrCorrupt, clip(e.Hardware), e.Seen)
		}
		g.list = append(g.list, gateway{hardware, e.Inside, e.Seen})
	}
	return g, nil
}

func parseHardware(s string) (packet.HardwareAddr, error) {
	var h packet.HardwareAddr
	if len(s) != 3*len(h)-1 {
		return h, ErrCorrupt
	}
	for i := range h {
		hi, lo := digit(s[3*i]), digit(s[3*i+1])
		if hi < 0 || lo < 0 || i < len(h)-1 && s[3*i+2] != ':' {
			return h, ErrCorrupt
		}
		h[i] = byte(hi<<4 | lo)
	}
	if h.IsZero() {
		return h, ErrCorrupt
	}
	return h, nil
}

func digit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}
