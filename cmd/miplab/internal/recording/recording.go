package recording

import (
	"encoding/json"
	"fmt"
	"sync"

	"mipvpn/cmd/miplab/internal/scenario"
)

// Schema is the version of the moments' JSON.
const Schema = 1

// Kinds of moments that a scenario does not tell itself.
const (
	KindStage  scenario.MomentKind = "stage"  // Stage: the first moment
	KindPacket scenario.MomentKind = "packet" // Packet: a frame has been seen
	KindEnd    scenario.MomentKind = "end"    // Report or Text: the last moment
)

// Moment is one moment of a recording.
type Moment struct {
	scenario.Moment
	Stage  *Stage           `json:"stage,omitempty"`
	Packet *Packet          `json:"packet,omitempty"`
	Report *scenario.Report `json:"report,omitempty"`
}

// Recording is a row of moments. The zero Recording is empty and goes on.
type Recording struct {
	mu      sync.Mutex
	moments []json.RawMessage
	more    chan struct{} // closed at the next moment; nil while nobody waits
	ended   bool
}

// Add adds a moment; one of KindEnd is the last, and what is added behind it is left out.
func (r *Recording) Add(m Moment) {
	text, err := json.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("recording: %v", err)) // the types of moments are all JSON
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return
	}
	r.moments = append(r.moments, text)
	r.ended = m.Kind == KindEnd
	if r.more != nil {
		close(r.more)
		r.more = nil
	}
}

// From returns the moments from number n on, the first being 0, and whether the last is among them or before. Where it is not,
// the channel is closed when there are more.
func (r *Recording) From(n int) (moments []json.RawMessage, ended bool, more <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n = min(max(n, 0), len(r.moments))
	if r.more == nil && !r.ended {
		r.more = make(chan struct{})
	}
	return r.moments[n:len(r.moments):len(r.moments)], r.ended, r.more
}
