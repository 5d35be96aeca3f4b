package client

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/detect/hint"
	"mipvpn/detect/location"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Leases knows the domain name of an interface's DHCP lease, for a hint (DET-11). It is asked from goroutines of its own and
// may block until ctx ends.
type Leases interface {
	// Domain returns the domain name, empty where none is known.
	Domain(ctx context.Context, i link.Interface) (string, error)
}

// WithLeases has the client take hints from the domain names of DHCP leases. Without it there are none.
func WithLeases(l Leases) Option { return func(c *Client) { c.hints.leases = l } }

// WithGateways has the client keep the gateways that it has learnt in s, unless the configuration forbids to learn any.
// Without it they are forgotten when the client ends. The client uses s from one goroutine at a time.
func WithGateways(s hint.Store) Option { return func(c *Client) { c.hints.store = s } }

// leaseTime is how long a lookup of a domain name may take.
const leaseTime = 5 * time.Second

// hints is what is known of networks without proof. It orders work and decides nothing (DET-11).
type hints struct {
	leases Leases
	store  hint.Store // nil: nothing is kept
	rules  hint.Rules
	saving bool // one goroutine writes at a time
	unsaid bool // and there is more to be written

	running sync.WaitGroup // lookups and writers
}

// hinted is what is hinted at about an interface.
type hinted struct {
	epoch  uint64 // that the rest belongs to
	domain string // of its DHCP lease
	asked  bool   // for that
	hint   location.Hint
	why    string
}

// String says so in plain words, empty without a hint.
func (h hinted) String() string {
	if h.hint == location.HintNone {
		return ""
	}
	return "looks like " + h.hint.String() + ": " + h.why + " (which proves nothing)"
}

// begin reads what was learnt before.
func (h *hints) begin(cfg *config.Config, log *zap.Logger) {
	d := cfg.Detection
	h.rules = hint.Rules{Domains: d.InsideDomains, Realms: d.InsideNAIs}
	if !d.LearnGateways {
		return
	}
	h.rules.Gateways = &hint.Gateways{}
	if h.store == nil {
		return
	}
	state, err := h.store.Load()
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	var g *hint.Gateways
	if err == nil {
		g, err = hint.ParseGateways(state)
	}
	switch {
	case err == nil:
		h.rules.Gateways = g
	case errors.Is(err, hint.ErrCorrupt):
		aside, moved := h.store.SetAside()
		log.Warn("the gateways learnt before cannot be read and are set aside: learning begins anew", zap.String("file", aside), zap.Error(errors.Join(err, moved)))
		if moved != nil {
			h.store = nil
		}
	default: // of a newer version, or not to be read now: it is left as it is
		log.Warn("the gateways learnt before cannot be used; what is learnt now is not kept, until gateways.json in the state directory is readable or removed", zap.Error(err))
		h.store = nil
	}
}

// seek begins to look for hints about an interface in a new epoch.
func (c *Client) seek(i *iface) {
	i.hinted = hinted{epoch: i.epoch}
	c.rehint(i)
}

// rehint judges anew what is known of an interface, and tells roam and the detector when that has changed.
func (c *Client) rehint(i *iface) {
	if i.hinted.epoch != i.epoch || i.epoch == 0 {
		return
	}
	c.seekDomain(i)
	h, why := c.hints.rules.Judge(c.signs(i))
	if h == i.hinted.hint {
		return
	}
	i.hinted.hint, i.hinted.why = h, why
	c.roam.HandleHint(i.Index, i.epoch, h == location.HintInside)
	c.hintAttempt(i)
	if h != location.HintNone {
		c.event(control.Event{Kind: "hint", Interface: i.Name, Message: i.hinted.String()})
	}
}

// hintAttempt tells the detector of an attempt what is hinted at.
func (c *Client) hintAttempt(i *iface) {
	a := i.attempt
	if a == nil || a.det == nil || a.epoch != i.hinted.epoch || i.hinted.hint == location.HintNone {
		return
	}
	if err := a.det.HandleHint(c.now, a.epoch, i.hinted.hint); err != nil {
		c.log.Debug("hint", zap.String("interface", i.Name), zap.Error(err))
	}
}

// signs returns what the interface shows.
func (c *Client) signs(i *iface) hint.Signs {
	s := hint.Signs{Domain: i.hinted.domain, Gateway: i.GatewayHardware}
	if i.discovery == nil {
		return s
	}
	for _, a := range i.discovery.Agents() {
		if a.NAI != "" && s.NAI == "" {
			s.NAI = a.NAI
		}
		if !i.Address.IsValid() && s.Gateway.IsZero() {
			s.Gateway = a.Hardware
		}
	}
	return s
}

// seekDomain asks for the domain name of the interface's lease, once an epoch.
func (c *Client) seekDomain(i *iface) {
	if c.hints.leases == nil || len(c.hints.rules.Domains) == 0 || i.hinted.asked || !i.Up || !i.Address.IsValid() {
		return
	}
	i.hinted.asked = true
	epoch, now := i.epoch, i.Interface
	c.hints.running.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), leaseTime)
		defer cancel()
		ended := make(chan struct{})
		defer close(ended)
		go func() {
			select {
			case <-c.stop:
				cancel()
			case <-ended:
			}
		}()
		domain, err := c.hints.leases.Domain(ctx, now)
		c.post(func() {
			if err != nil {
				c.log.Debug("the domain of a DHCP lease is not known", zap.String("interface", now.Name), zap.Error(err))
			}
			if c.ifaces[i.Index] == i && i.hinted.epoch == epoch {
				i.hinted.domain = domain
				c.rehint(i)
			}
		})
	})
}

// learn notes that the network of an attempt is inside, by a proof, or outside, and keeps what is new.
func (c *Client) learn(a *attempt, inside bool) {
	g, i := c.hints.rules.Gateways, c.ifaces[a.iface.Index]
	if g == nil || i == nil || i.epoch != a.epoch {
		return
	}
	if !inside && (a.internal == nil || c.cfg.Location(i.Index).Bypassed()) {
		return // nobody asked the i-HA
	}
	hardware := i.GatewayHardware
	if a.agent != nil {
		hardware = a.agent.hardware
	}
	c.learnGateway(g, hardware, inside)
}

func (c *Client) learnGateway(g *hint.Gateways, hardware packet.HardwareAddr, inside bool) {
	if g.Learn(hardware, inside, c.now.Wall) && c.hints.store != nil {
		c.keepGateways()
	}
}

// keepGateways writes what was learnt. It does so beside the actor, which must not wait for a disk.
func (c *Client) keepGateways() {
	h := &c.hints
	if h.saving {
		h.unsaid = true
		return
	}
	h.saving, h.unsaid = true, false
	state := h.rules.Gateways.Append(nil)
	h.running.Go(func() {
		err := h.store.Save(state)
		c.post(func() {
			h.saving = false
			if err != nil {
				c.log.Warn("the gateways learnt cannot be kept", zap.Error(err))
			}
			if h.unsaid {
				c.keepGateways()
			}
		})
	})
}
