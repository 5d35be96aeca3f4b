package metrics

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mipvpn/client/config"
	"mipvpn/client/control"
)

// Source is the client as the Collector sees it.
type Source interface {
	// Status returns the whole state; see control.Backend.
	Status(ctx context.Context) (control.Status, error)
	// Counts returns a copy of what has been counted.
	Counts(ctx context.Context) (Counts, error)
}

// askTime is how long a client may take to answer.
const askTime = 5 * time.Second

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("mipvpn_client_"+name, help, labels, nil)
}

// What a client tells.
var (
	descReachable = desc("responsive", "1 when the client has answered within 5 s, else 0, and then nothing else is told.")
	descBuild     = desc("build_info", "1, by version of the program.", "version")
	descState     = desc("state", "1 for the state that the client is in, 0 for the others.", "state")
	descSince     = desc("state_since_seconds", "When that state began, in seconds since 1970.")
	descMode      = desc("mode", "1 for the access mode in use, 0 for the others.", "mode")
	descPolicy    = desc("mode_policy", "1 for the mode policy, auto or a pinned mode, 0 for the others.", "policy")
	descVerdict   = desc("verdict", "1 for where the interface in use is, 0 for the others.", "verdict")
	descFaces     = desc("interfaces", "Network interfaces, by where they are.", "verdict")
	descAge       = desc("proof_age_seconds", "Time since the sending of the request that the proof of inside answers; missing without a proof.")
	descExpires   = desc("proof_expires_in_seconds", "Time until the proof of inside is void unless renewed; missing without a proof.")
	descExposure  = desc("plaintext_exposure_seconds", "Greatest age of a proof at which a plaintext packet has passed; always less than mipvpn_client_t_monitor_seconds.")
	descMonitor   = desc("t_monitor_seconds", "T_MONITOR, the greatest age of a proof (RFC 5265 section 3.2.4).")
	descWaived    = desc("tnc_waived", "1 where the configuration accepts an i-HA without Trusted Networks Configured extension.")
	descProblems  = desc("problems", "Things that keep the client from working, or will.")
	descQuestions = desc("questions", "Passwords and PINs that persons are asked for at the moment.")
	descMTU       = desc("path_mtu_octets", "Longest packet of the home address that the path in use carries; missing without a path.")
	descLifetime  = desc("registration_lifetime_seconds", "What is left of the registration of a Mobile IP layer in use.", "layer")

	descHandoffs   = desc("handoffs_total", "Changes of mode or interface, by access mode before and after.", "from", "to")
	descOutage     = desc("handoff_outage_seconds", "Time of a change in which no user data could flow.")
	descReplies    = desc("registration_replies_total", "Registration replies, by home agent and code (RFC 5944 section 3.4).", "agent", "code")
	descUnanswered = desc("registrations_unanswered_total", "Series of registration requests without a usable reply.", "agent")
	descUnverified = desc("registration_replies_unverified_total", "Registration replies that were not authentic.", "agent")
	descVPNUp      = desc("vpn_established", "1 while there is a tunnel to the gateway.")
	descDowngraded = desc("vpn_downgraded", "1 while the gateway did no hybrid key exchange though one was offered.")
	descVPN        = desc("vpn_events_total", "What has become of tunnels to the gateway.", "event")
	descEvents     = desc("events_total", "Events, as `mipvpn events` shows them, by kind.", "kind")
	descRestored   = desc("restored_settings_total", "Rules, routes, kernel variables (sysctls) and nftables tables of the client that other programs had taken away and that were put back.")
	descPackets    = desc("packets_total", "IP packets carried, by the layer whose link they go by: user (the home address), vpn (inside ESP), x-mip (the external home address), underlay (the interfaces). A layer's packets carry those of the one above, and signalling.", "layer", "direction")
	descOctets     = desc("octets_total", "Octets of those packets with their IP headers.", "layer", "direction")
	descBattery    = desc("on_battery", "1 while the laptop runs on battery.")
	descMetered    = desc("metered", "1 while the connection is metered.")
	descSparing    = desc("sparing_factor", "How many times rarer liveness checks of the VPN are for these, and keepalives at most; 1 for as configured.")
	descDropped    = desc("dropped_packets_total", "Packets that were not passed on.", "reason")
)

var all = []*prometheus.Desc{descReachable, descBuild, descState, descSince, descMode, descPolicy, descVerdict, descFaces, descAge, descExpires, descExposure,
	descMonitor, descWaived, descProblems, descQuestions, descMTU, descLifetime, descHandoffs, descOutage, descReplies, descUnanswered, descUnverified,
	descVPNUp, descDowngraded, descVPN, descEvents, descRestored, descPackets, descOctets, descBattery,
	descMetered, descSparing, descDropped}

// Collector is a prometheus.Collector for a client. It asks the client each time that it is asked.
type Collector struct {
	source  Source
	version string
}

// NewCollector returns a Collector for the client; version names the program's.
func NewCollector(source Source, version string) *Collector { return &Collector{source, version} }

// Describe implements prometheus.Collector.
func (*Collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range all {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	s := sink{out}
	s.gauge(descBuild, 1, c.version)
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	status, err := c.source.Status(ctx)
	if err != nil {
		s.gauge(descReachable, 0)
		return
	}
	counts, err := c.source.Counts(ctx)
	if err != nil {
		s.gauge(descReachable, 0)
		return
	}
	s.gauge(descReachable, 1)
	s.status(status)
	s.counts(counts)
}

// sink is where metrics go.
type sink struct{ out chan<- prometheus.Metric }

func (s sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (s sink) counter(d *prometheus.Desc, v uint64, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// choice tells which of the values it is.
func choice[T ~string](s sink, d *prometheus.Desc, values []T, is T) {
	for _, v := range values {
		s.gauge(d, truth(v == is), string(v))
	}
}

var verdicts = []control.Verdict{control.VerdictInside, control.VerdictOutside, control.VerdictUnknown}

func (s sink) status(st control.Status) {
	choice(s, descState, control.States(), st.State)
	s.gauge(descSince, float64(st.Since.UnixNano())/1e9)
	policies := config.ModePolicies()
	choice(s, descPolicy, policies, st.ModePolicy)
	choice(s, descMode, policies[1:], st.Mode) // the first is "auto"
	choice(s, descVerdict, verdicts, st.Proof.Verdict)
	faces := make(map[control.Verdict]int)
	for _, i := range st.Interfaces {
		faces[i.Proof.Verdict]++
	}
	for _, v := range verdicts {
		s.gauge(descFaces, float64(faces[v]), string(v))
	}
	if st.Proof.Age != nil && st.Proof.ExpiresIn != nil {
		s.gauge(descAge, *st.Proof.Age)
		s.gauge(descExpires, *st.Proof.ExpiresIn)
	}
	s.gauge(descExposure, float64(st.Exposure)/1000)
	s.gauge(descMonitor, st.Monitor)
	s.gauge(descWaived, truth(st.TNCWaived))
	s.gauge(descProblems, float64(len(st.Problems)))
	s.gauge(descQuestions, float64(len(st.Questions)))
	if st.PathMTU != nil {
		s.gauge(descMTU, float64(st.PathMTU.MTU))
	}
	for _, l := range st.Layers {
		if l.Lifetime > 0 {
			s.gauge(descLifetime, l.Lifetime, l.Kind)
		}
	}
	s.gauge(descVPNUp, truth(st.VPN != nil && st.VPN.Established))
	s.gauge(descDowngraded, truth(st.VPN != nil && st.VPN.Downgraded))
	battery, metered, sparing := false, false, 1
	if p := st.Power; p != nil {
		battery, metered, sparing = p.Battery, p.Metered, p.Sparing
	}
	s.gauge(descBattery, truth(battery))
	s.gauge(descMetered, truth(metered))
	s.gauge(descSparing, float64(sparing))
	for reason, n := range st.Counters.Drops {
		s.counter(descDropped, n, reason)
	}
}

func (s sink) counts(c Counts) {
	for h, n := range c.Handoffs {
		s.counter(descHandoffs, n, h.From, h.To)
	}
	s.out <- prometheus.MustNewConstHistogram(descOutage, c.Outages.Count, c.Outages.Sum.Seconds(), c.Outages.cumulative())
	for r, n := range c.Registrations {
		s.counter(descReplies, n, agentLabel(r.Agent), strconv.Itoa(int(r.Code)))
	}
	for a, n := range c.Unanswered {
		s.counter(descUnanswered, n, agentLabel(a))
	}
	for a, n := range c.Unverified {
		s.counter(descUnverified, n, agentLabel(a))
	}
	for _, e := range VPNEvents() {
		s.counter(descVPN, c.VPN[e], string(e))
	}
	for kind, n := range c.Events {
		s.counter(descEvents, n, kind)
	}
	s.counter(descRestored, c.Restored)
	for _, l := range layers {
		t := c.Layers[l]
		s.counter(descPackets, t.TxPackets, l, "sent")
		s.counter(descPackets, t.RxPackets, l, "received")
		s.counter(descOctets, t.TxBytes, l, "sent")
		s.counter(descOctets, t.RxBytes, l, "received")
	}
}

// agentLabel returns "i-ha" for "i-HA".
func agentLabel(name string) string { return strings.ToLower(name) }
