package simnet

import (
	"container/heap"
	"time"
)

// event is something that the loop does, under the network's mutex, when its time has come.
type event struct {
	at    time.Duration // network time
	lane  int           // the host that caused it: orders events of one time whatever goroutine scheduled them first
	seq   uint64        // orders events of one lane
	run   func()
	tap   bool // tells taps of a frame, which Close does not leave out
	index int  // place in the heap, -1 outside it
}

// eventHeap orders events by (at, lane, seq).
type eventHeap []*event

// Len implements heap.Interface.
func (h eventHeap) Len() int { return len(h) }

// Less implements heap.Interface.
func (h eventHeap) Less(i, j int) bool {
	a, b := h[i], h[j]
	if a.at != b.at {
		return a.at < b.at
	}
	if a.lane != b.lane {
		return a.lane < b.lane
	}
	return a.seq < b.seq
}

// Swap implements heap.Interface.
func (h eventHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *eventHeap) Push(x any) {
	e := x.(*event)
	e.index = len(*h)
	*h = append(*h, e)
}

// Pop implements heap.Interface.
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.index = -1
	return e
}

// at schedules run for the network time t, in the past: as soon as the loop comes to it.
func (n *Network) at(t time.Duration, lane int, run func()) *event {
	n.seq++
	e := &event{at: t, lane: lane, seq: n.seq, run: run}
	heap.Push(&n.events, e)
	if e.index == 0 {
		n.poke()
	}
	return e
}

// cancel takes back an event that has not run; nil and past events are ignored.
func (n *Network) cancel(e *event) {
	if e != nil && e.index >= 0 {
		heap.Remove(&n.events, e.index)
		e.index = -1
	}
}
