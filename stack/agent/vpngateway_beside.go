package agent

import (
	"slices"
	"time"

	"mipvpn/tun/link"
)

// A client that authenticates anew sets a tunnel up beside the one that carries its packets (RFC 7296 §2.8.3). It can receive
// through it only when it has taken the gateway's last message, which packets could overtake. So they go on through the older one until
// the client has sent through the newer, or besideFor is over.

// besideFor is how long a client has, that sends nothing, to take that message.
const besideFor = time.Second

// beside notes that c has come beside a child SA of an older session that carries the client's packets, if it has.
func (g *Gateway) beside(now link.Instant, c *child) {
	carrying := newest(g.children.byAddress[c.address])
	if c.visiting != nil || carrying == nil || carrying.key.session >= c.key.session || carrying.besideUntil != 0 {
		return
	}
	c.besideUntil = now.Boot + besideFor
	g.waiting = append(g.waiting, c)
}

// heardThrough takes note that the client has sent through the child SA with our SPI.
func (g *Gateway) heardThrough(spi uint32) {
	if i := slices.IndexFunc(g.waiting, func(c *child) bool { return c.in.SPI() == spi }); i >= 0 {
		g.ahead(i)
	}
}

// ahead ends the waiting of the child SA at this place.
func (g *Gateway) ahead(i int) {
	c := g.waiting[i]
	g.waiting = slices.Delete(g.waiting, i, i+1)
	c.besideUntil = 0
	if g.children.byKey[c.key] == c {
		g.rechoose(c)
	}
}

// besideTimeout ends the waiting of those that have waited long enough.
func (g *Gateway) besideTimeout(now link.Instant) {
	for len(g.waiting) > 0 && g.waiting[0].besideUntil <= now.Boot {
		g.ahead(0)
	}
}
