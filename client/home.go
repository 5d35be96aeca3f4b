package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/detect/hint"
	"mipvpn/mipv4/mobilenode"
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
}

// homesVersion is the version of homesState.
const homesVersion = 1

// homesState is what is kept of assigned home addresses.
type homesState struct {
	Version int            `json:"version"`
	Homes   []assignedHome `json:"homes"`
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
func homeAgentIdentity(ha *config.HomeAgent) string {
	if ha.Name != "" {
		return ha.Name
	}
	return ha.Address.String()
}

// recallHomes takes the home addresses that were assigned before.
func (c *Client) recallHomes() {
	c.homes.assigned = map[string]bool{
		nameInternal: !c.cfg.Internal.HomeAddress.IsValid(),
		nameExternal: c.cfg.HasExternal() && !c.cfg.External.HomeAddress.IsValid(),
	}
	if c.homes.store == nil || len(c.homeAgents()) == 0 {
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
			if h.HomeAgent == homeAgentIdentity(ha) && h.NAI == ha.NAI {
				ha.HomeAddress = h.HomeAddress
			}
		}
	}
}

// keepHomes writes the assigned home addresses down.
func (c *Client) keepHomes() {
	if c.homes.store == nil {
		return
	}
	s := homesState{Version: homesVersion}
	for _, ha := range c.homeAgents() {
		if ha.HomeAddress.IsValid() {
			s.Homes = append(s.Homes, assignedHome{homeAgentIdentity(ha), ha.NAI, ha.HomeAddress})
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
	if !c.homes.renewing {
		c.homes.renewing = true
		c.after(0, c.renewSession)
	}
	return true
}

// renewSession makes the session anew, with the addresses that are known now. The enterprise's traffic stays blocked meanwhile.
func (c *Client) renewSession() {
	c.homes.renewing = false
	if c.session == nil {
		return
	}
	c.end("the home address is assigned")
	if err := c.up(); err != nil {
		c.log.Error("coming up with the assigned home address", zap.Error(err))
		c.problem(control.Problem{Message: "the assigned home address cannot be used: " + err.Error(), Advice: "run `mipvpn up` to try again"})
	}
}

// homeless reports whether the i-HoA is not known yet.
func (c *Client) homeless() bool { return !c.cfg.Internal.HomeAddress.IsValid() }
