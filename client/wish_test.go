package client

import (
	"encoding/json"
	"errors"
	"testing"

	"mipvpn/detect/hint"
)

func TestParseWish(t *testing.T) {
	for state, want := range map[string]struct {
		wish wish
		err  error
	}{
		`{"version":1,"wish":"up"}`:   {wishUp, nil},
		`{"version":1,"wish":"down"}`: {wishDown, nil},
		`{"version":1,"wish":"UP"}`:   {"", hint.ErrCorrupt},
		`{"version":1}`:               {"", hint.ErrCorrupt},
		`{"wish":"up"}`:               {"", hint.ErrCorrupt},
		`{"version":2,"wish":"up"}`:   {"", hint.ErrNewer},
		`{"version":1,"wish":"up"`:    {"", hint.ErrCorrupt},
		`{"version":1,"wish":["up"]}`: {"", hint.ErrCorrupt},
		"up":                          {"", hint.ErrCorrupt},
		"":                            {"", hint.ErrCorrupt},
	} {
		if got, err := parseWish([]byte(state)); got != want.wish || !errors.Is(err, want.err) {
			t.Errorf("%q: %q, %v; want %q, %v", state, got, err, want.wish, want.err)
		}
	}
}

func FuzzParseWish(f *testing.F) {
	for _, s := range []string{`{"version":1,"wish":"up"}`, `{"version":1,"wish":"down"}`, `{"version":9}`, "up", "\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, state []byte) {
		w, err := parseWish(state)
		if err != nil {
			if w != "" || !errors.Is(err, hint.ErrCorrupt) && !errors.Is(err, hint.ErrNewer) {
				t.Fatalf("%q, %v", w, err)
			}
			return
		}
		again, err := json.Marshal(wishState{Version: wishVersion, Wish: w})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parseWish(again); err != nil || got != w {
			t.Fatalf("%q is read back as %q, %v", w, got, err)
		}
	})
}
