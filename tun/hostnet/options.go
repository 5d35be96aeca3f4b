package hostnet

import "errors"

// ErrUnsupported is wrapped by what this operating system cannot do.
var ErrUnsupported = errors.New("not supported on this operating system")

// Options are the names and numbers under which a Network puts its state into the kernel. Two processes in one network
// namespace need different ones. A zero field takes its default.
type Options struct {
	// Name is the name of the nftables table. Default mipvpn.
	Name string
	// Table is the routing table that holds the routes into the device; the one after it is used too. Default 28009.
	Table int
	// Priority is the priority of the policy rule that sends unmarked packets to Table; the ones before and after it
	// are used too. Default 28009, which comes before the main table's 32766.
	Priority int
	// Protocol is the routing protocol number (rtm_protocol) that marks routes and rules as made here. Default 109.
	Protocol uint8
	// ProtectedMark is the firewall mark of sockets that send signalling and ESP. Default 0x6d690001.
	ProtectedMark uint32
	// PlaintextMark is the firewall mark of what carries user data in the clear. Default 0x6d690002.
	PlaintextMark uint32
	// PortalMark is the firewall mark of what a captive portal's browser sends. The kill switch lets it out of an interface
	// only to what the set "portal" names. Default 0x6d690003.
	PortalMark uint32
	// MarkMask selects the bits that the three marks have in common and by which the policy rule knows what is not to be
	// routed into the device. Default 0xffff0000.
	MarkMask uint32
}

// WithDefaults returns the options with defaults for the fields that are zero.
func (o Options) WithDefaults() Options {
	if o.Name == "" {
		o.Name = "mipvpn"
	}
	if o.Table == 0 {
		o.Table = 28009
	}
	if o.Priority == 0 {
		o.Priority = 28009
	}
	if o.Protocol == 0 {
		o.Protocol = 109
	}
	if o.ProtectedMark == 0 {
		o.ProtectedMark = 0x6d690001
	}
	if o.PlaintextMark == 0 {
		o.PlaintextMark = 0x6d690002
	}
	if o.PortalMark == 0 {
		o.PortalMark = 0x6d690003
	}
	if o.MarkMask == 0 {
		o.MarkMask = 0xffff0000
	}
	return o
}
