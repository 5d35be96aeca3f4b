package hint

import (
	"net/netip"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"mipvpn/tun/link"
)

func informed() link.Interface {
	return link.Interface{Index: 2, Name: "eth0", Up: true, Hardware: hw(7), Address: netip.MustParsePrefix("10.0.2.100/24")}
}

// Shows: DET-11 (DHCPINFORM: the answer to the question that was asked, and nothing else)
func TestAnswer(t *testing.T) {
	i := informed()
	p, xid, err := inform(i)
	if err != nil {
		t.Fatal(err)
	}
	asked, err := dhcpv4.FromBytes(p)
	if err != nil || asked.MessageType() != dhcpv4.MessageTypeInform || asked.ClientIPAddr.String() != "10.0.2.100" ||
		!asked.IsOptionRequested(dhcpv4.OptionDomainName) || asked.TransactionID != xid {
		t.Fatalf("%v, %v", asked, err)
	}
	reply := func(change ...dhcpv4.Modifier) []byte {
		m, err := dhcpv4.NewReplyFromRequest(asked, append([]dhcpv4.Modifier{
			dhcpv4.WithMessageType(dhcpv4.MessageTypeAck), dhcpv4.WithOption(dhcpv4.OptDomainName("corp.example"))}, change...)...)
		if err != nil {
			t.Fatal(err)
		}
		return m.ToBytes()
	}
	for name, tc := range map[string]struct {
		p      []byte
		domain string
		ok     bool
	}{
		"an answer":           {reply(), "corp.example", true},
		"without a domain":    {reply(dhcpv4.WithOption(dhcpv4.OptDomainName(""))), "", true},
		"with a wild domain":  {reply(dhcpv4.WithOption(dhcpv4.OptDomainName("\x1b[2Jcorp.example"))), "", true},
		"a refusal":           {reply(dhcpv4.WithMessageType(dhcpv4.MessageTypeNak)), "", false},
		"another transaction": {reply(func(m *dhcpv4.DHCPv4) { m.TransactionID[0]++ }), "", false},
		"another client":      {reply(func(m *dhcpv4.DHCPv4) { m.ClientHWAddr[5]++ }), "", false},
		"the question":        {p, "", false},
		"cut off":             {reply()[:100], "", false},
	} {
		if domain, ok := answer(tc.p, i.Hardware, xid); domain != tc.domain || ok != tc.ok {
			t.Errorf("%s: %q, %v", name, domain, ok)
		}
	}
}
