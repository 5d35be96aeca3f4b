package hostnet

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Attributes of a chain's hook, and of a set, that golang.org/x/sys/unix does not have (linux/netfilter/nf_tables.h).
const (
	nftaHookDevs     = 4 // several interfaces, each an attribute of its own
	nftaDevicePrefix = 2 // one of those: the beginning of a name; since Linux 6.16
	nftaSetFieldLen  = 1 // the length of one part of a set's key
)

// transaction is a batch of changes of nftables, which the kernel makes all at once or not at all. It exists beside
// nftables.Conn because that can name one interface for a chain and no pattern of names.
type transaction struct {
	messages []netlink.Message
	err      error
}

// add adds a message of the type about an object of the family.
func (t *transaction) add(kind int, flags netlink.HeaderFlags, family nftables.TableFamily, attrs []netlink.Attribute) {
	t.messages = append(t.messages, netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind), Flags: netlink.Request | flags},
		Data:   append(generic(byte(family), 0), t.marshal(attrs)...),
	})
}

// generic is the header of every message of netfilter's: family, version 0, resource (in network order).
func generic(family byte, resource uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{family, unix.NFNETLINK_V0}, resource)
}

func (t *transaction) marshal(attrs []netlink.Attribute) []byte {
	p, err := netlink.MarshalAttributes(attrs)
	if err != nil && t.err == nil {
		t.err = err
	}
	return p
}

func text(kind uint16, s string) netlink.Attribute {
	return netlink.Attribute{Type: kind, Data: append([]byte(s), 0)}
}

func number(kind uint16, v uint32) netlink.Attribute {
	return netlink.Attribute{Type: kind, Data: binary.BigEndian.AppendUint32(nil, v)}
}

func (t *transaction) nested(kind uint16, attrs ...netlink.Attribute) netlink.Attribute {
	return netlink.Attribute{Type: unix.NLA_F_NESTED | kind, Data: t.marshal(attrs)}
}

// replaceTable makes a table that is empty, whatever there was.
func (t *transaction) replaceTable(table *nftables.Table) {
	name := []netlink.Attribute{text(unix.NFTA_TABLE_NAME, table.Name)}
	t.add(unix.NFT_MSG_NEWTABLE, netlink.Create, table.Family, name) // so that there is one to delete
	t.add(unix.NFT_MSG_DELTABLE, 0, table.Family, name)
	t.add(unix.NFT_MSG_NEWTABLE, netlink.Create, table.Family, name)
}

// chain adds a chain. One with an egress hook and no Device stands on every interface, those to come included.
func (t *transaction) chain(c *nftables.Chain) {
	attrs := []netlink.Attribute{text(unix.NFTA_CHAIN_TABLE, c.Table.Name), text(unix.NFTA_CHAIN_NAME, c.Name)}
	if c.Hooknum != nil {
		hook := []netlink.Attribute{number(unix.NFTA_HOOK_HOOKNUM, uint32(*c.Hooknum)), number(unix.NFTA_HOOK_PRIORITY, uint32(*c.Priority))}
		switch {
		case c.Device != "":
			hook = append(hook, text(unix.NFTA_HOOK_DEV, c.Device))
		case c.Table.Family == nftables.TableFamilyNetdev:
			hook = append(hook, t.nested(nftaHookDevs, text(nftaDevicePrefix, "")))
		}
		attrs = append(attrs, t.nested(unix.NFTA_CHAIN_HOOK, hook...), text(unix.NFTA_CHAIN_TYPE, string(c.Type)))
	}
	t.add(unix.NFT_MSG_NEWCHAIN, netlink.Create, c.Table.Family, attrs)
}

// deleteChain deletes a chain with its rules.
func (t *transaction) deleteChain(c *nftables.Chain) {
	t.add(unix.NFT_MSG_DELRULE, 0, c.Table.Family, []netlink.Attribute{text(unix.NFTA_RULE_TABLE, c.Table.Name), text(unix.NFTA_RULE_CHAIN, c.Name)})
	t.add(unix.NFT_MSG_DELCHAIN, 0, c.Table.Family, []netlink.Attribute{text(unix.NFTA_CHAIN_TABLE, c.Table.Name), text(unix.NFTA_CHAIN_NAME, c.Name)})
}

// rules adds rules to a chain.
func (t *transaction) rules(c *nftables.Chain, rules []lineRule) {
	for _, r := range rules {
		var list []netlink.Attribute
		for _, e := range r.exprs {
			p, err := expr.Marshal(byte(c.Table.Family), e)
			if err != nil && t.err == nil {
				t.err = fmt.Errorf("rule %q: %w", r.text, err)
			}
			list = append(list, netlink.Attribute{Type: unix.NLA_F_NESTED | unix.NFTA_LIST_ELEM, Data: p})
		}
		t.add(unix.NFT_MSG_NEWRULE, netlink.Create|netlink.Append, c.Table.Family, []netlink.Attribute{
			text(unix.NFTA_RULE_TABLE, c.Table.Name), text(unix.NFTA_RULE_CHAIN, c.Name),
			t.nested(unix.NFTA_RULE_EXPRESSIONS, list...), {Type: unix.NFTA_RULE_USERDATA, Data: comment(r.text)},
		})
	}
}

// set adds a set whose elements have a time to live each; id tells sets of one transaction apart.
func (t *transaction) set(s *nftables.Set, id uint32) {
	flags := uint32(unix.NFT_SET_TIMEOUT)
	attrs := []netlink.Attribute{
		text(unix.NFTA_SET_TABLE, s.Table.Name), text(unix.NFTA_SET_NAME, s.Name), number(unix.NFTA_SET_ID, id),
		number(unix.NFTA_SET_KEY_TYPE, s.KeyType.GetNFTMagic()), number(unix.NFTA_SET_KEY_LEN, s.KeyType.Bytes),
		{Type: unix.NFTA_SET_TIMEOUT, Data: binary.BigEndian.AppendUint64(nil, uint64(s.Timeout.Milliseconds()))},
	}
	if s.Concatenation {
		flags |= nftables.NFT_SET_CONCAT
		var fields []netlink.Attribute
		for _, f := range nftables.ConcatSetTypeElements(s.KeyType) {
			fields = append(fields, t.nested(unix.NFTA_LIST_ELEM, number(nftaSetFieldLen, f.Bytes)))
		}
		attrs = append(attrs, t.nested(unix.NFTA_SET_DESC, t.nested(nftables.NFTA_SET_DESC_CONCAT, fields...)))
	}
	t.add(unix.NFT_MSG_NEWSET, netlink.Create, s.Table.Family, append(attrs, number(unix.NFTA_SET_FLAGS, flags)))
}

// commit has the kernel make the changes and returns why it made none.
func (t *transaction) commit() error {
	if t.err != nil {
		return t.err
	}
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	edge := func(kind int) netlink.Message {
		return netlink.Message{
			Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.Request}, Data: generic(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES),
		}
	}
	// The last change is acknowledged; what the kernel does not like about the others it says before that.
	t.messages[len(t.messages)-1].Header.Flags |= netlink.Acknowledge
	batch := append(append([]netlink.Message{edge(unix.NFNL_MSG_BATCH_BEGIN)}, t.messages...), edge(unix.NFNL_MSG_BATCH_END))
	if _, err := c.SendMessages(batch); err != nil {
		return err
	}
	_, err = c.Receive()
	return err
}
