package client

import (
	"encoding/json"
	"errors"
	"net/netip"
	"testing"

	"mipvpn/detect/hint"
)

func TestParseHomes(t *testing.T) {
	s := homesState{Version: homesVersion, Homes: []assignedHome{{"10.0.1.10", "laptop@corp.example", netip.MustParseAddr("10.0.8.100")}}}
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := parseHomes(data); err != nil || len(got.Homes) != 1 || got.Homes[0] != s.Homes[0] {
		t.Errorf("%+v, %v", got, err)
	}
	for state, want := range map[string]error{
		``:              hint.ErrCorrupt,
		`{"version":0}`: hint.ErrCorrupt,
		`{"version":2}`: hint.ErrNewer,
		`{"version":1,"homes":[{"home_address":"0.0.0.0"}]}`:                                  hint.ErrCorrupt,
		`{"version":1,"homes":[{"home_address":"224.0.0.1"}]}`:                                hint.ErrCorrupt,
		`{"version":1,"homes":[{"home_address":"2001:db8::1"}]}`:                              hint.ErrCorrupt,
		`{"version":1,"homes":[{}]}`:                                                          hint.ErrCorrupt,
		`{"version":1,"home_agents":[{"network":"198.51.100.0/24","address":"255.0.0.1.2"}]}`: hint.ErrCorrupt,
		`{"version":1,"home_agents":[{"network":"198.51.100.0/24"}]}`:                         hint.ErrCorrupt,
	} {
		if _, err := parseHomes([]byte(state)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", state, err, want)
		}
	}
}

// Whatever a state holds, it is refused or gives addresses that a laptop can have.
func FuzzParseHomes(f *testing.F) {
	f.Add([]byte(`{"version":1,"homes":[{"home_agent":"10.0.1.10","nai":"a@b","home_address":"10.0.8.100"}]}`))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`{"version":1,"home_agents":[{"network":"198.51.100.0/24","home_address":"198.51.100.100","address":"192.0.2.20"}]}`))
	f.Fuzz(func(t *testing.T, state []byte) {
		s, err := parseHomes(state)
		if err != nil {
			if !errors.Is(err, hint.ErrCorrupt) && !errors.Is(err, hint.ErrNewer) {
				t.Errorf("%v", err)
			}
			return
		}
		for _, h := range s.Homes {
			if !h.HomeAddress.Is4() || h.HomeAddress.IsUnspecified() || h.HomeAddress.IsMulticast() {
				t.Errorf("%+v", h)
			}
		}
		for _, h := range s.HomeAgents {
			if !h.Address.Is4() || h.Address.IsUnspecified() || h.Address.IsMulticast() {
				t.Errorf("%+v", h)
			}
		}
	})
}
