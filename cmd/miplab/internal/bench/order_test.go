package bench

import (
	"reflect"
	"slices"
	"testing"
)

// TestOrder shows that what is compared runs next to each other, that every second pair goes backwards, and that what no goal
// asks for runs seldom.
func TestOrder(t *testing.T) {
	all := []string{Kernel, Reference, StrongSwan, Null, NullHops, ModeC, ModeVC, ModeCVC}
	flow := []Quantity{Rate, NearCPU}
	for _, c := range []struct {
		standing   []string
		quantities []Quantity
		pair       int
		want       []Group
	}{
		{all, flow, 0, []Group{{ModeC, []string{"W", "c", "N"}}, {ModeVC, []string{"W", "vc", "L"}}, {ModeCVC, []string{"W", "cvc", "nullN"}}, {Kernel, []string{"W", "none"}}}},
		{all, flow, 1, []Group{{ModeC, []string{"N", "c", "W"}}, {ModeVC, []string{"L", "vc", "W"}}, {ModeCVC, []string{"cvc", "W"}}}},
		{all, flow, 2, []Group{{ModeC, []string{"W", "c", "N"}}, {ModeVC, []string{"W", "vc", "L"}}, {ModeCVC, []string{"W", "cvc"}}}},
		{all, []Quantity{IdleRTT}, 1, []Group{{ModeC, []string{"c", "W"}}, {ModeVC, []string{"vc", "W"}}, {ModeCVC, []string{"nullN", "cvc", "W"}}}},
		{all, []Quantity{Large}, 3, []Group{{ModeCVC, []string{"cvc", "W"}}}},
		{all, []Quantity{Small}, 3, []Group{{ModeVC, []string{"vc", "W"}}}},
		{[]string{ModeC}, []Quantity{Small}, 3, nil},
		{[]string{Reference, Null}, flow, 2, []Group{{Null, []string{"W", "N"}}}},
		{[]string{Reference}, flow, 1, []Group{{Reference, []string{"W"}}}},
		{[]string{ModeC}, flow, 0, []Group{{ModeC, []string{"c"}}}},
	} {
		if got := Order(c.standing, c.quantities, c.pair); !reflect.DeepEqual(got, c.want) {
			t.Errorf("pair %d of %v, %v: %v, want %v", c.pair, c.standing, c.quantities, got, c.want)
		}
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
