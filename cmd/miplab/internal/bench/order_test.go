package bench

import (
	"reflect"
	"slices"
	"testing"
)

// TestOrder shows that what is compared runs next to each other, the yardsticks seldom, and every second pair backwards.
func TestOrder(t *testing.T) {
	all := []string{Kernel, Reference, StrongSwan, Null, NullHops, ModeC, ModeVC, ModeCVC}
	for _, c := range []struct {
		standing []string
		pair     int
		want     []Group
	}{
		{all, 0, []Group{{ModeC, []string{"W", "c", "N"}}, {ModeVC, []string{"W", "vc", "L"}}, {ModeCVC, []string{"W", "cvc", "nullN"}}, {Kernel, []string{"W", "none"}}}},
		{all, 1, []Group{{ModeC, []string{"N", "c", "W"}}, {ModeVC, []string{"vc", "W"}}, {ModeCVC, []string{"nullN", "cvc", "W"}}}},
		{[]string{Reference, Null}, 2, []Group{{Null, []string{"W", "N"}}}},
		{[]string{Reference}, 0, []Group{{Reference, []string{"W"}}}},
		{[]string{ModeC}, 0, []Group{{ModeC, []string{"c"}}}},
	} {
		if got := Order(c.standing, c.pair); !reflect.DeepEqual(got, c.want) {
			t.Errorf("pair %d of %v: %v, want %v", c.pair, c.standing, got, c.want)
		}
	}
}

// TestDue shows that what a goal is about is measured in each pair, the rest in one of three.
func TestDue(t *testing.T) {
	var due []bool
	for pair := range 4 {
		due = append(due, Due(ModeVC, []Quantity{Small}, pair), Due(ModeVC, []Quantity{Large}, pair))
	}
	if want := []bool{true, true, true, false, true, false, true, true}; !slices.Equal(due, want) {
		t.Errorf("due %v, want %v", due, want)
	}
}

// TestGoals shows that each goal has one bound and names what there is.
func TestGoals(t *testing.T) {
	names := []string{Reference, StrongSwan, Null, NullHops, ModeC, ModeVC, ModeCVC}
	for _, g := range Goals {
		if (g.AtMost == 0) == (g.AtLeast == 0) || !slices.Contains(names, g.Tunnel) || g.Reference != "" && !slices.Contains(names, g.Reference) {
			t.Errorf("goal %+v", g)
		}
		if !slices.ContainsFunc(kinds, func(k kind) bool { return k.quantity == g.Quantity }) {
			t.Errorf("goal %+v is about nothing that is shown", g)
		}
	}
}
