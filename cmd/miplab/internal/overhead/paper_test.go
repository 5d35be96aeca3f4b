package overhead

import (
	"slices"
	"testing"

	"mipvpn/stack"
)

// TestDraftTable shows that the arithmetic gives the draft's table, cell by cell, for the draft's cipher and for AES-GCM-16.
// Shows: MEC-OVH (the table of draft §6.2, on paper)
func TestDraftTable(t *testing.T) {
	for _, r := range Rows {
		for i, want := range r.Draft {
			c := r.Cells[i]
			if (want == NotMobile) != (c.Mode == stack.ModeNone) {
				t.Errorf("%s, %s: %d octets for mode %q", r.Place, Columns[i], want, c)
			}
			if want == NotMobile {
				continue
			}
			for _, cipher := range []Cipher{DraftCipher, GCM} {
				if got := c.Most(cipher, false); got != want {
					t.Errorf("%s, %s: %s with %s adds %d octets, the draft says %d", r.Place, Columns[i], c, cipher.Name, got, want)
				}
			}
		}
	}
}

// TestUDPEncapsulation shows what NAT traversal adds: 8 octets to ESP, 12 to each Mobile IP tunnel, and with both tunnels 129 in
// all (draft §6.2).
// Shows: MEC-OVH (NAT traversal, on paper)
func TestUDPEncapsulation(t *testing.T) {
	for name, more := range map[string]int{
		"c": 12, "f": 0, "vc": 8 + 12, "vf": 8, "cvc": 12 + 8 + 12, "cvf": 12 + 8, "fvc": 8 + 12, "fvf": 8, "cvc+zot": 8 + 12, "cvf+zot": 8,
	} {
		i := slices.IndexFunc(Compositions(), func(c Composition) bool { return c.String() == name })
		if i < 0 {
			t.Errorf("there is no composition %s", name)
			continue
		}
		c := Compositions()[i]
		for _, cipher := range []Cipher{DraftCipher, GCM} {
			if got := c.Most(cipher, true) - c.Most(cipher, false); got != more {
				t.Errorf("%s with %s: %d octets more, want %d", c, cipher.Name, got, more)
			}
		}
	}
	if len(Compositions()) != 10 {
		t.Errorf("%d compositions, want 10: %v", len(Compositions()), Compositions())
	}
	if got := at(stack.ModeCVC).Most(GCM, true); got != 129 {
		t.Errorf("cvc in UDP adds %d octets, want 129", got)
	}
}

// TestLengths shows which lengths get how much: ESP pads to the cipher's blocks.
func TestLengths(t *testing.T) {
	for _, c := range []struct {
		cipher Cipher
		want   []int // from 40 octets on
	}{
		{GCM, []int{20 + 10 + 8 + 16 + 2, 20 + 10 + 8 + 16 + 1, 20 + 10 + 8 + 16, 20 + 10 + 8 + 16 + 3}},
		{DraftCipher, []int{20 + 10 + 8 + 12 + 6, 20 + 10 + 8 + 12 + 5, 54, 53, 52, 51, 50, 57}},
	} {
		for n := range 64 {
			if got, want := at(stack.ModeVF).Added(c.cipher, 40+n, false), c.want[n%len(c.want)]; got != want {
				t.Errorf("%s: %d octets added to %d, want %d", c.cipher.Name, got, 40+n, want)
			}
		}
	}
}
