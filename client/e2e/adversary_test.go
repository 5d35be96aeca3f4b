package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/stack/simnet"
)

// Shows: DET-1, DET-3, DET-4, MOD-keep (each attack, while the laptop goes from place to place: nothing in the clear outside, and
// the session goes on after it)
func TestEachAttack(t *testing.T) {
	t.Parallel()
	for _, k := range Attacks() {
		t.Run(string(k), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 110, Log: zap.NewNop(), Client: probeSoon})
				a := NewAdversary(w, 110)
				defer a.Close()
				j := Watch(w.External()...)
				talk(t, w, 200*time.Millisecond)
				connected(t, w, officePlace)
				s := converse(t, w)
				s.pass(t, s.near, s.far, 1000)
				a.Begin(k)
				for _, to := range []place{places[1], cafePlace, hotspotPlace, officePlace, cafePlace} {
					w.Plug(w.Wlan0, to.wire(w))
					time.Sleep(7 * time.Second)
				}
				w.Plug(w.Eth0, w.Office)
				time.Sleep(80 * time.Second)
				if n := a.Counts()[k]; n == 0 {
					t.Error("the attack did nothing")
				}
				a.End(k)
				if _, err := w.UntilMode(2*time.Minute, "c"); err != nil {
					t.Fatal(err)
				}
				s.pass(t, s.near, s.far, 10_000)
				s.pass(t, s.far, s.near, 10_000)
				s.end(t)
				judge(t, j)
			})
		})
	}
}

// attackMinutes returns for how many minutes of virtual time attacks are mixed, and how many times: E2E_ATTACK_MINUTES and
// E2E_ATTACK_SEEDS ask for more than the short run.
func attackMinutes(t *testing.T) (minutes, seeds int) {
	t.Helper()
	number := func(name string, otherwise int) int {
		v := os.Getenv(name)
		if v == "" {
			return otherwise
		}
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			t.Fatalf("%s is %q, a number of 1 or more is needed", name, v)
		}
		return n
	}
	return number("E2E_ATTACK_MINUTES", 6), number("E2E_ATTACK_SEEDS", 3)
}

// Shows: DET-1, DET-2, DET-3, DET-4, MOD-keep (several attacks at once, by chance, while the laptop roams by chance)
func TestAttacksMixed(t *testing.T) {
	t.Parallel()
	minutes, seeds := attackMinutes(t)
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 200 + seed, Log: zap.NewNop(), Client: probeSoon})
				a := NewAdversary(w, seed)
				defer a.Close()
				rng := rand.New(rand.NewPCG(seed, 2))
				j := Watch(w.External()...)
				talk(t, w, 200*time.Millisecond)
				connected(t, w, officePlace)
				s := converse(t, w)
				for end := time.Now().Add(time.Duration(minutes) * time.Minute); time.Now().Before(end); {
					a.Shuffle()
					for range 1 + rng.IntN(4) {
						nic := []*simnet.NIC{w.Wlan0, w.Eth0}[rng.IntN(2)]
						if n := rng.IntN(len(places) + 1); n < len(places) {
							w.Plug(nic, places[n].wire(w))
						} else {
							w.Unplug(nic)
						}
						time.Sleep(time.Duration(rng.IntN(15000)) * time.Millisecond)
					}
				}
				a.Rest()
				w.Unplug(w.Wlan0)
				w.Plug(w.Eth0, w.Cafe)
				if _, err := w.UntilMode(2*time.Minute, "cvc"); err != nil {
					t.Fatal(err)
				}
				s.pass(t, s.near, s.far, 10_000)
				s.pass(t, s.far, s.near, 10_000)
				s.end(t)
				judge(t, j)
				t.Log(a.Counts())
			})
		})
	}
}
