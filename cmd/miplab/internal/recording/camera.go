package recording

import (
	"sync"
	"time"

	"mipvpn/client/control"
	"mipvpn/cmd/miplab/internal/scenario"
)

// Tap has f called for each Ethernet frame on a wire, lent for the call, until stop.
type Tap func(wire string, f func(frame []byte)) (stop func() error, err error)

// Camera makes a recording of one scenario.
type Camera struct {
	recording *Recording
	tap       Tap
	looks     chan look // one at most, the latest
	ended     chan struct{}
	looking   sync.WaitGroup

	mu     sync.Mutex
	begun  time.Time // of the scenario
	last   float64   // when the latest moment was
	in     map[string]string
	latest look
}

// NewCamera begins the recording with the stage. Close must be called.
func NewCamera(r *Recording, stage *Stage, tap Tap) *Camera {
	c := &Camera{recording: r, tap: tap, looks: make(chan look, 1), ended: make(chan struct{}), begun: time.Now(), in: map[string]string{}}
	c.add(Moment{Moment: scenario.Moment{Kind: KindStage}, Stage: stage})
	c.looking.Go(c.watch)
	return c
}

// Observe is the Scenario's: it records a moment.
func (c *Camera) Observe(m scenario.Moment) {
	c.mu.Lock()
	c.begun = time.Now().Add(-time.Duration(m.At * float64(time.Second)))
	c.mu.Unlock()
	c.add(Moment{Moment: m})
	switch m.Kind {
	case scenario.MomentStep:
		c.in[m.Cable.Interface] = m.Cable.Network
	case scenario.MomentClient:
		network := c.in[m.Client.Interface]
		if m.Client.State != control.StateConnected || network == "" {
			return
		}
		l := newLook(m.Client.Mode, network, m.Client.Layers, m.Client.Interfaces)
		if l.same(c.latest) {
			return
		}
		c.latest = l
		c.addNow(Moment{Moment: scenario.Moment{Kind: KindPacket}, Packet: &l.packet})
		select { // the latest takes the place of one that has not begun
		case <-c.looks:
		default:
		}
		c.looks <- l
	}
}

// Close ends the recording with the report, nil for a scenario that could not be played; err says why.
func (c *Camera) Close(report *scenario.Report, err error) {
	close(c.ended)
	c.looking.Wait()
	end := Moment{Moment: scenario.Moment{Kind: KindEnd}, Report: report}
	if err != nil {
		end.Text = err.Error()
	}
	c.add(end) // at the time of the last moment, whatever judging took
}

// addNow adds a moment that is now.
func (c *Camera) addNow(m Moment) {
	c.mu.Lock()
	m.At = time.Since(c.begun).Seconds()
	c.mu.Unlock()
	c.add(m)
}

// add adds a moment, behind those before it.
func (c *Camera) add(m Moment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last, m.At)
	m.At = c.last
	c.recording.Add(m)
}

// watch takes one look after the other.
func (c *Camera) watch() {
	var next *look
	for {
		if next == nil {
			select {
			case l := <-c.looks:
				next = &l
			case <-c.ended:
				return
			}
		}
		next = c.look(*next)
	}
}

// look looks at a wire until enough has been seen, and returns the next look where that came first.
func (c *Camera) look(l look) (next *look) {
	if l.packet.Uncounted != "" {
		return nil
	}
	s := &sight{look: l, enough: make(chan struct{})}
	stop, err := c.tap(l.packet.Network, s.frame)
	if err == nil {
		select {
		case <-s.enough:
		case l := <-c.looks:
			next = &l
		case <-c.ended:
		}
		err = stop()
	}
	if err != nil {
		c.addNow(Moment{Moment: scenario.Moment{Kind: scenario.MomentLine, Text: "no frame can be shown: " + err.Error()}})
		return next
	}
	if p := s.shown(); next == nil && p.Frame != "" {
		c.addNow(Moment{Moment: scenario.Moment{Kind: KindPacket}, Packet: &p})
	}
	return next
}
