package agent

import (
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
)

// TestGatewayAccounts shows that a session's records count each packet once, those of child SAs that were rekeyed too, and that
// interim records never go back.
func TestGatewayAccounts(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		var mu sync.Mutex
		var records []AccountingRecord
		cfg := gatewayConfig(t)
		cfg.IKE.Lifetimes = ike.Lifetimes{Child: 15 * time.Second, Grace: 30 * time.Second}
		cfg.AccountInterval = 10 * time.Second
		cfg.Account = func(r AccountingRecord) {
			mu.Lock()
			defer mu.Unlock()
			records = append(records, r)
		}
		g := startGateway(t, l.Gateway, cfg)
		plug(l, l.Cafe)
		client := newVPNClient(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), 1, func(*ike.InitiatorConfig) {})
		inner := client.up()
		began := time.Now()
		seen := echo(t, l.Correspondent, service)
		conn, err := l.Laptop.ListenUDP(netip.AddrPortFrom(inner, 0))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		const count, size = 400, 100
		buf := make([]byte, 2*size)
		for range count {
			if _, err := conn.WriteToAddrPort(buf[:size], service); err != nil {
				t.Fatal(err)
			}
			if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, _, err := conn.ReadFromAddrPort(buf); err != nil {
				t.Fatal(err)
			}
			<-seen
			time.Sleep(100 * time.Millisecond)
		}
		live := g.Figures()
		client.command(func(now link.Instant) error { client.machine.Delete(now); return nil })
		time.Sleep(time.Minute)

		mu.Lock()
		defer mu.Unlock()
		want := esp.Usage{Packets: count, Bytes: count * (size + 28)}
		if len(live) != 1 || live[0].From != want || live[0].To != want || live[0].Address != inner {
			t.Errorf("figures %+v, want %+v both ways", live, want)
		}
		if len(records) < 5 || records[0].Kind != AccountingStart {
			t.Fatalf("records %+v", records)
		}
		last := records[len(records)-1]
		if last.Kind != AccountingStop || last.From != want || last.To != want || !errors.Is(last.Cause, ike.ErrDeletedByPeer) || last.Began.After(began) {
			t.Errorf("the last record %+v, want a stop with %+v both ways", last, want)
		}
		var before esp.Usage
		for _, r := range records[1 : len(records)-1] {
			if r.Kind != AccountingInterim || r.From.Packets < before.Packets || r.From.Bytes < before.Bytes || r.Lasted < 10*time.Second {
				t.Errorf("record %+v behind %+v", r, before)
			}
			before = r.From
		}
		if n := g.Totals(); n.Began != 1 || n.Ended != 1 || n.Sessions != 0 || n.From != want || n.To != want {
			t.Errorf("totals %+v", n)
		}
		if n := len(g.Figures()); n != 0 {
			t.Errorf("%d accounts are left open", n)
		}
	})
}
