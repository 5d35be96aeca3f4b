package hostnet

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// permitDefault is how long an element of the set lives that does not say it: none is made here, and none lasts for ever.
const permitDefault = time.Second

// permits is the set of the interfaces that plaintext may leave by.
func (n *Network) permits() *nftables.Set {
	return &nftables.Set{
		Table: n.netdevTable(), Name: permitSet, KeyType: nftables.TypeIFIndex, HasTimeout: true, Timeout: permitDefault,
	}
}

// Permit lets plaintext out of the interface with this index for the time that remains, in whole milliseconds, whatever
// becomes of this process: the kernel itself ends it. Suspend does not count for the kernel, so a resumed process has to
// Forbid. An earlier permit is replaced in one transaction. It fails without a kill switch.
func (n *Network) Permit(index int, remaining time.Duration) error {
	remaining = remaining.Truncate(time.Millisecond)
	if remaining <= 0 {
		return fmt.Errorf("hostnet: permit plaintext on interface %d: %v remain, expected at least 1ms", index, remaining)
	}
	if err := n.setPermit(index, remaining); err != nil {
		return fmt.Errorf("hostnet: permit plaintext on interface %d: %w", index, err)
	}
	return nil
}

// Forbid takes the permit back. Without one, or without a kill switch, it changes nothing.
func (n *Network) Forbid(index int) error {
	err := n.setPermit(index, 0)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("hostnet: forbid plaintext on interface %d: %w", index, err)
	}
	return nil
}

// setPermit makes the element for the interface live for the time that remains, or removes it for 0. Adding an element that
// is there changes nothing, before Linux 6.12 not even its time, and removing one that is not there is an error; so it is
// added, removed, and added as wanted, of which the outside sees only the end. A removal makes the kernel wait for its
// readers, which takes several milliseconds of a handoff: where there is surely no element, it is only added.
func (n *Network) setPermit(index int, remaining time.Duration) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	c, err := nftables.New()
	if err != nil {
		return err
	}
	set := n.permits()
	element := nftables.SetElement{Key: native(uint32(index))}
	if remaining == 0 || !n.forbidden[index] {
		if err := c.SetAddElements(set, []nftables.SetElement{element}); err != nil {
			return err
		}
		if err := c.SetDeleteElements(set, []nftables.SetElement{element}); err != nil {
			return err
		}
	}
	delete(n.forbidden, index) // whatever becomes of it
	if remaining > 0 {
		element.Timeout = remaining
		if err := c.SetAddElements(set, []nftables.SetElement{element}); err != nil {
			return err
		}
	}
	if err := c.Flush(); err != nil {
		return err
	}
	if remaining == 0 {
		n.forbidden[index] = true
	}
	return nil
}
