package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"go.uber.org/zap"

	"mipvpn/client/control"
	"mipvpn/detect/hint"
)

// A person's last up or down is a wish that outlives the process: a daemon that was killed or upgraded comes back up where it was up.
// What cannot be read is no wish, and takes back nothing that stands in the kernel.

// WithWish has the client keep in s whether it was last asked to be up or to be down (Up, Down), and come up by itself at the start when
// it was up. Without it only the configuration brings it up by itself. The client uses s from one goroutine at a time.
func WithWish(s hint.Store) Option { return func(c *Client) { c.wishes = s } }

// wish is what a person has asked for last.
type wish string

// Wishes.
const (
	wishUp   wish = "up"
	wishDown wish = "down"
)

// wishVersion is the version of wishState.
const wishVersion = 1

// wishState is what is kept of a wish.
type wishState struct {
	Version int  `json:"version"`
	Wish    wish `json:"wish"`
}

// parseWish reads what Client.keepWish wrote. Errors wrap hint.ErrCorrupt or hint.ErrNewer.
func parseWish(state []byte) (wish, error) {
	var s wishState
	if err := json.Unmarshal(state, &s); err != nil {
		return "", fmt.Errorf("%w: %w", hint.ErrCorrupt, err)
	}
	switch {
	case s.Version > wishVersion:
		return "", fmt.Errorf("%w: version %d, %d is read", hint.ErrNewer, s.Version, wishVersion)
	case s.Version != wishVersion:
		return "", fmt.Errorf("%w: version %d", hint.ErrCorrupt, s.Version)
	case s.Wish != wishUp && s.Wish != wishDown:
		return "", fmt.Errorf("%w: wish %q, up or down is read", hint.ErrCorrupt, s.Wish)
	}
	return s.Wish, nil
}

// keepWish writes down what a person has asked for.
func (c *Client) keepWish(w wish) {
	if c.wishes == nil {
		return
	}
	data, err := json.Marshal(wishState{Version: wishVersion, Wish: w})
	if err == nil {
		err = c.wishes.Save(data)
	}
	if err != nil {
		c.log.Warn("it is not kept that the client is to be "+string(w)+": started anew, the daemon may do as it was asked before", zap.Error(err))
	}
}

// wishedUp reports whether the wish that is kept is to be up.
func (c *Client) wishedUp() bool {
	if c.wishes == nil {
		return false
	}
	state, err := c.wishes.Load()
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	var w wish
	if err == nil {
		w, err = parseWish(state)
	}
	if err != nil {
		c.log.Warn("whether the client was up before cannot be read: run `mipvpn up` if it is to be; what is blocked stays so", zap.Error(err))
		return false
	}
	return w == wishUp
}

// comeUp brings the client up at its start where the configuration or a wish says so. It fails for the configuration alone: with a wish
// the daemon goes on, so that a person can ask again or take it down.
func (c *Client) comeUp() error {
	if c.cfg.UpAtStart {
		return c.up()
	}
	if !c.wishedUp() {
		c.dnsLeft()
		return nil
	}
	if err := c.takeCharge("taking charge of the enterprise's traffic again, as before the daemon was started anew"); err != nil {
		c.log.Error("coming up again", zap.Error(err))
		c.problem(control.Problem{Message: "coming up again: " + err.Error(), Advice: "run `mipvpn up` to try again, or `mipvpn down` to give the enterprise's traffic back"})
		c.dnsLeft()
	}
	return nil
}
