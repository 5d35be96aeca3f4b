package linkmon

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"mipvpn/tun/packet"
)

// Numbers of nl80211 (linux/nl80211.h).
const (
	nl80211CmdGetInterface = 5
	nl80211CmdGetScan      = 32

	nl80211AttrIfindex = 3
	nl80211AttrBSS     = 47

	nl80211BSSBSSID  = 1
	nl80211BSSStatus = 9

	nl80211BSSStatusAssociated = 1
)

// associations returns the wireless interfaces by index, each with the access point it is associated with, or zero. A
// kernel without nl80211 has none.
func associations() (map[int]packet.HardwareAddr, error) {
	family, err := netlink.GenlFamilyGet("nl80211")
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("linkmon: find nl80211: %w", err)
	}
	messages, err := nl80211Dump(family, nl80211CmdGetInterface, 0)
	if err != nil {
		return nil, fmt.Errorf("linkmon: list wireless interfaces: %w", err)
	}
	all := make(map[int]packet.HardwareAddr)
	for _, m := range messages {
		index := parseInterface(m)
		if index == 0 {
			continue
		}
		all[index] = packet.HardwareAddr{}
		// An interface that is no station has no scan results, and says so with an error.
		results, err := nl80211Dump(family, nl80211CmdGetScan, index)
		if err != nil {
			continue
		}
		for _, r := range results {
			if bssid, ok := parseBSS(r); ok {
				all[index] = bssid
			}
		}
	}
	return all, nil
}

// nl80211Dump asks for all answers to a command, about one interface if index is not 0.
func nl80211Dump(family *netlink.GenlFamily, command uint8, index int) ([][]byte, error) {
	req := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_DUMP)
	req.AddData(&nl.Genlmsg{Command: command, Version: 1})
	if index != 0 {
		req.AddData(nl.NewRtAttr(nl80211AttrIfindex, nl.Uint32Attr(uint32(index))))
	}
	return req.Execute(unix.NETLINK_GENERIC, 0)
}

// attributes returns the attributes of a generic netlink message behind its header of 4 octets, or nil.
func attributes(message []byte) []attribute {
	if len(message) < nl.SizeofGenlmsg {
		return nil
	}
	return parseAttributes(message[nl.SizeofGenlmsg:])
}

// parseInterface returns the interface index of an answer to NL80211_CMD_GET_INTERFACE, or 0.
func parseInterface(message []byte) int {
	for _, a := range attributes(message) {
		if a.kind == nl80211AttrIfindex && len(a.value) >= 4 {
			return int(binary.NativeEndian.Uint32(a.value))
		}
	}
	return 0
}

// parseBSS returns the BSSID of an answer to NL80211_CMD_GET_SCAN, if it is the access point of the association.
func parseBSS(message []byte) (bssid packet.HardwareAddr, ok bool) {
	for _, a := range attributes(message) {
		if a.kind != nl80211AttrBSS {
			continue
		}
		var found, associated bool
		for _, n := range parseAttributes(a.value) {
			switch n.kind {
			case nl80211BSSBSSID:
				if found = len(n.value) == len(bssid); found {
					copy(bssid[:], n.value)
				}
			case nl80211BSSStatus:
				associated = len(n.value) >= 4 && binary.NativeEndian.Uint32(n.value) == nl80211BSSStatusAssociated
			}
		}
		if found && associated {
			return bssid, true
		}
	}
	return packet.HardwareAddr{}, false
}
