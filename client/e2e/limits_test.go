package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/client"
	"mipvpn/client/control"
	"mipvpn/tun/link"
)

// limitedHost is a host as darwin and Windows have it: no link layer, no permits for plaintext, nothing that is optional.
type limitedHost struct{ link.Host }

var errLimit = errors.New("the system cannot do that")

func (limitedHost) Limits() link.Limits {
	return link.Limits{Plaintext: "cannot hold the line", Frames: "has no link layer"}
}

func (limitedHost) OpenFrames(int, link.Receiver) (link.Frames, error) { return nil, errLimit }

func (limitedHost) Permit(int, time.Duration) error { return errLimit }

// On a system that can neither hold back plaintext nor reach the link layer, the office is a network like any other: the VPN is used
// there too, nothing leaves in the clear, and the modes that cannot be had are refused with the reason.
func TestSystemWithLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 1})
		if err := w.Client.Close(); err != nil {
			t.Fatal(err)
		}
		c, err := client.Start(limitedHost{w.Laptop}, ClientConfig(), zap.NewNop(), client.WithDrops(w.Laptop.Drops()))
		if err != nil {
			t.Fatal(err)
		}
		w.Client = c
		for mode, why := range map[string]string{"c": "cannot hold the line", "f": "cannot hold the line", "fvc": "has no link layer"} {
			if err := c.SetMode(context.Background(), mode); !errors.Is(err, control.ErrRefused) || !strings.Contains(fmt.Sprint(err), why) {
				t.Errorf("mode %s: %v", mode, err)
			}
		}
		w.Plug(w.Eth0, w.Cafe)
		if _, err := w.UntilMode(10*time.Second, "cvc"); err != nil {
			t.Fatal(err)
		}
		use(t, w)
		j := Watch(w.Office)
		w.Plug(w.Eth0, w.Office)
		time.Sleep(10 * time.Second)
		if _, err := w.UntilMode(10*time.Second, "cvc"); err != nil {
			t.Fatal(err)
		}
		use(t, w)
		s, err := c.Status(context.Background())
		if err != nil || s.Proof.Verdict == control.VerdictInside || s.Exposure != 0 {
			t.Errorf("%+v, exposure %v, %v", s.Proof, s.Exposure, err)
		}
		judge(t, j)
	})
}
