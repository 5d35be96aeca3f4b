package strongswan

import (
	"cmp"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/config/draft"
)

// swanctl is one run of ParseSwanctl.
type swanctl struct {
	*loader
	*Result
	secrets *section
	// conn is the connection, where its path for remarks.
	conn  *section
	where string
	// certified is the section of the laptop's certificate, if it has one.
	certified *section
	// proposals are those of the connection and of its child.
	proposals []wanted
}

// ParseSwanctl takes over a connection of a swanctl.conf, name, in a file system whose root has the absolute path dir: includes, certificates
// and keys are read from it and from nowhere else. Errors are those of Read.
func ParseSwanctl(system fs.FS, dir, name, connection string) (*Result, error) {
	l := &loader{system: system, dir: dir}
	root := &section{}
	if err := l.load(name, root, 0); err != nil {
		return nil, fmt.Errorf("strongswan: %w", err)
	}
	conn, err := chosen(root.child("connections"), connection)
	if err != nil {
		return nil, fmt.Errorf("strongswan: %w", err)
	}
	s := &swanctl{loader: l, Result: &Result{Name: conn.name, Draft: &draft.Draft{}}, where: "connections." + conn.name}
	if s.conn, err = l.resolve(root, conn, 0); err != nil {
		return nil, fmt.Errorf("strongswan: %w", err)
	}
	s.secrets = &section{}
	if secrets := root.child("secrets"); secrets != nil {
		if s.secrets, err = l.resolve(root, secrets, 0); err != nil {
			return nil, fmt.Errorf("strongswan: %w", err)
		}
	}
	s.Remarks = append(s.Remarks, l.remarks...)
	if err := s.take(); err != nil {
		s.Draft.Wipe()
		return nil, fmt.Errorf("strongswan: %w", err)
	}
	for _, other := range root.sections {
		if other.name != "connections" && other.name != "secrets" && !other.used {
			s.remark(other.name, "not carried over: a client's connection has no need of it, or mipvpn has nothing like it")
		}
	}
	return s.Result, nil
}

// chosen returns the connection that is meant.
func chosen(connections *section, name string) (*section, error) {
	if connections == nil || len(connections.sections) == 0 {
		return nil, fmt.Errorf("%w: there is no connection in the file", ErrConnection)
	}
	var names []string
	for _, c := range connections.sections {
		if c.name == name || name == "" && len(connections.sections) == 1 {
			return c, nil
		}
		names = append(names, c.name)
	}
	if name == "" {
		return nil, fmt.Errorf("%w: there are several, say which with --connection: %s", ErrConnection, strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("%w as %q: there are %s", ErrConnection, name, strings.Join(names, ", "))
}

// reasons say why keys of a connection are not carried over; an empty reason says that nothing is lost.
var reasons = map[string]string{
	"vips":         "",
	"local_addrs":  "not carried over: the connection is from whatever address the laptop has",
	"local_port":   "not carried over: the port is the client's own",
	"mobike":       "not carried over: see mechanisms.endpoint_update",
	"reauth_time":  "not carried over: the IKE SA is rekeyed, and set up anew where the gateway demands it",
	"over_time":    "not carried over: lifetimes are gateway.ike_lifetime and gateway.child_lifetime",
	"rand_time":    "not carried over: lifetimes are gateway.ike_lifetime and gateway.child_lifetime",
	"dpd_timeout":  "not carried over: it is IKEv1's; see gateway.dead",
	"keyingtries":  "not carried over: the client goes on trying",
	"unique":       "not carried over: it is the gateway's",
	"send_certreq": "not carried over: the client says which authorities it trusts; long messages are fragmented (gateway.ike_datagram)",
	"send_cert":    "not carried over: the client sends its certificate",
	"pull":         "",
	"version":      "",
	"dscp":         "not carried over: the client's messages have no mark",
	"pools":        "not carried over: it is the gateway's",
	"aggressive":   "not carried over: it is IKEv1's",
	"childless":    "not carried over: the first child security association comes with the IKE SA",
	"ocsp":         "not carried over: see trust.ocsp",
}

// usual are values with which nothing is lost.
var usual = map[string][]string{
	"send_certreq": {"yes"}, "send_cert": {"ifasked", "always"}, "dscp": {"000000"}, "aggressive": {"no"}, "childless": {"allow", "never"}, "ocsp": {"reply", "both", "request"},
	"copy_df": {"yes"}, "copy_ecn": {"yes"}, "copy_dscp": {"out"}, "ipcomp": {"no"}, "sha256_96": {"no"}, "hw_offload": {"no", "auto"}, "policies_fwd_out": {"no"},
	"start_action": {"none"}, "mediation": {"no"}, "inactivity": {"0", "0s"},
}

// childReasons are those of a child.
var childReasons = map[string]string{
	"local_ts":       "not carried over: the client asks for the address that it gets from the gateway",
	"start_action":   "not carried over: see up_at_start",
	"close_action":   "",
	"dpd_action":     "",
	"life_time":      reasons["over_time"],
	"rand_time":      reasons["over_time"],
	"mode":           "",
	"updown":         "not carried over: see [hooks]",
	"policies":       "",
	"hostaccess":     "",
	"interface":      "",
	"priority":       "",
	"sha256_96":      "not carried over: mipvpn truncates as RFC 4868 says",
	"life_bytes":     "not carried over: see gateway.child_octets",
	"life_packets":   "not carried over: see gateway.child_packets",
	"ipcomp":         "not carried over: packets are not compressed",
	"hw_offload":     "not carried over: ESP is done by the client itself",
	"set_mark_out":   "",
	"reqid":          "",
	"copy_df":        "not carried over: see [mtu]",
	"copy_ecn":       "not carried over: marks of congestion are carried as RFC 6040 says",
	"copy_dscp":      "not carried over: it is copied to the outer header alone",
	"inactivity":     "not carried over: see gateway.park",
	"start_priority": "",
}

// take makes keys of the connection.
func (s *swanctl) take() error {
	if v, ok := s.conn.value("version"); ok && v == "1" {
		return fmt.Errorf("%w: %s.version is 1, and mipvpn has IKEv2 alone", ErrUnsupported, s.where)
	}
	if err := s.peers(); err != nil {
		return err
	}
	if err := s.rounds(); err != nil {
		return err
	}
	s.remote()
	s.timers()
	s.children()
	s.algorithms(s.proposals...)
	s.gatherSecrets()
	s.unused(s.where, s.conn, reasons)
	return nil
}

// peers takes the gateway's addresses.
func (s *swanctl) peers() error {
	at := s.where + ".remote_addrs"
	peers := fields(s.conn.text("remote_addrs"))
	if len(peers) == 0 {
		return fmt.Errorf("%w: %s is missing, so that it is no client's connection", ErrUnsupported, at)
	}
	var taken []string
	for _, p := range peers {
		if a, err := netip.ParseAddr(p); err == nil && a.Is6() {
			if s.Draft.Has("gateway.address6") {
				s.remark(at, "%s is not carried over: there is one IPv6 address of the gateway", p)
				continue
			}
			s.set(at, "gateway.address6", p)
			continue
		}
		if err := config.CheckValue("gateway.address", p); err != nil {
			s.remark(at, "%s is not carried over: %v", p, err)
			continue
		}
		taken = append(taken, p)
	}
	if len(taken) > 0 {
		s.set(at, "gateway.address", taken[0])
	}
	if len(taken) > 1 {
		s.set(at, "gateway.fallback", taken[1:])
	}
	if port, ok := s.conn.value("remote_port"); ok && port != "500" {
		s.remark(s.where+".remote_port", "not carried over: IKE goes to ports 500 and 4500 of the gateway, or by gateway.tcp_port")
	}
	return nil
}

// fields divides a list with commas.
func fields(list string) []string {
	var all []string
	for f := range strings.SplitSeq(list, ",") {
		if f = strings.TrimSpace(f); f != "" {
			all = append(all, f)
		}
	}
	return all
}

// rounds takes how the laptop proves its identity.
func (s *swanctl) rounds() error {
	local := s.conn.beginning("local")
	slices.SortStableFunc(local, func(a, b *section) int { return cmp.Compare(number(a.text("round")), number(b.text("round"))) })
	var rounds []string
	for n, l := range local {
		at := s.where + "." + l.name
		method := l.text("auth")
		switch round, _, _ := strings.Cut(strings.TrimPrefix(method, "ike:"), "-"); {
		case method == "psk":
			rounds = append(rounds, string(config.RoundPSK))
		case method == "", slices.Contains([]string{"pubkey", "rsa", "rsa/pss", "ecdsa", "ed25519"}, round):
			if method != "" && method != "pubkey" {
				s.remark(at+".auth", "%s is taken for pubkey: the algorithm of the signature follows from the key", method)
			}
			rounds = append(rounds, string(config.RoundCertificate))
			s.certified = l
		case method == "eap-tls":
			rounds = append(rounds, string(config.RoundTLS))
			s.certified = l
		case method == "eap-ttls", method == "eap-mschapv2":
			rounds = append(rounds, method)
		case method == "eap", method == "eap-dynamic":
			s.remark(at+".auth", "%s is taken for eap-mschapv2: if the gateway wants another method, set authentication.rounds", method)
			rounds = append(rounds, string(config.RoundMSCHAPv2))
		default:
			return fmt.Errorf("%w: %s.auth is %q; mipvpn has psk, pubkey, eap-mschapv2, eap-tls and eap-ttls", ErrUnsupported, at, method)
		}
		if id, ok := l.value("id"); ok {
			switch converted, can := identity(id); {
			case n > 0 && s.Draft.Text("gateway.local_identity") != converted:
				s.remark(at+".id", "not carried over: all rounds have gateway.local_identity")
				if strings.HasPrefix(method, "eap") && l.text("eap_id") == "" { // whose default it is
					s.set(at+".id", "authentication.user", id)
				}
			case !can:
				s.remark(at+".id", "%q is not carried over: %s", id, identityAdvice)
			default:
				s.set(at+".id", "gateway.local_identity", converted)
			}
		}
		if id, ok := l.value("eap_id"); ok && !strings.HasPrefix(id, "%") {
			s.set(at+".eap_id", "authentication.user", id)
		}
		if id, ok := l.value("aaa_id"); ok && !strings.HasPrefix(id, "%") {
			if converted, can := identity(id); can {
				s.set(at+".aaa_id", "authentication.eap_server", converted)
			} else {
				s.remark(at+".aaa_id", "%q is not carried over: %s", id, identityAdvice)
			}
		}
	}
	if len(rounds) == 0 { // no local section is one with a public key
		rounds = []string{string(config.RoundCertificate)}
		s.remark(s.where+".local", "there is none: a certificate is to be set in [authentication]")
	}
	if !slices.Equal(rounds, []string{string(config.RoundPSK)}) {
		s.set(s.where+".local", "authentication.rounds", rounds)
	}
	for _, l := range local {
		if l == s.certified {
			s.certificate(l)
		}
		s.unused(s.where+"."+l.name, l, map[string]string{"round": "", "xauth_id": "not carried over: it is IKEv1's"})
	}
	return nil
}

// identityAdvice says what identities there are.
const identityAdvice = "an identity is an IPv4 address, a mail address or a domain name; take one that the certificate has as an alternative name"

// identity returns an identity of strongSwan's as mipvpn writes it, and whether mipvpn has such.
func identity(id string) (string, bool) {
	for _, prefix := range []string{"fqdn:", "dns:", "email:", "rfc822:", "userfqdn:", "ipv4:"} {
		if rest, ok := strings.CutPrefix(id, prefix); ok {
			return rest, rest != ""
		}
	}
	if rest, ok := strings.CutPrefix(id, "@@"); ok {
		return rest, rest != ""
	}
	if rest, ok := strings.CutPrefix(id, "@"); ok {
		return rest, rest != "" && !strings.HasPrefix(rest, "#")
	}
	if a, err := netip.ParseAddr(id); err == nil {
		return id, a.Is4()
	}
	return id, id != "" && !strings.ContainsAny(id, "=%*: ")
}

// remote takes what the gateway proves itself with.
func (s *swanctl) remote() {
	remotes := s.conn.beginning("remote")
	var proofs []string
	for n, r := range remotes {
		at := s.where + "." + r.name
		method := r.text("auth")
		proof := config.GatewayCertificate
		switch kind, _, _ := strings.Cut(method, "-"); kind {
		case "psk":
			proof = config.GatewayPSK
		case "eap":
			proof = config.GatewayEAP
		default:
			if method != "" && method != "pubkey" {
				s.remark(at+".auth", "%s is taken for pubkey: see gateway.profile for the algorithms", method)
			}
		}
		if n == 0 {
			proofs = append(proofs, string(proof))
		} else {
			s.remark(at, "not carried over: the gateway proves itself once")
			continue
		}
		if id, ok := r.value("id"); ok && id != "%any" {
			if converted, can := identity(id); can {
				s.set(at+".id", "gateway.remote_identity", converted)
			} else {
				s.remark(at+".id", "%q is not carried over: %s", id, identityAdvice)
			}
		}
		switch revocation, ok := r.value("revocation"); {
		case !ok, revocation == "relaxed":
		case revocation == "strict":
			s.set(at+".revocation", "trust.revocation", "hard")
		default:
			s.remark(at+".revocation", "%s is taken for relaxed (trust.revocation = \"soft\")", revocation)
		}
		s.authorities(r, at)
		s.unused(at, r, map[string]string{"round": "", "eap_id": "", "certs": "not carried over: the gateway's certificate is not pinned, its authority is (trust.anchors)"})
	}
	if len(proofs) == 0 {
		proofs = []string{string(config.GatewayCertificate)}
		s.authorities(&section{}, s.where+".remote")
	}
	psk := !s.Draft.Has("authentication.rounds")
	if standard := psk && proofs[0] == string(config.GatewayPSK) || !psk && proofs[0] == string(config.GatewayCertificate); !standard {
		s.set(s.where+".remote.auth", "authentication.gateway", proofs)
	}
	if !s.Draft.Has("gateway.remote_identity") {
		s.remark(s.where+".remote.id", "there is none: set gateway.remote_identity to the identity that the gateway proves")
	}
}

// timers takes times and switches.
func (s *swanctl) timers() {
	if v, ok := s.conn.value("rekey_time"); ok {
		s.duration(s.where+".rekey_time", "gateway.ike_lifetime", v)
	}
	if v, ok := s.conn.value("dpd_delay"); ok {
		s.duration(s.where+".dpd_delay", "gateway.liveness", v)
	}
	if yes(s.conn.text("encap")) {
		s.set(s.where+".encap", "gateway.force_udp_encapsulation", true)
	}
	if v, ok := s.conn.value("fragmentation"); ok && !yes(v) && v != "force" && v != "accept" {
		s.set(s.where+".fragmentation", "gateway.ike_datagram", int64(0))
	}
	if id, ok := s.conn.value("ppk_id"); ok {
		s.set(s.where+".ppk_id", "gateway.ppk_id", id)
	}
	if yes(s.conn.text("ppk_required")) {
		s.set(s.where+".ppk_required", "gateway.require_ppk", true)
	}
	s.proposals = append(s.proposals, wanted{s.where + ".proposals", s.conn.text("proposals"), proposal.forIKE})
	for _, t := range s.conn.settings {
		if t.key == "mobike" && yes(t.value) {
			t.used = true
		}
	}
}

// children takes the child security association.
func (s *swanctl) children() {
	parents := s.conn.beginning("children")
	if len(parents) == 0 {
		return
	}
	var subnets []string
	everything := false
	for n, c := range parents[0].sections {
		at := s.where + ".children." + c.name
		if mode, ok := c.value("mode"); ok && mode != "tunnel" {
			s.remark(at, "not carried over: its mode is %s, and mipvpn has tunnels alone", mode)
			continue
		}
		for _, ts := range fields(c.text("remote_ts")) {
			prefix, rest, _ := strings.Cut(ts, "[")
			if rest != "" {
				s.remark(at+".remote_ts", "%s is taken without its protocol and ports", ts)
			}
			p, err := netip.ParsePrefix(prefix)
			if a, addrErr := netip.ParseAddr(prefix); addrErr == nil {
				p, err = netip.PrefixFrom(a, a.BitLen()), nil
			}
			switch {
			case prefix == "dynamic":
			case err != nil || !p.Addr().Is4():
				s.remark(at+".remote_ts", "%s is not carried over: IPv4 prefixes are", ts)
			case p.Bits() == 0:
				everything = true
				s.remark(at+".remote_ts", `%s is everything: enterprise.tunnel = "full" sends everything through the VPN, and enterprise.prefixes says what is the company's`, ts)
			case !slices.Contains(subnets, p.Masked().String()):
				subnets = append(subnets, p.Masked().String())
			}
		}
		if n > 0 {
			s.remark(at, "joined with the first child, whose times count: there is one child security association")
			continue
		}
		if v, ok := c.value("rekey_time"); ok {
			s.duration(at+".rekey_time", "gateway.child_lifetime", v)
		}
		for _, k := range []struct{ from, key string }{{"rekey_bytes", "gateway.child_octets"}, {"rekey_packets", "gateway.child_packets"}, {"replay_window", "gateway.replay_window"}, {"tfc_padding", "gateway.tfc_padding"}} {
			v, ok := c.value(k.from)
			if n, err := strconv.ParseInt(v, 0, 64); err == nil && n == 0 && k.from == "replay_window" {
				s.remark(at+"."+k.from, "0 is not carried over: packets that were recorded are never taken again")
			} else if err == nil {
				s.set(at+"."+k.from, k.key, n)
			} else if ok {
				s.remark(at+"."+k.from, "%q is not carried over: it is no number", v)
			}
		}
		s.proposals = append(s.proposals, wanted{at + ".esp_proposals", c.text("esp_proposals"), proposal.forESP})
		s.unused(at, c, childReasons)
	}
	if len(subnets) > 0 && !everything {
		s.set(s.where+".children", "gateway.remote_subnets", subnets)
	}
}

// duration takes a time, a number with s, m, h or d behind it, or in seconds.
func (s *swanctl) duration(where, key, text string) {
	unit, digits := time.Second, text
	if n := len(text); n > 0 {
		if u, ok := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}[text[n-1]]; ok {
			unit, digits = u, strings.TrimSpace(text[:n-1])
		}
	}
	n, err := strconv.ParseInt(digits, 10, 32)
	switch {
	case err != nil || n < 0:
		s.remark(where, "%q is not carried over: it is no time", text)
	case n == 0:
		s.remark(where, "0 is not carried over: %s stays as it is", key)
	default:
		s.set(where, key, (time.Duration(n) * unit).String())
	}
}

func yes(v string) bool { return slices.Contains([]string{"yes", "true", "1", "enabled"}, v) }

func number(v string) int {
	n, err := strconv.Atoi(v)
	if err != nil {
		return 0
	}
	return n
}
