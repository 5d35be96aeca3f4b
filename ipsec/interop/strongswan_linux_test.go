package interop

import (
	"fmt"
	"maps"
	"os"
	"strings"
	"time"

	"mipvpn/ipsec/interop/charon"
)

// The names of the one connection and its child that a case has.
const (
	connection = "case"
	childName  = "net"
)

// Identities of the ends.
const (
	clientName  = "laptop@corp.example"
	gatewayName = "gateway.corp.example"
)

// call asks charon, and fails the test when it refuses.
func (g *ground) call(r *recorder, command string, request charon.Section) charon.Section {
	r.Helper()
	answer, _, err := g.daemon.Call(command, "", request)
	if err != nil {
		r.Fatal(err)
	}
	return answer
}

// load gives charon the connection, pools and credentials of a case, and takes them back at its end.
func (g *game) load() {
	g.Helper()
	r, c := g.recorder, g.Case
	r.Cleanup(func() {
		select {
		case <-g.daemon.Done():
			r.Errorf("charon has ended")
			return
		default:
		}
		if r.Failed() {
			return // the ground is not used again
		}
		g.call(r, "unload-conn", charon.Section{"name": connection})
		g.call(r, "clear-creds", nil)
		g.call(r, "flush-certs", nil)
	})
	s := c.connection()
	maps.Copy(s, g.tell())
	if g.change != nil {
		g.change(s)
	}
	if c.role == initiator {
		v4 := charon.Section{"addrs": poolPrefix.String(), "dns": []string{nameServer.String()}}
		if c.config == splitDNS {
			v4[internalDNSDomain] = []string{domainName}
		}
		g.call(r, "load-pool", charon.Section{"v4": v4})
		g.call(r, "load-pool", charon.Section{"v6": charon.Section{"addrs": poolPrefix6.String()}})
	}
	g.call(r, "load-conn", charon.Section{connection: s})
}

// connection is charon's side of a case in the words of swanctl.conf, but for how the ends prove themselves.
func (c Case) connection() charon.Section {
	child := charon.Section{"esp_proposals": []string{c.suite.esp}, "start_action": "none", "dpd_action": "clear"}
	s := charon.Section{"version": "2", "proposals": []string{c.suite.ike}, "mobike": yes(c.move != fixed), "dpd_delay": "60s",
		"unique": "replace", "fragmentation": map[sizes]string{whole: "no", usual: "yes", small: "force"}[c.sizes],
		"children": charon.Section{childName: child}}
	networks, vips := []string{company.String()}, []string{"0.0.0.0"}
	if c.config == both {
		networks, vips = append(networks, company6.String()), append(vips, "::")
	}
	if c.role == initiator {
		s["local_addrs"], s["pools"] = []string{gatewayAddr.String()}, []string{"v4"}
		if c.config == both {
			s["pools"] = []string{"v4", "v6"}
		}
		child["local_ts"] = networks
		return s
	}
	s["local_addrs"], s["remote_addrs"], s["vips"] = []string{c.start().String()}, []string{gatewayAddr.String()}, vips
	child["remote_ts"] = networks
	return s
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// internalDNSDomain is the number of the configuration attribute (RFC 8598 §4.1), by which a pool may name it.
const internalDNSDomain = "25"

// sas returns charon's IKE SAs.
func (g *ground) sas(r *recorder) []charon.Section {
	r.Helper()
	_, events, err := g.daemon.Call("list-sas", "list-sa", nil)
	if err != nil {
		r.Fatal(err)
	}
	var out []charon.Section
	for _, e := range events {
		for _, name := range sections(e) {
			out = append(out, e.Section(name))
		}
	}
	return out
}

// sections returns the names of a section's sections.
func sections(s charon.Section) (names []string) {
	for name := range maps.Keys(s) {
		if s.Section(name) != nil {
			names = append(names, name)
		}
	}
	return names
}

// eventually waits for something at the peer that no message of ours tells of.
func eventually(r *recorder, what string, happened func() (ok bool, state string)) {
	r.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		ok, state := happened()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			r.Fatalf("%s: it did not come to that: %s", what, state)
		}
	}
}

// noSAs waits until charon has no IKE SA.
func (g *ground) noSAs(r *recorder) {
	r.Helper()
	eventually(r, "charon has no IKE SA", func() (bool, string) {
		sas := g.sas(r)
		return len(sas) == 0, fmt.Sprint(sas)
	})
}

// mark returns how long charon's log is, and logSince what came behind.
func (g *ground) mark() int64 {
	if g.daemon == nil {
		return 0
	}
	info, err := os.Stat(g.daemon.LogPath())
	if err != nil {
		return 0
	}
	return info.Size()
}

func (g *ground) logSince(mark int64) string {
	if g.daemon == nil {
		return "no charon"
	}
	text, err := os.ReadFile(g.daemon.LogPath())
	if err != nil || int64(len(text)) < mark {
		return fmt.Sprintf("no log: %v", err)
	}
	return strings.TrimSpace(string(text[mark:]))
}

// initiate has charon connect, and returns what it says when it is through.
func (g *ground) initiate() <-chan error {
	done := make(chan error, 1)
	go func() {
		_, _, err := g.daemon.Call("initiate", "", charon.Section{"child": childName, "ike": connection, "timeout": "20000"})
		done <- err
	}()
	return done
}
