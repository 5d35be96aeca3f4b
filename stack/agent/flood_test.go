package agent

import (
	"testing"
	"time"

	"mipvpn/mipv4/mobilenode"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Shows: AGT-1, GDL-6 (while strangers fill the queue of a home agent, a mobile node renews from where it is; from elsewhere it would have
// to compete with them)
func TestRenewalInFlood(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		a := startHomeAgent(t, l.InternalHA, internal(t))
		plug(l, l.Office)
		n := coLocated(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), laptop(t, mobilenode.EncapsulationIPIP))
		register := func() mobilenode.Event {
			held := make(chan struct{})
			a.loop.deliver(func(link.Instant) { <-held }) // it has more to do than it can
			time.Sleep(time.Millisecond)
			for a.loop.post(func(link.Instant) {}) {
			}
			n.register()
			time.Sleep(100 * time.Millisecond)
			close(held)
			return n.wait(500 * time.Millisecond)
		}
		dropped := func() uint64 { return a.Drops().Snapshot()[packet.DropQueueFull.String()] }
		if e := register(); e != nil || dropped() != 1 {
			t.Errorf("a request of nobody who has a binding: %+v, %d dropped, want it to be", e, dropped())
		}
		n.wait(10 * time.Second) // it has asked again
		if a.Len() != 1 {
			t.Fatal("no binding")
		}
		time.Sleep(2 * time.Second) // it does not ask twice in a second
		before := dropped()
		e := register()
		if _, ok := e.(mobilenode.Accepted); !ok || dropped() != before {
			t.Errorf("a renewal: %T %+v, %d dropped", e, e, dropped()-before)
		}
	})
}
