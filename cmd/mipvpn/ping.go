package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mipvpn/client/control"
)

// pingMost is the greatest --count, so that a forgotten one ends.
const pingMost = 10_000

func (a *app) ping() *cobra.Command {
	c := &cobra.Command{
		Use: "ping [--count N] [--interval D] [--json]", Short: "Measure each layer by itself: network, x-HA, VPN gateway, i-HA", Args: cobra.NoArgs,
		Long: `Measure each layer by itself: the network's router and, straight, what the layer above goes to (ICMP echo from the
interface's address), the x-HA through its tunnel (ICMP echo from the x-HoA), the VPN gateway (an IKE message that it has
to answer), and the i-HA (ICMP echo from the home address, by the way that user data takes: in the clear only while the
laptop is proven to be inside). What is not answered shows where it breaks; the last line says so.

Many routers and networks answer no echo requests. That is no failure where what lies behind them answers. Exits with 1
when the i-HA has answered none.`,
	}
	asJSON := jsonFlag(c)
	count := c.Flags().Int("count", 4, fmt.Sprintf("how often to ask, 1 to %d", pingMost))
	interval := c.Flags().Duration("interval", time.Second, "how long to wait between two questions")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if *count < 1 || *count > pingMost {
			return fmt.Errorf("--count %d is not between 1 and %d", *count, pingMost)
		}
		if *interval < 0 || *interval > time.Hour {
			return fmt.Errorf("--interval %v is not between 0 and %v", *interval, time.Hour)
		}
		return a.ask(cmd.Context(), func(c *control.Client) error {
			out := a.out
			if *asJSON {
				out = io.Discard
			}
			r, err := pingRounds(cmd.Context(), c, out, *count, *interval)
			if err != nil {
				return err
			}
			if *asJSON {
				err = writeJSON(a.out, r)
			} else {
				err = r.write(a.out, a.screen)
			}
			if err == nil && r.Result == checkFailed {
				err = &exitError{exitFailed, errors.New("the i-HA has not answered: see what is said above")}
			}
			return err
		})
	}
	return c
}

// pingReport is the document of `ping --json`.
type pingReport struct {
	Schema int `json:"schema"`
	// Mode and Interface are those of the last round.
	Mode      string `json:"mode"`
	Interface string `json:"interface"`
	// Rounds is how often was asked.
	Rounds int `json:"rounds"`
	// Layers are what came of it, from the interface up.
	Layers []pingSummary `json:"layers"`
	// Result is ok when the i-HA has answered, and failed otherwise.
	Result grade `json:"result"`
	// Message says what follows, Advice what to do about it, empty where there is nothing to do.
	Message string `json:"message"`
	Advice  string `json:"advice"`
}

// pingSummary is what the questions to one end came to.
type pingSummary struct {
	Kind   string     `json:"kind"`
	Role   string     `json:"role"`
	Target netip.Addr `json:"target"`
	Method string     `json:"method"`
	// Sent and Answered count questions and answers.
	Sent     int `json:"sent"`
	Answered int `json:"answered"`
	// Least, Mean and Most are round-trip times in milliseconds, 0 without an answer.
	Least float64 `json:"min_ms"`
	Mean  float64 `json:"avg_ms"`
	Most  float64 `json:"max_ms"`
	// Outcome says why nothing was asked the last time, empty where something was.
	Outcome string `json:"outcome"`
}

// pingRounds asks so often as count says, or until it is interrupted, and shows each round.
func pingRounds(ctx context.Context, c *control.Client, out io.Writer, count int, interval time.Duration) (*pingReport, error) {
	r := &pingReport{Schema: control.Schema, Layers: []pingSummary{}}
	for r.Rounds < count {
		p, err := c.Ping(ctx)
		switch {
		case err != nil && (ctx.Err() == nil || r.Rounds == 0):
			return nil, err
		case err != nil: // interrupted: what is known is told
			r.judge()
			return r, nil
		}
		r.add(p)
		if err := writeRound(out, r.Rounds, p); err != nil {
			return nil, err
		}
		if r.Rounds == count {
			break
		}
		select {
		case <-time.After(interval):
		case <-ctx.Done():
			r.judge()
			return r, nil
		}
	}
	r.judge()
	return r, nil
}

// add takes in a round. An end that was not asked before, since the mode is another, takes its place behind those there are.
func (r *pingReport) add(p control.Ping) {
	r.Mode, r.Interface = p.Mode, p.Interface
	r.Rounds++
	for _, l := range p.Layers {
		s := r.of(l)
		s.Outcome = l.Outcome
		if l.Asked {
			s.Sent++
		}
		if !l.Answered {
			continue
		}
		s.Answered++
		if s.Least == 0 || l.RoundTrip < s.Least {
			s.Least = l.RoundTrip
		}
		s.Most = max(s.Most, l.RoundTrip)
		s.Mean += (l.RoundTrip - s.Mean) / float64(s.Answered)
	}
}

// of returns the summary of a layer's end.
func (r *pingReport) of(l control.PingLayer) *pingSummary {
	at := 0
	for i := range r.Layers {
		if s := &r.Layers[i]; s.Kind == l.Kind && s.Role == l.Role && s.Target == l.Target {
			return s
		} else if pingOrder(s.Kind) <= pingOrder(l.Kind) {
			at = i + 1
		}
	}
	r.Layers = append(r.Layers, pingSummary{})
	copy(r.Layers[at+1:], r.Layers[at:])
	r.Layers[at] = pingSummary{Kind: l.Kind, Role: l.Role, Target: l.Target, Method: l.Method}
	return &r.Layers[at]
}

// pingOrder is the height of a layer above the interface.
func pingOrder(kind string) int {
	return strings.Index("underlay x-mip vpn i-mip", kind)
}

// judge says what follows from the answers.
func (r *pingReport) judge() {
	answered := map[string]bool{}
	for _, s := range r.Layers {
		answered[s.Kind] = answered[s.Kind] || s.Answered > 0
		answered[s.Kind+" "+s.Role] = answered[s.Kind+" "+s.Role] || s.Answered > 0
	}
	r.Result = checkFailed
	straight := answered["underlay x-HA"] || answered["underlay gateway"]
	switch {
	case answered["i-mip"]:
		r.Result, r.Message = checkOK, "every layer carries"
		if at, lost := r.loss(); lost != "" {
			r.Message = fmt.Sprintf("every layer carries, but some packets are lost: it begins in the layer %s (%s)", at, lost)
			r.Advice = "a poor radio link or a busy network shows in the underlay; loss that begins higher up is beyond it"
		}
	case answered["vpn"]:
		r.Message = "the VPN gateway answers, and the i-HA does not answer through it"
		r.Advice = "if no ESP passes (`mipvpn status` counts what comes in), the network may block it; else the i-HA is down, or the gateway does not let packets to it through"
	case answered["x-mip"]:
		r.Message = "the x-HA answers through its tunnel, and the VPN gateway does not answer"
		r.Advice = "see what `mipvpn status` says of the gateway; it may be down, or not be reached from the x-HA"
	case straight && r.asked("x-mip"):
		r.Message = "the x-HA answers straight, and nothing comes back through its tunnel"
		r.Advice = "the network may block UDP 434, or the x-HA has lost the registration: run `mipvpn detect --again`"
	case straight:
		r.Message = "the network leads to the agents outside, and no layer above it is up"
		r.Advice = "see what `mipvpn status` says; `mipvpn detect` shows what the home agents have answered"
	case answered["underlay"]:
		r.Message = "the router answers, and nothing behind it does"
		r.Advice = "the network may want a login (`mipvpn portal`), or has no way out"
	default:
		r.Message = "nothing answers, not even this network's router"
		r.Advice = "check the cable or the wireless network, and `mipvpn detect`; where user data does not flow, `mipvpn status` says why"
	}
}

// asked reports whether anything was asked in the layer.
func (r *pingReport) asked(kind string) bool {
	for _, s := range r.Layers {
		if s.Kind == kind && s.Sent > 0 {
			return true
		}
	}
	return false
}

// loss returns the lowest layer in which answers are missing, and how many. Who has never answered does not answer echo requests.
func (r *pingReport) loss() (kind, lost string) {
	for _, s := range r.Layers {
		if s.Answered > 0 && s.Answered < s.Sent {
			return s.Kind, fmt.Sprintf("%d of %d to the %s", s.Sent-s.Answered, s.Sent, s.Role)
		}
	}
	return "", ""
}

// writeRound writes one round on a line.
func writeRound(w io.Writer, n int, p control.Ping) error {
	var parts []string
	for _, l := range p.Layers {
		what := l.Kind
		if l.Kind == "underlay" {
			what = l.Role
		}
		switch {
		case l.Answered:
			parts = append(parts, fmt.Sprintf("%s %s ms", what, roundTrip(l.RoundTrip)))
		case l.Asked:
			parts = append(parts, what+" ---")
		}
	}
	if len(parts) == 0 {
		parts = []string{"nothing could be asked"}
	}
	return plain(w, fmt.Sprintf("%d  %s\n", n, strings.Join(parts, "  ")))
}

// roundTrip writes milliseconds with as many digits as mean something.
func roundTrip(ms float64) string {
	switch {
	case ms < 10:
		return fmt.Sprintf("%.2f", ms)
	case ms < 100:
		return fmt.Sprintf("%.1f", ms)
	}
	return fmt.Sprintf("%.0f", ms)
}

// write writes the report for people.
func (r *pingReport) write(w io.Writer, sc screen) error {
	p := &page{screen: screen{width: sc.printed().width, colour: sc.colour}}
	head := "layers, from the interface up"
	if r.Mode != "" {
		head += fmt.Sprintf(": mode %s on %s", r.Mode, orNone(r.Interface))
	}
	p.title(head)
	var rows [][]span
	for _, s := range r.Layers {
		name := []span{say("  " + s.Kind), say(s.Role), say(orNone(addr(s.Target)))}
		switch {
		case s.Answered > 0:
			look := good
			if s.Answered < s.Sent {
				look = poor
			}
			rows = append(rows, append(name, span{fmt.Sprintf("%d/%d", s.Answered, s.Sent), look},
				say(fmt.Sprintf("%s / %s / %s ms", roundTrip(s.Least), roundTrip(s.Mean), roundTrip(s.Most)))))
		case s.Sent > 0:
			look := bad
			if r.Result == checkOK {
				look = faint
			}
			rows = append(rows, append(name, span{fmt.Sprintf("0/%d", s.Sent), look}, span{"no answer", look}))
		default:
			rows = append(rows, append(name, span{"-", faint}, span{s.Outcome, faint}))
		}
	}
	p.table(0, rows)
	look := bad
	if r.Result == checkOK {
		look = usual
	}
	p.field(field{label: "result", text: r.Message, style: look})
	if r.Advice != "" {
		p.field(field{label: "advice", text: r.Advice})
	}
	return p.write(w)
}
