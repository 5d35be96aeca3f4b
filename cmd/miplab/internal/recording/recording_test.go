package recording

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/cmd/miplab/internal/company"
	"mipvpn/cmd/miplab/internal/overhead"
	"mipvpn/cmd/miplab/internal/scenario"
	"mipvpn/cmd/miplab/internal/session"
	"mipvpn/cmd/miplab/internal/simulated"
	"mipvpn/tun/packet"
)

// decoded returns all moments of a recording that has ended.
func decoded(t *testing.T, r *Recording) []Moment {
	t.Helper()
	texts, ended, _ := r.From(0)
	if !ended {
		t.Error("the recording has no end")
	}
	var all []Moment
	for _, text := range texts {
		var m Moment
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		all = append(all, m)
	}
	return all
}

// protocols are those of the outermost IPv4 header by the name of the first header inside it.
var protocols = map[string]uint8{"IPv4": packet.ProtocolIPIP, "UDP": packet.ProtocolUDP, "ESP: SPI, sequence number": packet.ProtocolESP}

// TestCamera records a tour of all eight modes on the simulated network and shows that each way of travelling has a frame that left
// the laptop, of the length and with the headers that the arithmetic of the overhead says.
// Shows: MEC-OVH (what the page and the report of miplab show is what was on the wire)
func TestCamera(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var modes []string
		for _, c := range overhead.Compositions() {
			if !c.Switched {
				modes = append(modes, c.String())
			}
		}
		w, err := simulated.Start(1, company.Options{Optional: true}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		s := scenario.Scenario{Steps: scenario.Through(modes), Dwell: time.Second, Patience: 30 * time.Second, Log: io.Discard}
		var r Recording
		camera := NewCamera(&r, NewStage(w.Describe(), s.Steps), w.Tap)
		s.Observe = camera.Observe
		report, err := s.Run(t.Context(), w)
		camera.Close(report, err)
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		if !report.Passed {
			t.Fatal(report.Failures)
		}
		all := decoded(t, &r)
		if all[0].Kind != KindStage || len(all[0].Stage.Modes) != len(overhead.Compositions()) || len(all[0].Stage.Networks) < 5 {
			t.Errorf("the recording begins with %+v", all[0])
		}
		if last := all[len(all)-1]; last.Kind != KindEnd || last.Report == nil || !last.Report.Passed {
			t.Errorf("the recording ends with %+v", last)
		}
		seen := map[string]bool{}
		at := 0.0
		for _, m := range all {
			if m.At < at {
				t.Errorf("a moment at %v behind one at %v", m.At, at)
			}
			at = m.At
			if m.Kind == KindPacket && m.Packet.Frame != "" {
				seen[m.Packet.Mode] = true
				checkPacket(t, m.Packet)
			}
		}
		for _, m := range modes {
			if !seen[m] {
				t.Errorf("no frame has been seen in mode %s", m)
			}
		}
	})
}

// checkPacket shows that a frame is as its headers say.
func checkPacket(t *testing.T, p *Packet) {
	t.Helper()
	frame, err := hex.DecodeString(p.Frame)
	ip := packet.IPv4(frame)
	if err != nil || !ip.Valid() || len(frame) != p.Length || ip.TotalLen() != p.Length || p.Length != session.PacketLen+overhead.Octets(p.Headers) {
		t.Errorf("%s in %s: %d octets for %d, %v", p.Mode, p.Network, len(frame), p.Length, err)
		return
	}
	want := uint8(packet.ProtocolUDP) // of the packet itself, where a foreign agent tunnels
	if i := slices.IndexFunc(p.Headers, func(h overhead.Header) bool { return h.Name != "IPv4" }); i > 0 {
		want = protocols[p.Headers[1].Name]
	} else if len(p.Headers) == 1 {
		want = packet.ProtocolIPIP
	}
	if ip.Protocol() != want {
		t.Errorf("%s in %s: the outermost header has protocol %d, want %d: %+v", p.Mode, p.Network, ip.Protocol(), want, p.Headers)
	}
}

// TestRecording shows that readers get all moments in their order, wait for more, and learn of the end, behind which nothing comes.
func TestRecording(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Recording
		add := func(kind scenario.MomentKind, text string) {
			r.Add(Moment{Moment: scenario.Moment{Kind: kind, Text: text}})
		}
		add(scenario.MomentLine, "one")
		var got []string
		go func() {
			for n := 0; ; {
				moments, ended, more := r.From(n)
				for _, m := range moments {
					got = append(got, string(m))
				}
				n += len(moments)
				if ended {
					return
				}
				<-more
			}
		}()
		synctest.Wait()
		add(scenario.MomentLine, "two")
		synctest.Wait()
		if len(got) != 2 {
			t.Errorf("%d moments have been read, want 2", len(got))
		}
		add(KindEnd, "three")
		add(scenario.MomentLine, "four")
		synctest.Wait()
		if text := strings.Join(got, "\n"); len(got) != 3 || !strings.Contains(text, "three") || strings.Contains(text, "four") {
			t.Errorf("what has been read is %s", text)
		}
		for _, n := range []int{-1, 0, 3, 4} {
			moments, ended, _ := r.From(n)
			if want := 3 - min(max(n, 0), 3); len(moments) != want || !ended {
				t.Errorf("from %d on there are %d moments, want %d", n, len(moments), want)
			}
		}
	})
}
