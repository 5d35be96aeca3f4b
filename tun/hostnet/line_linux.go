package hostnet

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// lineRule is a rule and its description, which is kept as the rule's comment.
type lineRule struct {
	text  string
	exprs []expr.Any
}

// line is what the rules of the kill switch are made from.
type line struct {
	opts     Options
	device   string
	full     bool
	local    bool
	homes    []netip.Addr
	prefixes []netip.Prefix // of the enterprise, IPv4
	blocked  []netip.Prefix // of the enterprise, IPv6
}

func (n *Network) newLine(s link.Settings) *line {
	homes := slices.Clone(s.Shielded)
	if s.Address.IsValid() {
		homes = append(homes, s.Address)
	}
	return &line{
		opts: n.opts, device: s.Device, full: s.Full, local: s.Full && s.Local,
		homes: sorted(homes), prefixes: sorted(s.Routes), blocked: sorted(s.Blocked),
	}
}

// rules returns the rules of a chain.
func (l *line) rules(chain string) []lineRule {
	switch chain {
	case outputChain:
		return l.output()
	case forwardChain:
		return l.forward()
	case portalChain:
		return l.portal()
	case sixChain:
		return l.six()
	case frameChain:
		return l.frame()
	case judgeChain:
		return l.judge()
	case judge6Chain:
		return append([]lineRule{rule("marked as protected", accept, meta(expr.MetaKeyMARK, native(l.opts.ProtectedMark)))}, l.six()...)
	case taggedChain:
		return l.tagged()
	case egressChain:
		return append([]lineRule{
			rule("to this host itself", accept, meta(expr.MetaKeyOIFNAME, interfaceName("lo"))),
			rule("into the device", accept, meta(expr.MetaKeyOIFNAME, interfaceName(l.device))),
		}, everyFrame)
	}
	return []lineRule{everyFrame} // the egress chain of an interface by name
}

// output judges what this host's own IP layer sends.
func (l *line) output() []lineRule {
	rules := []lineRule{
		rule("into the device", accept, meta(expr.MetaKeyOIFNAME, interfaceName(l.device))),
		rule("to this host itself", accept, meta(expr.MetaKeyOIFNAME, interfaceName("lo"))),
		rule("marked as a portal's", to(portalChain), meta(expr.MetaKeyMARK, native(l.opts.PortalMark))),
		rule("IPv6, marked as protected", accept, append(meta(expr.MetaKeyNFPROTO, []byte{unix.NFPROTO_IPV6}), meta(expr.MetaKeyMARK, native(l.opts.ProtectedMark))...)),
		rule("IPv6", to(sixChain), meta(expr.MetaKeyNFPROTO, []byte{unix.NFPROTO_IPV6})),
		rule("marked as the client's own", accept, []expr.Any{
			&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native(l.opts.MarkMask), Xor: native(0)},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: native(l.opts.ProtectedMark & l.opts.MarkMask)},
		}),
	}
	rules = append(rules, l.fromHome()...)
	rules = append(rules, rule("DHCP to a server", accept, dhcp()))
	rules = append(rules, l.toEnterprise()...)
	return append(rules, l.rest()...)
}

// forward judges what this host forwards for others; nothing of that is the client's own, whatever its mark.
func (l *line) forward() []lineRule {
	rules := []lineRule{
		rule("into the device", accept, meta(expr.MetaKeyOIFNAME, interfaceName(l.device))),
		rule("IPv6", to(sixChain), meta(expr.MetaKeyNFPROTO, []byte{unix.NFPROTO_IPV6})),
	}
	rules = append(rules, l.fromHome()...)
	rules = append(rules, l.toEnterprise()...)
	return append(rules, l.rest()...)
}

// portal judges what a captive portal's browser sends; no set names anything of IPv6. Its source is judged on the way out of the interface, where it may
// have been translated.
func (l *line) portal() []lineRule {
	return append(l.toEnterprise(),
		rule("named by the set", accept, inPortal()),
		rule("anything else", drop, nil),
	)
}

// frame sends packets on their way out of an interface to their judges: by the type in the Ethernet header, which is what
// the other end goes by and which a packet socket may make differ from the protocol that the kernel takes the packet for; by
// the latter where there is no such header. With Full nothing else passes but what an interface takes to be attached: ARP,
// IEEE 802.1X, pre-authentication to another access point, and PPP over Ethernet, whose packets have been judged on the
// interface above.
func (l *line) frame() []lineRule {
	rules := []lineRule{
		rule("IPv4 by Ethernet type", to(judgeChain), etherType(unix.ETH_P_IP)),
		rule("IPv6 by Ethernet type", to(judge6Chain), etherType(unix.ETH_P_IPV6)),
		rule("tagged for a VLAN", to(taggedChain), etherType(unix.ETH_P_8021Q)),
		rule("tagged for a provider's VLAN", to(taggedChain), etherType(unix.ETH_P_8021AD)),
		rule("IPv4 by protocol", to(judgeChain), protocol(unix.ETH_P_IP)),
		rule("IPv6 by protocol", to(judge6Chain), protocol(unix.ETH_P_IPV6)),
	}
	if !l.full {
		return rules
	}
	for _, t := range attachmentTypes {
		rules = append(rules, rule(t.name, accept, etherType(t.number)))
	}
	return append(rules, rule("anything else", drop, nil))
}

// attachmentTypes are the Ethernet types of what is needed to be attached to a network.
var attachmentTypes = []struct {
	name   string
	number uint16
}{
	{"ARP", unix.ETH_P_ARP}, {"IEEE 802.1X", unix.ETH_P_PAE}, {"IEEE 802.11i pre-authentication", unix.ETH_P_PREAUTH},
	{"PPPoE discovery", unix.ETH_P_PPP_DISC}, {"PPPoE session", unix.ETH_P_PPP_SES},
}

// judge judges IPv4 packets on their way out of an interface.
func (l *line) judge() []lineRule {
	permitted := append(meta(expr.MetaKeyMARK, native(l.opts.PlaintextMark)),
		&expr.Meta{Key: expr.MetaKeyOIF, Register: 1},
		&expr.Lookup{SourceRegister: 1, SetName: permitSet},
	)
	rules := []lineRule{
		rule("marked as protected", accept, meta(expr.MetaKeyMARK, native(l.opts.ProtectedMark))),
		rule("marked as plaintext, with a permit", accept, permitted),
		rule("marked as plaintext", drop, meta(expr.MetaKeyMARK, native(l.opts.PlaintextMark))),
	}
	rules = append(rules, l.fromHome()...)
	rules = append(rules, rule("DHCP to a server", accept, dhcp()))
	rules = append(rules, l.toEnterprise()...)
	rules = append(rules,
		rule("marked as a portal's, named by the set", accept, append(meta(expr.MetaKeyMARK, native(l.opts.PortalMark)), inPortal()...)),
		rule("marked as a portal's", drop, meta(expr.MetaKeyMARK, native(l.opts.PortalMark))),
	)
	return append(rules, l.rest()...)
}

// six judges IPv6, which nothing carries, so that nothing of it is plaintext that may leave; what the client itself sends to its
// gateway has been let pass before. It refuses nothing by ICMPv6, whose messages would quote what
// must not leave to whatever source a raw socket had made up: the unreachable routes tell programs to turn to IPv4.
func (l *line) six() []lineRule {
	rules := []lineRule{rule("marked as plaintext", drop, meta(expr.MetaKeyMARK, native(l.opts.PlaintextMark)))}
	for _, p := range l.blocked {
		rules = append(rules, rule(fmt.Sprintf("to %v", p), drop, destination6(p)))
	}
	if !l.full {
		return rules
	}
	rules = append(rules,
		rule("router solicitation", accept, neighbourDiscovery(133, 133)),
		rule("neighbour discovery", accept, neighbourDiscovery(135, 136)),
		rule("multicast listener report, version 1", accept, listenerReport(131, 132)),
		rule("multicast listener report", accept, listenerReport(143, 143)),
		rule("DHCPv6 to a server", accept, dhcp6()),
	)
	if l.local {
		for _, p := range local6 {
			rules = append(rules, rule(fmt.Sprintf("to the local network, %v", p), accept, destination6(p)))
		}
	}
	return append(rules, rule("anything else", drop, nil))
}

// tagged judges frames with a VLAN tag (IEEE 802.1Q). Those of a VLAN's interface have been judged there, so that its permits
// count, and bear their marks; the tag is put in by the interface below or, where that cannot, stands in the frame already,
// as in what a packet socket makes up. The latter has no exceptions in full tunnels.
func (l *line) tagged() []lineRule {
	const tag = 4
	rules := []lineRule{rule("marked as the client's own", accept, []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: native(l.opts.MarkMask), Xor: native(0)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: native(l.opts.ProtectedMark & l.opts.MarkMask)},
	})}
	ip4, ip6 := field(etherHeader, 12+tag, be16(unix.ETH_P_IP)), field(etherHeader, 12+tag, be16(unix.ETH_P_IPV6))
	for _, a := range l.homes {
		rules = append(rules, rule(fmt.Sprintf("from %v", a), drop, slices.Concat(ip4, field(etherHeader, 14+tag+12, a.AsSlice()))))
	}
	for _, p := range l.prefixes {
		rules = append(rules, rule(fmt.Sprintf("to %v", p), drop, slices.Concat(ip4, masked(etherHeader, 14+tag+16, p))))
	}
	for _, p := range l.blocked {
		rules = append(rules, rule(fmt.Sprintf("to %v", p), drop, slices.Concat(ip6, masked(etherHeader, 14+tag+24, p))))
	}
	if !l.full {
		return rules
	}
	for _, t := range attachmentTypes {
		rules = append(rules, rule(t.name, accept, field(etherHeader, 12+tag, be16(t.number))))
	}
	return append(rules,
		rule("IPv4, tagged by the interface", to(judgeChain), protocol(unix.ETH_P_IP)),
		rule("IPv6, tagged by the interface", to(judge6Chain), protocol(unix.ETH_P_IPV6)),
		rule("anything else", drop, nil),
	)
}

// fromHome drops what comes from a home address (RFC 791: source).
func (l *line) fromHome() (rules []lineRule) {
	for _, a := range l.homes {
		rules = append(rules, rule(fmt.Sprintf("from %v", a), drop, field(network, 12, a.AsSlice())))
	}
	return rules
}

// toEnterprise drops what goes to the enterprise (RFC 791: destination).
func (l *line) toEnterprise() (rules []lineRule) {
	for _, p := range l.prefixes {
		rules = append(rules, rule(fmt.Sprintf("to %v", p), drop, masked(network, 16, p)))
	}
	return rules
}

// rest says what becomes of IPv4 packets that no rule has named: in a full tunnel all but those to the local network are
// dropped.
func (l *line) rest() (rules []lineRule) {
	if !l.full {
		return nil
	}
	if l.local {
		for _, p := range local4 {
			rules = append(rules, rule(fmt.Sprintf("to the local network, %v", p), accept, masked(network, 16, p)))
		}
	}
	return append(rules, rule("anything else", drop, nil))
}

// local4 and local6 are the destinations of the exception for the local network.
var local4, local6 = link.Local4(), link.Local6()

// groups6 are all IPv6 groups.
var groups6 = netip.MustParsePrefix("ff00::/8")

// everyFrame is the rule of egress chains.
var everyFrame = rule("every frame", to(frameChain), nil)

// verdict is what becomes of a packet that a rule fits.
type verdict struct {
	text  string
	exprs []expr.Any
}

// The verdicts. What is dropped or refused is counted. Refused, with ICMP "administratively prohibited", is only what cannot
// have a source of its sender's choice, since the message quotes it.
var (
	accept = verdict{"accept", []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}}
	drop   = verdict{"drop", []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}}}
	refuse = verdict{"refuse", []expr.Any{
		&expr.Counter{}, &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED},
	}}
)

// to goes to a chain for good: what that says nothing about passes.
func to(chain string) verdict {
	return verdict{chain, []expr.Any{&expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}}}
}

// rule is the rule that gives what all of match fits the verdict.
func rule(text string, v verdict, match []expr.Any) lineRule {
	return lineRule{text + ": " + v.text, slices.Concat(match, v.exprs)}
}

// meta fits packets whose key has the value.
func meta(key expr.MetaKey, value []byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value}}
}

// The headers that a field is counted from.
const (
	etherHeader = expr.PayloadBaseLLHeader
	network     = expr.PayloadBaseNetworkHeader
	transport   = expr.PayloadBaseTransportHeader
)

// field fits packets with the octets at the offset of a header.
func field(base expr.PayloadBase, offset uint32, value []byte) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: uint32(len(value))},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value},
	}
}

// masked fits packets with an address in the prefix at the offset of a header.
func masked(base expr.PayloadBase, offset uint32, p netip.Prefix) []expr.Any {
	n := uint32(p.Addr().BitLen() / 8)
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: n},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: n, Mask: net.CIDRMask(p.Bits(), int(8*n)), Xor: make([]byte, n)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Addr().AsSlice()},
	}
}

// destination6 fits IPv6 packets to the prefix (RFC 8200 §3).
func destination6(p netip.Prefix) []expr.Any { return masked(network, 24, p) }

// protocol fits what its sender calls by the Ethernet type.
func protocol(number uint16) []expr.Any { return meta(expr.MetaKeyPROTOCOL, be16(number)) }

// etherType fits frames with the type in their header.
func etherType(number uint16) []expr.Any { return field(etherHeader, 12, be16(number)) }

// ports fits packets of the transport protocol from one port to another.
func ports(protocol uint8, from, to uint16) []expr.Any {
	return append(meta(expr.MetaKeyL4PROTO, []byte{protocol}), field(transport, 0, append(be16(from), be16(to)...))...)
}

// first fits IPv4 packets that are whole or a first fragment (RFC 791: fragment offset): later ones have no ports, and the
// kernel would take their data for them.
func first() []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: network, Offset: 6, Len: 2},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 2, Mask: be16(0x1fff), Xor: be16(0)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: be16(0)},
	}
}

// next fits IPv6 packets with this header behind the first one (RFC 8200 §3), so no fragments.
func next(protocol uint8) []expr.Any { return field(network, 6, []byte{protocol}) }

// hops fits IPv6 packets with the hop limit.
func hops(n byte) []expr.Any { return field(network, 7, []byte{n}) }

// dhcp fits what a DHCP client sends to a server (RFC 2131 §4.1), which may stand inside a prefix of the enterprise.
func dhcp() []expr.Any { return append(first(), ports(packet.ProtocolUDP, dhcpClient, dhcpServer)...) }

// dhcp6 fits what a DHCPv6 client sends (RFC 8415 §7.2).
func dhcp6() []expr.Any {
	return append(next(packet.ProtocolUDP), ports(packet.ProtocolUDP, dhcp6Client, dhcp6Server)...)
}

// icmp6 fits ICMPv6 messages of the types from one to another.
func icmp6(from, to byte) []expr.Any {
	return append(meta(expr.MetaKeyL4PROTO, []byte{unix.IPPROTO_ICMPV6}),
		&expr.Payload{DestRegister: 1, Base: transport, Offset: 0, Len: 1},
		&expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: []byte{from}, ToData: []byte{to}},
	)
}

// neighbourDiscovery fits such messages that no router has forwarded (RFC 4861 §4: hop limit 255; RFC 6980: no fragments).
func neighbourDiscovery(from, to byte) []expr.Any {
	return slices.Concat(next(unix.IPPROTO_ICMPV6), hops(255), icmp6(from, to))
}

// listenerReport fits such messages to groups on the link (RFC 3810 §5: hop limit 1).
func listenerReport(from, to byte) []expr.Any {
	return slices.Concat(hops(1), destination6(groups6), icmp6(from, to))
}

// inPortal fits packets whose interface, destination, protocol and destination port the set of portals names.
func inPortal() []expr.Any {
	// Registers 8 to 11 are the four words of register 1.
	return append(first(),
		&expr.Meta{Key: expr.MetaKeyOIF, Register: 8},
		&expr.Payload{DestRegister: 9, Base: network, Offset: 16, Len: 4},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 10},
		&expr.Payload{DestRegister: 11, Base: transport, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: 8, SetName: portalSet},
	)
}

// portalKey is the type of the sets' elements: index of the interface (in the kernel's byte order), destination, protocol,
// destination port (both in network order, padded with zeros to four octets).
var portalKey = nftables.MustConcatSetType(nftables.TypeIFIndex, nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService)

// portals are the sets of what a captive portal's browser may reach, in the inet and in the netdev table. Elements are the
// same in both and have a time to live each.
func (n *Network) portals() []*nftables.Set {
	var sets []*nftables.Set
	for _, t := range []*nftables.Table{n.inetTable(), n.netdevTable()} {
		sets = append(sets, &nftables.Set{
			Table: t, Name: portalSet, KeyType: portalKey, Concatenation: true, HasTimeout: true, Timeout: permitDefault,
		})
	}
	return sets
}

// native writes v as the kernel holds marks and indices, be16 in network order.
func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func be16(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }
