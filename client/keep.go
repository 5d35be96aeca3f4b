package client

import (
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/control"
	"mipvpn/tun/link"
)

// restoredPause is how long people are told of one restoration only, so that programs that take settings away again and again do not
// fill the log.
const restoredPause = time.Minute

// keeping is what is known of settings of the host that others take away.
type keeping struct {
	stop  func()        // ends putting them back, nil where the host cannot
	told  bool          // people were told, at toldAt (boot time)
	at    time.Duration // when that was
	since int           // what has been put back since
}

// keepSettings has the host put back what other programs take away.
func (c *Client) keepSettings() {
	keeper, able := c.host.(link.SettingsKeeper)
	if !able {
		return
	}
	stop, err := keeper.KeepSettings(func(r link.Restored, err error) { c.post(func() { c.restored(r, err) }) })
	if err != nil {
		c.log.Warn("what other programs take away of routes and rules is not put back", zap.Error(err))
		return
	}
	c.keeping.stop = stop
}

// problemKept is the code of the problem that settings cannot be put back.
const problemKept = "settings_gone"

// restored tells people of what another program has taken away, and has the kernel let plaintext out again as far as the gate is open.
func (c *Client) restored(r link.Restored, err error) {
	if c.session == nil {
		return
	}
	if err != nil {
		c.problem(control.Problem{Code: problemKept, Message: "another program has changed the client's routes or rules, and they cannot be put back: " + err.Error(),
			Advice: "find that program (systemd-networkd, NetworkManager, another VPN or firewall) and exempt the client (docs/desktop.md)"})
		return
	}
	c.story.problems = slices.DeleteFunc(c.story.problems, func(p control.Problem) bool { return p.Code == problemKept })
	c.counted.Restored += uint64(r.Parts())
	if r.KillSwitch {
		if err := c.gate.Renew(); err != nil {
			c.log.Warn("plaintext waits for the next proof", zap.Error(err))
		}
	}
	k := &c.keeping
	k.since += r.Parts()
	if k.told && c.now.Since(k.at) < restoredPause {
		return
	}
	message := fmt.Sprintf("another program took away %v of the client; all of it is back", r)
	if k.since > r.Parts() {
		message += fmt.Sprintf(", as is what it took before (%d in all since this was last said)", k.since)
	}
	k.told, k.at, k.since = true, c.now.Boot, 0
	c.event(control.Event{Kind: "restored", Message: message})
}
