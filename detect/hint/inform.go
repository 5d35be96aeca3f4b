package hint

import (
	"bytes"
	"fmt"
	"net"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// inform returns a DHCPINFORM for the domain name from the interface's address (RFC 2131 §3.4, §4.4.3), and its transaction.
func inform(i link.Interface) (message []byte, xid dhcpv4.TransactionID, err error) {
	a := i.Address.Addr().As4()
	m, err := dhcpv4.NewInform(net.HardwareAddr(i.Hardware[:]), net.IP(a[:]), dhcpv4.WithRequestedOptions(dhcpv4.OptionDomainName))
	if err != nil {
		return nil, xid, fmt.Errorf("hint: DHCPINFORM: %w", err)
	}
	return m.ToBytes(), m.TransactionID, nil
}

// answer reads the domain name in a DHCPACK to the transaction (RFC 2132 §3.17); ok is false for anything else. It is a total
// function.
func answer(p []byte, hardware packet.HardwareAddr, xid dhcpv4.TransactionID) (domain string, ok bool) {
	m, err := dhcpv4.FromBytes(p)
	if err != nil || m.OpCode != dhcpv4.OpcodeBootReply || m.MessageType() != dhcpv4.MessageTypeAck || m.TransactionID != xid ||
		!bytes.Equal(m.ClientHWAddr, hardware[:]) {
		return "", false
	}
	return name(m.DomainName()), true
}
