package soak

import (
	"net/netip"
	"sync/atomic"
	"time"

	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// process is the laptop's host as one process of the daemon sees it, so that the process can be killed: from then on nothing
// that it still tries reaches the host, neither packets (goodbyes, deregistrations) nor settings nor permits. What the kernel
// takes back by itself at the end of a process, its device and its sockets, goes when the client is closed right after.
type process struct {
	*simnet.Host
	killed atomic.Bool
}

// kill ends the process's influence.
func (p *process) kill() { p.killed.Store(true) }

// Apply implements link.Host.
func (p *process) Apply(s link.Settings) error {
	if p.killed.Load() {
		return nil
	}
	return p.Host.Apply(s)
}

// Permit implements link.PlaintextPermit.
func (p *process) Permit(index int, until time.Duration) error {
	if p.killed.Load() {
		return nil
	}
	return p.Host.Permit(index, until)
}

// Forbid implements link.PlaintextPermit.
func (p *process) Forbid(index int) error {
	if p.killed.Load() {
		return nil
	}
	return p.Host.Forbid(index)
}

// Underlay implements link.Host.
func (p *process) Underlay(index int, addr netip.Addr) (link.Link, error) {
	l, err := p.Host.Underlay(index, addr)
	if err != nil {
		return nil, err
	}
	return processLink{l, p}, nil
}

// OpenFrames implements link.Host.
func (p *process) OpenFrames(index int, recv link.Receiver) (link.Frames, error) {
	f, err := p.Host.OpenFrames(index, recv)
	if err != nil {
		return nil, err
	}
	return processFrames{f, p}, nil
}

type processLink struct {
	link.Link
	p *process
}

// Open implements link.Link.
func (l processLink) Open(spec link.FlowSpec, recv link.Receiver) (link.Flow, error) {
	f, err := l.Link.Open(spec, recv)
	if err != nil {
		return nil, err
	}
	return processFlow{f, l.p}, nil
}

type processFlow struct {
	link.Flow
	p *process
}

// Send implements link.Flow.
func (f processFlow) Send(to netip.AddrPort, payload []byte) error {
	if f.p.killed.Load() {
		return nil
	}
	return f.Flow.Send(to, payload)
}

// Path implements link.Flow.
func (f processFlow) Path(c link.Class) link.Path {
	path := f.Flow.Path(c)
	path.Out = processSender{path.Out, f.p}
	return path
}

type processFrames struct {
	link.Frames
	p *process
}

// Out implements link.Frames.
func (f processFrames) Out(c link.Class) link.Sender { return processSender{f.Frames.Out(c), f.p} }

type processSender struct {
	link.Sender
	p *process
}

// Send implements link.Sender.
func (s processSender) Send(b *packet.Batch) error {
	if s.p.killed.Load() {
		b.Release()
		return nil
	}
	return s.Sender.Send(b)
}
