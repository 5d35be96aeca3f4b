package main

import (
	"fmt"

	"mipvpn/stack/underlay"
	"mipvpn/tun/hostnet"
	"mipvpn/tun/link"
)

// Numbers under which roles put their state into the kernel; each role adds its place. They differ from those of the
// client and from one another, and so do the socket marks: what one role sends may have to go into another one's device.
const (
	firstTable    = 28100
	firstProtocol = 110
	firstMark     = 0x6d6a0000
	marksMask     = 0xffff0000
)

// kernelHost returns this machine as the host for the role with that place.
func kernelHost(place int) (link.Host, func() error, error) {
	mark := firstMark + uint32(place)<<16
	h, err := underlay.NewHost(underlay.Options{Settings: hostnet.Options{
		Name: fmt.Sprintf("mipagent%d", place), Table: firstTable + place, Priority: firstTable + 2*place,
		Protocol: uint8(firstProtocol + place), ProtectedMark: mark | 1, PlaintextMark: mark | 2, MarkMask: marksMask,
	}})
	if err != nil {
		return nil, nil, err
	}
	return h, h.Close, nil
}
