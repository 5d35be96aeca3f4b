package strongswan

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"mipvpn/client/config"
	"mipvpn/client/config/draft"
	"mipvpn/ipsec/pki"
)

// profile is one run of ParseProfile: the values that are left, by their paths with dots between.
type profile struct {
	*Result
	left map[string]any
}

// ParseProfile takes over a profile of strongSwan's app for Android: a JSON document, with certificates in base64. Errors are those of Read.
func ParseProfile(data []byte) (*Result, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	doc := map[string]any{}
	if err := d.Decode(&doc); err != nil {
		return nil, fmt.Errorf("strongswan: %w: %w", ErrFormat, err)
	}
	if d.More() {
		return nil, fmt.Errorf("strongswan: %w: something follows the document", ErrFormat)
	}
	p := &profile{Result: &Result{Draft: &draft.Draft{}}, left: map[string]any{}}
	for k, v := range doc {
		if table, ok := v.(map[string]any); ok {
			for k2, v2 := range table {
				p.left[k+"."+k2] = v2
			}
			continue
		}
		p.left[k] = v
	}
	if err := p.take(); err != nil {
		p.Draft.Wipe()
		return nil, fmt.Errorf("strongswan: %w", err)
	}
	return p.Result, nil
}

// text returns a text and takes it off the list.
func (p *profile) text(key string) string {
	s, ok := p.left[key].(string)
	if ok {
		delete(p.left, key)
	}
	return strings.TrimSpace(s)
}

// number takes a whole number off the list. The app takes it as a text, too.
func (p *profile) number(key string) (int64, bool) {
	i, err := strconv.ParseInt(fmt.Sprint(p.left[key]), 10, 64)
	if err == nil {
		delete(p.left, key)
	}
	return i, err == nil
}

// flag returns a switch, which the app takes as a text, too, and whether v is one.
func flag(v any) (on, ok bool) {
	switch text := strings.ToLower(fmt.Sprint(v)); text {
	case "true", "false":
		return text == "true", true
	}
	return false, false
}

// octets takes what is in base64 off the list.
func (p *profile) octets(key string) []byte {
	text := p.text(key)
	if text == "" {
		return nil
	}
	text = strings.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\r\n", r) {
			return -1
		}
		return r
	}, text)
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if data, err := encoding.DecodeString(text); err == nil {
			return data
		}
	}
	p.remark(key, "not carried over: it is not base64")
	return nil
}

// profileRounds are the laptop's proofs for each type of profile.
var profileRounds = map[string][]config.Round{
	"ikev2-eap":      {config.RoundMSCHAPv2},
	"ikev2-cert":     {config.RoundCertificate},
	"ikev2-cert-eap": {config.RoundCertificate, config.RoundMSCHAPv2},
	"ikev2-eap-tls":  {config.RoundTLS},
}

// profileReasons say why values are not carried over; an empty reason says that nothing is lost.
var profileReasons = map[string]string{
	"uuid":                       "",
	"mtu":                        "not carried over: the MTU is measured (see device.mtu and [mtu])",
	"split-tunneling.excluded":   "not carried over: what is to go through the VPN is enterprise.prefixes",
	"split-tunneling.block-ipv4": "not carried over: see enterprise.tunnel and [kill_switch]",
	"split-tunneling.block-ipv6": "not carried over: see enterprise.prefixes6, enterprise.tunnel and [kill_switch]",
	"apps":                       "not carried over: all applications are served alike",
	"excluded-apps":              "not carried over: all applications are served alike",
	"remote.certreq":             reasons["send_certreq"],
	"local.rsa-pss":              "", // the client's signatures have that padding where the gateway takes it
	"ipv6-transport":             "not carried over: IPv6 is used where the network has nothing else (gateway.address6)",
}

// profileDefaults are the switches with the value that they have where they do not stand, with which nothing is lost.
var profileDefaults = map[string]bool{"remote.certreq": true, "ipv6-transport": false, "split-tunneling.block-ipv4": false, "split-tunneling.block-ipv6": false}

// take makes keys of the profile.
func (p *profile) take() error {
	p.Name = p.text("name")
	kind := p.text("type")
	rounds, ok := profileRounds[kind]
	if !ok {
		return fmt.Errorf("%w: the type %q; mipvpn has %s", ErrUnsupported, kind, strings.Join(slices.Sorted(maps.Keys(profileRounds)), ", "))
	}
	address := p.text("remote.addr")
	if address == "" {
		return fmt.Errorf("%w: remote.addr is missing", ErrFormat)
	}
	key := "gateway.address"
	if a, err := netip.ParseAddr(address); err == nil && a.Is6() {
		key = "gateway.address6"
	}
	p.set("remote.addr", key, address)
	if port, ok := p.number("remote.port"); ok && port != 500 && port != 4500 {
		p.remark("remote.port", "not carried over: IKE goes to ports 500 and 4500 of the gateway, or by gateway.tcp_port")
	}
	var words []string
	for _, r := range rounds {
		words = append(words, string(r))
	}
	p.set("type", "authentication.rounds", words)
	if slices.Contains(rounds, config.RoundMSCHAPv2) {
		p.remark("type", "EAP is taken for eap-mschapv2: if the gateway wants another method, set authentication.rounds")
	}
	p.identities(address)
	p.certificates(rounds)
	p.password(rounds)
	p.rest()
	p.algorithms(wanted{"ike-proposal", p.text("ike-proposal"), proposal.forIKE}, wanted{"esp-proposal", p.text("esp-proposal"), proposal.forESP})
	for _, k := range slices.Sorted(maps.Keys(p.left)) {
		standard, hasStandard := profileDefaults[k]
		on, isSwitch := flag(p.left[k])
		switch reason, known := profileReasons[k]; {
		case known && reason == "", hasStandard && isSwitch && on == standard:
		case known:
			p.remark(k, "%s", reason)
		default:
			p.remark(k, "not carried over: mipvpn has nothing like it")
		}
	}
	return nil
}

// identities takes the identities.
func (p *profile) identities(address string) {
	remote := p.text("remote.id")
	if remote == "" {
		remote = address
	}
	if converted, can := identity(remote); can {
		p.set("remote.id", "gateway.remote_identity", converted)
	} else {
		p.remark("remote.id", "%q is not carried over: %s", remote, identityAdvice)
	}
	user, local := p.text("local.eap_id"), p.text("local.id")
	if user != "" {
		p.set("local.eap_id", "authentication.user", user)
	}
	if local == "" {
		local = user
	}
	if converted, can := identity(local); can {
		p.set("local.id", "gateway.local_identity", converted)
	} else if local == "" {
		p.remark("local.id", "there is none: set gateway.local_identity to a name that the certificate has")
	} else {
		p.remark("local.id", "%q is not carried over: %s", local, identityAdvice)
	}
}

// certificates takes the certificates.
func (p *profile) certificates(rounds []config.Round) {
	if data := p.octets("remote.cert"); data != nil {
		certs, err := pki.ParseCertificates(data)
		if err != nil {
			p.remark("remote.cert", "not carried over: %v", err)
		} else {
			var text []byte
			for _, c := range certs {
				text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
			}
			p.Draft.Add(draft.File{Name: authorityFile, Data: text})
			p.set("remote.cert", "trust.anchors", []string{authorityFile})
			if !certs[0].IsCA {
				p.remark("remote.cert", "it is no certification authority's: mipvpn trusts authorities, so set trust.anchors to that of the gateway")
			}
		}
	} else {
		p.remark("remote.cert", "there is none, and the app trusts every authority that Android knows: set trust.anchors to the gateway's")
	}
	bundle := p.octets("local.p12")
	switch a := (&config.Authentication{Rounds: rounds}); {
	case bundle != nil && a.UsesCertificate():
		p.Draft.Add(draft.File{Name: bundleFile, Data: bundle, Secret: true})
		p.set("local.p12", "authentication.certificate", bundleFile)
		p.remark("local.p12", "its password is asked for when the client comes up (authentication.pin)")
	case bundle != nil:
		clear(bundle)
		p.remark("local.p12", "not carried over: nothing uses a certificate of the laptop's")
	case a.UsesCertificate():
		p.remark("local.p12", "there is none: set authentication.certificate and authentication.key")
	}
}

// password takes the password for EAP, which the app has in the profile since its version 2.5.3.
func (p *profile) password(rounds []config.Round) {
	s, ok := p.left["local.shared_secret"].(string)
	if !ok || s == "" {
		return
	}
	delete(p.left, "local.shared_secret")
	if !slices.Contains(rounds, config.RoundMSCHAPv2) {
		p.remark("local.shared_secret", "not carried over: nothing uses a password")
		return
	}
	p.Draft.Add(draft.File{Name: passwordFile, Data: []byte(s), Secret: true})
	p.set("local.shared_secret", "authentication.password", config.SourceFile+passwordFile)
}

// rest takes revocation, subnets, name servers and keepalives.
func (p *profile) rest() {
	crl, hasCRL := p.left["remote.revocation"].(map[string]any)
	if hasCRL {
		delete(p.left, "remote.revocation")
		for _, k := range slices.Sorted(maps.Keys(crl)) {
			on, isSwitch := flag(crl[k])
			switch {
			case isSwitch && k == "strict" && on:
				p.set("remote.revocation", "trust.revocation", "hard")
			case isSwitch && k == "strict", isSwitch && on && (k == "crl" || k == "ocsp"):
			case isSwitch && k == "ocsp":
				p.set("remote.revocation", "trust.ocsp", false)
			default:
				p.remark("remote.revocation."+k, "not carried over: see trust.revocation and trust.fetch")
			}
		}
	}
	if n, ok := p.number("nat-keepalive"); ok && n > 0 {
		p.set("nat-keepalive", "gateway.keepalive", fmt.Sprintf("%ds", n))
	}
	p.subnets()
	if servers := p.list("dns-servers"); len(servers) > 0 {
		p.remark("dns-servers", "not carried over: the gateway tells of its name servers; dns.servers and dns.domains say more (%s)", strings.Join(servers, ", "))
	}
}

// subnets takes what is to go through the VPN, which the app does not tell the gateway: that is the enterprise's prefixes here.
func (p *profile) subnets() {
	const at = "split-tunneling.subnets"
	var subnets []string
	for _, text := range p.list(at) {
		prefixes := prefixesOf(strings.ReplaceAll(text, " ", ""))
		if len(prefixes) == 0 {
			p.remark(at, "%s is not carried over: IPv4 prefixes are (see enterprise.prefixes6)", text)
		}
		for _, prefix := range prefixes {
			if prefix.Bits() == 0 {
				p.remark(at, `%s is everything: enterprise.tunnel = "full" sends everything through the VPN, and enterprise.prefixes says what is the company's`, text)
			} else if !slices.Contains(subnets, prefix.String()) {
				subnets = append(subnets, prefix.String())
			}
		}
	}
	if len(subnets) > 0 {
		p.set(at, "enterprise.prefixes", subnets)
		p.remark(at, "what goes through the VPN is enterprise.prefixes, which init --import takes over and import leaves as it is: %s", strings.Join(subnets, ", "))
	}
}

// prefixesOf returns the IPv4 prefixes of a text, which is a prefix, an address or a range of addresses with a hyphen between; none for another.
func prefixesOf(text string) []netip.Prefix {
	if p, err := netip.ParsePrefix(text); err == nil && p.Addr().Is4() {
		return []netip.Prefix{p.Masked()}
	}
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	first, err := netip.ParseAddr(from)
	last, err2 := netip.ParseAddr(to)
	if err != nil || err2 != nil || !first.Is4() || !last.Is4() || last.Less(first) {
		return nil
	}
	var prefixes []netip.Prefix
	for first.IsValid() && !last.Less(first) {
		bits := 32
		for bits > 0 { // the shortest prefix that begins here and does not go beyond
			p := netip.PrefixFrom(first, bits-1)
			if p.Masked().Addr() != first || last.Less(end(p)) {
				break
			}
			bits--
		}
		p := netip.PrefixFrom(first, bits)
		prefixes = append(prefixes, p)
		first = end(p).Next()
	}
	return prefixes
}

// end returns the last address of an IPv4 prefix.
func end(p netip.Prefix) netip.Addr {
	a := p.Addr().As4()
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(a[:])|uint32(1<<(32-p.Bits())-1))
	return netip.AddrFrom4(a)
}

// list takes a list of texts, or a text with blanks between, off the list.
func (p *profile) list(key string) []string {
	switch v := p.left[key].(type) {
	case string:
		delete(p.left, key)
		return strings.Fields(v)
	case []any:
		var texts []string
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil
			}
			texts = append(texts, strings.TrimSpace(s))
		}
		delete(p.left, key)
		return texts
	}
	return nil
}
