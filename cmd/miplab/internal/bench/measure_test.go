package bench

import (
	"context"
	"math"
	"net"
	"testing"
	"time"
)

// TestMeasure shows that a transfer over the loopback gives rates both ways.
func TestMeasure(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r, err := Measure(t.Context(), Link{Listener: l, Dial: func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp4", l.Addr().String())
	}}, 300*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if !(r.Up > 1e6 && r.Down > 1e6) || math.IsInf(r.Up+r.Down, 0) {
		t.Errorf("rates of the loopback: %+v", r)
	}
}

// TestRelate shows the ratios, and that a table without its reference is an error.
func TestRelate(t *testing.T) {
	r := Report{Reference: "b", Rows: []Row{{Name: "a", Rates: Rates{Up: 1, Down: 3}}, {Name: "b", Rates: Rates{Up: 2, Down: 2}}}}
	if err := r.Relate(); err != nil {
		t.Fatal(err)
	}
	if a := r.Rows[0]; a.UpRatio != 0.5 || a.DownRatio != 1.5 {
		t.Errorf("ratios %v and %v, want 0.5 and 1.5", a.UpRatio, a.DownRatio)
	}
	r.Reference = "c"
	if r.Relate() == nil {
		t.Error("a table was related to a row that there is none of")
	}
}
