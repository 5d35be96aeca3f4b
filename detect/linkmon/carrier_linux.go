package linkmon

import (
	"encoding/binary"
	"errors"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// kernelLink is an interface as rtnetlink describes it.
type kernelLink struct {
	netlink.Link
	// carrierChanges is IFLA_CARRIER_CHANGES, 0 where the kernel does not say (before Linux 3.15).
	carrierChanges uint32
}

// kernelLinks lists all interfaces. It is netlink.LinkList that also keeps the attribute which the library leaves out; a second
// list for that would not be of the same moment.
func kernelLinks() ([]kernelLink, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	messages, interrupted := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if interrupted != nil && !errors.Is(interrupted, netlink.ErrDumpInterrupted) {
		return nil, interrupted
	}
	var all []kernelLink
	for _, m := range messages {
		l, err := netlink.LinkDeserialize(nil, m)
		if err != nil {
			return nil, err
		}
		all = append(all, kernelLink{l, parseCarrierChanges(m)})
	}
	return all, interrupted
}

// parseCarrierChanges returns IFLA_CARRIER_CHANGES of an RTM_NEWLINK message (struct ifinfomsg, then attributes), or 0.
func parseCarrierChanges(message []byte) uint32 {
	if len(message) < unix.SizeofIfInfomsg {
		return 0
	}
	for _, a := range parseAttributes(message[unix.SizeofIfInfomsg:]) {
		if a.kind == unix.IFLA_CARRIER_CHANGES && len(a.value) >= 4 {
			return binary.NativeEndian.Uint32(a.value)
		}
	}
	return 0
}
