package traffic

import (
	"errors"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"mipvpn/cmd/miplab/internal/space"
)

// loopback is a path within one namespace.
func loopback(t *testing.T) Path {
	t.Helper()
	s, err := space.New("both")
	if err != nil {
		t.Skipf("needs root: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return Path{Near: s, Far: s, NearAddress: netip.MustParseAddr("127.0.0.2"), FarAddress: netip.MustParseAddr("127.0.0.3")}
}

// TestFlow shows that octets are counted at the receiver, each way, and that a flow which has ended by itself says so.
func TestFlow(t *testing.T) {
	p := loopback(t)
	for _, up := range []bool{true, false} {
		f, err := OpenFlow(t.Context(), p, up)
		if err != nil {
			t.Fatal(err)
		}
		receiver, sender := p.FarAddress.String(), p.NearAddress.String()
		if !up {
			receiver, sender = sender, receiver
		}
		if to := f.to.LocalAddr().String(); to[:len(receiver)] != receiver {
			t.Errorf("up %v: received at %s, want %s", up, to, receiver)
		}
		if from := f.from.LocalAddr().String(); from[:len(sender)] != sender {
			t.Errorf("up %v: sent from %s, want %s", up, from, sender)
		}
		tick := time.NewTicker(time.Millisecond)
		for f.Octets() < 1<<20 {
			<-tick.C
		}
		tick.Stop()
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	f, err := OpenFlow(t.Context(), p, true)
	if err != nil {
		t.Fatal(err)
	}
	f.from.Close()
	end := <-f.ended
	f.ended <- end
	if f.Close() == nil {
		t.Error("a flow that ended by itself was not told of")
	}
}

// TestPinger shows that requests are answered, and that one to nobody is lost.
func TestPinger(t *testing.T) {
	p := loopback(t)
	g, err := OpenPinger(p)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	all, err := g.Run(t.Context(), 5, time.Microsecond)
	if err != nil || len(all) != 5 {
		t.Fatalf("%d answers, %v, want 5", len(all), err)
	}
	for _, rtt := range all {
		if rtt <= 0 || rtt > pingPatience {
			t.Errorf("an answer took %v", rtt)
		}
	}
	// The kernel answers no more.
	if err := p.Far.Sysctl("net.ipv4.icmp_echo_ignore_all", "1"); err != nil {
		t.Fatal(err)
	}
	if rtt, err := g.once(10 * time.Millisecond); err != nil || rtt != 10*time.Millisecond {
		t.Errorf("no answer took %v, %v", rtt, err)
	}
}

// TestTrial shows that a trial counts what arrives, of its own datagrams alone, and that those to nobody are lost.
func TestTrial(t *testing.T) {
	p := loopback(t)
	for _, up := range []bool{true, false} {
		d, err := OpenDatagrams(p, up)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			o, err := d.Trial(100, 5000, 40*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			if o.Sent == 0 || o.Received != o.Sent || o.Offered <= 0 {
				t.Errorf("up %v: %+v, want as many received as sent", up, o)
			}
		}
		d.trial = 1000 // what the sender sends
		sent := make(chan int, 1)
		go func() {
			o, _ := d.send(MinPayload, 5000, 20*time.Millisecond)
			sent <- o.Sent
		}()
		if n, err := d.receive(1001, sent); n != 0 || err != nil {
			t.Errorf("up %v: %d datagrams of another trial were counted, %v", up, n, err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestProcess shows the figures of this very process, and that there are none of a process that is not there.
func TestProcess(t *testing.T) {
	p := Process(os.Getpid())
	before, err := p.CPU()
	if err != nil {
		t.Fatal(err)
	}
	memory := make([]byte, 64<<20)
	for i := range memory {
		memory[i] = byte(i)
	}
	after, err := p.CPU()
	if err != nil || after <= before {
		t.Errorf("processor time %v, then %v, %v", before, after, err)
	}
	peak, err := p.PeakRSS()
	if err != nil || peak < uint64(len(memory)) {
		t.Errorf("peak %d octets, %v, want at least %d", peak, err, len(memory))
	}
	if n, err := p.Switches(); err != nil || n == 0 {
		t.Errorf("%d context switches, %v", n, err)
	}
	if memory[1] != 1 {
		t.Error("the memory is not there any more")
	}
	const nobody = Process(1 << 22) // over the greatest number that there is
	if _, err := nobody.CPU(); err == nil {
		t.Error("processor time of nobody")
	}
	if _, err := nobody.PeakRSS(); err == nil {
		t.Error("memory of nobody")
	}
	if _, err := nobody.Switches(); err == nil {
		t.Error("context switches of nobody")
	}
}

// TestIPPayload shows that headers of 28 octets are left out.
func TestIPPayload(t *testing.T) {
	if n := IPPayload(64); n != 36 {
		t.Errorf("%d octets in a packet of 64, want 36", n)
	}
}

// FuzzNumber shows that no text of a status file is too strange.
func FuzzNumber(f *testing.F) {
	f.Add("VmHWM:\t  123 kB\n", "VmHWM")
	f.Add("VmHWM:\n", "VmHWM")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, status, key string) {
		n, err := number([]byte(status), key)
		if err != nil && n != 0 && !errors.Is(err, strconv.ErrRange) {
			t.Errorf("%d with %v", n, err)
		}
	})
}

// TestNumber shows a number with a unit, and that a key is not part of another.
func TestNumber(t *testing.T) {
	const status = "voluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t12\nVmHWM:\t  345 kB\n"
	for key, want := range map[string]uint64{"voluntary_ctxt_switches": 7, "nonvoluntary_ctxt_switches": 12, "VmHWM": 345} {
		if n, err := number([]byte(status), key); n != want || err != nil {
			t.Errorf("%s is %d, %v, want %d", key, n, err, want)
		}
	}
	if _, err := number([]byte(status), "VmRSS"); err == nil {
		t.Error("a number that is not there")
	}
}
