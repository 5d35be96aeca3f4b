package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/detect/hint"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/wire"
)

// A home address that is not configured is assigned by its home agent (RFC 2794). It is kept, so that a session begins with it; where
// there is none yet, or the home agent assigns another one, the session is made anew with what the first accepting reply says. Until
// then the device has no address and nothing passes it.

// WithHomes has the client keep the home addresses that were assigned to it in s. Without it they are forgotten when the client ends,
// and asked for anew. The client uses s from one goroutine at a time.
func WithHomes(s hint.Store) Option { return func(c *Client) { c.homes.store = s } }

// errNoHome means that a foreign agent cannot be used before a home address is known.
var errNoHome = errors.New("client: the home address is not known yet, and a foreign agent needs one: it is assigned through an interface with an address of its own")

// homes is what is known of assigned home addresses.
type homes struct {
	store    hint.Store // nil: nothing is kept
	assigned map[string]bool
	renewing bool // the session is about to be made anew
	// first is the x-HA as configured, visited those that have named another one (RFC 4433 §4.2), and settled is set when the present one
	// serves.
	first   netip.Addr
	visited []netip.Addr
	settled bool
}

// homesVersion is the version of homesState.
const homesVersion = 1

// homesState is what is kept of assigned home addresses.
type homesState struct {
	Version int            `json:"version"`
	Homes   []assignedHome `json:"homes"`
	// HomeAgents are those that a home network was asked for.
	HomeAgents []foundHomeAgent `json:"home_agents,omitempty"`
}

// foundHomeAgent is a home agent of a network: it is good for one home address.
type foundHomeAgent struct {
	Network     netip.Prefix `json:"network"`
	HomeAddress netip.Addr   `json:"home_address"`
	Address     netip.Addr   `json:"address"`
}

// assignedHome is one of them: it is good for one home agent and NAI.
type assignedHome struct {
	HomeAgent   string     `json:"home_agent"`
	NAI         string     `json:"nai"`
	HomeAddress netip.Addr `json:"home_address"`
}

// parseHomes reads what Client.keepHomes wrote. Errors wrap hint.ErrCorrupt or hint.ErrNewer.
func parseHomes(state []byte) (homesState, error) {
	var s homesState
	if err := json.Unmarshal(state, &s); err != nil {
		return homesState{}, fmt.Errorf("%w: %w", hint.ErrCorrupt, err)
	}
	switch {
	case s.Version > homesVersion:
		return homesState{}, fmt.Errorf("%w: version %d, %d is read", hint.ErrNewer, s.Version, homesVersion)
	case s.Version != homesVersion:
		return homesState{}, fmt.Errorf("%w: version %d", hint.ErrCorrupt, s.Version)
	}
	for _, h := range s.Homes {
		if a := h.HomeAddress; !a.Is4() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
			return homesState{}, fmt.Errorf("%w: home address %v", hint.ErrCorrupt, a)
		}
	}
	for _, h := range s.HomeAgents {
		if a := h.Address; !a.Is4() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
			return homesState{}, fmt.Errorf("%w: home agent %v", hint.ErrCorrupt, a)
		}
	}
	return s, nil
}

// homeAgents returns the home agents whose home addresses are assigned, by name.
func (c *Client) homeAgents() map[string]*config.HomeAgent {
	all := make(map[string]*config.HomeAgent)
	for name, ha := range map[string]*config.HomeAgent{nameInternal: &c.cfg.Internal, nameExternal: &c.cfg.External} {
		if c.homes.assigned[name] {
			all[name] = ha
		}
	}
	return all
}

// homeAgentIdentity is what a home agent is known by in the state: its name or its address as configured.
func (c *Client) homeAgentIdentity(ha *config.HomeAgent) string {
	switch {
	case ha.Name != "":
		return ha.Name
	case ha == &c.cfg.External && ha.Dynamic:
		return c.homes.first.String()
	}
	return ha.Address.String()
}

// recallHomes takes the home addresses that were assigned before.
func (c *Client) recallHomes() {
	c.homes.first = c.cfg.External.Address
	c.homes.assigned = map[string]bool{
		nameInternal: !c.cfg.Internal.HomeAddress.IsValid(),
		nameExternal: c.cfg.HasExternal() && !c.cfg.External.HomeAddress.IsValid(),
	}
	if c.homes.store == nil || len(c.homeAgents()) == 0 && !c.cfg.External.Network.IsValid() {
		return
	}
	state, err := c.homes.store.Load()
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	var s homesState
	if err == nil {
		s, err = parseHomes(state)
	}
	if err != nil {
		aside := ""
		if errors.Is(err, hint.ErrCorrupt) {
			var moved error
			aside, moved = c.homes.store.SetAside()
			err = errors.Join(err, moved)
		} else {
			c.homes.store = nil // of a newer version, or not to be read now: it is left as it is
		}
		c.log.Warn("the home addresses assigned before cannot be read: others may be assigned", zap.String("set_aside", aside), zap.Error(err))
		return
	}
	for _, ha := range c.homeAgents() {
		for _, h := range s.Homes {
			if h.HomeAgent == c.homeAgentIdentity(ha) && h.NAI == ha.NAI {
				ha.HomeAddress = h.HomeAddress
			}
		}
	}
	for _, h := range s.HomeAgents {
		if x := &c.cfg.External; h.Network == x.Network && h.HomeAddress == x.HomeAddress && h.Address != c.cfg.Internal.Address {
			x.Address = h.Address
		}
	}
}

// keepHomes writes the assigned home addresses down.
func (c *Client) keepHomes() {
	if c.homes.store == nil {
		return
	}
	s := homesState{Version: homesVersion}
	if x := c.cfg.External; x.Network.IsValid() && x.Address.IsValid() {
		s.HomeAgents = []foundHomeAgent{{x.Network, x.HomeAddress, x.Address}}
	}
	for _, ha := range c.homeAgents() {
		if ha.HomeAddress.IsValid() {
			s.Homes = append(s.Homes, assignedHome{c.homeAgentIdentity(ha), ha.NAI, ha.HomeAddress})
		}
	}
	data, err := json.Marshal(s)
	if err == nil {
		err = c.homes.store.Save(data)
	}
	if err != nil {
		c.log.Warn("the assigned home addresses are not kept", zap.Error(err))
	}
}

// identify fills in who a registration with that home agent is for.
func (c *Client) identify(mn *mobilenode.Config, name string, ha config.HomeAgent) {
	mn.HomeAgent, mn.HomeAddress, mn.NAI = ha.Address, ha.HomeAddress, ha.NAI
	mn.Assigned = c.homes.assigned[name] && ha.HomeAddress.IsValid()
	if ha.Dynamic && !c.homes.settled {
		mn.DynamicHomeAgent = mobilenode.HomeAgentAny
	}
}

// redirected has the x-HA that another one has named take its place, or the configured one that of a named one which is silent, and
// reports whether the event has been dealt with by that: the session is made anew.
func (c *Client) redirected(name string, e mobilenode.Event) bool {
	x := &c.cfg.External
	if name != nameExternal || !x.Dynamic {
		return false
	}
	to, why := netip.Addr{}, ""
	switch e := e.(type) {
	case mobilenode.Accepted:
		c.homes.visited, c.homes.settled = nil, true
	case mobilenode.Refused:
		if e.Code == wire.CodeRedirectHomeAgent && e.Retrying && !slices.Contains(c.homes.visited, e.HomeAgent) {
			to, why = e.HomeAgent, fmt.Sprintf("the x-HA %v names %v", x.Address, e.HomeAgent)
			c.homes.visited = append(c.homes.visited, x.Address)
		}
	case mobilenode.Unanswered:
		if !e.Deregistration && !c.homes.settled && x.Address != c.homes.first {
			to, why = c.homes.first, fmt.Sprintf("the x-HA %v, which was named, does not answer", x.Address)
			c.homes.visited = nil
		}
	}
	if !to.IsValid() || to == c.cfg.Internal.Address {
		return false
	}
	x.Address = to
	c.event(control.Event{Kind: "home_agent", Message: fmt.Sprintf("%s: %v is asked now", why, to)})
	c.renewSoon()
	return true
}

// renewSoon has the session made anew when what is going on has come to its end.
func (c *Client) renewSoon() {
	if !c.homes.renewing {
		c.homes.renewing = true
		c.after(0, c.renewSession)
	}
}

// learnHome takes the home address of an accepting reply, and reports whether it is another one than the session has: then the session
// is made anew, and the reply is of no use.
func (c *Client) learnHome(name string, home netip.Addr) bool {
	ha := c.homeAgents()[name]
	if ha == nil || ha.HomeAddress == home {
		return false
	}
	before := ha.HomeAddress
	ha.HomeAddress = home
	c.keepHomes()
	message := fmt.Sprintf("the %s assigns the home address %v", name, home)
	if before.IsValid() {
		message += fmt.Sprintf(" in the place of %v: connections of applications end", before)
	}
	c.event(control.Event{Kind: "home_address", Message: message})
	c.renewSoon()
	return true
}

// renewSession makes the session anew, with the addresses that are known now. The enterprise's traffic stays blocked meanwhile.
func (c *Client) renewSession() {
	c.homes.renewing = false
	if c.session == nil {
		return
	}
	c.end("an address is assigned or named that the session has not")
	if err := c.up(); err != nil {
		c.log.Error("coming up anew", zap.Error(err))
		c.problem(control.Problem{Message: "coming up anew: " + err.Error(), Advice: "run `mipvpn up` to try again"})
	}
}

// homeless reports whether the i-HoA is not known yet.
func (c *Client) homeless() bool { return !c.cfg.Internal.HomeAddress.IsValid() }
