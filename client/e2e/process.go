package e2e

import (
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"mipvpn/client"
	"mipvpn/client/config"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Process is a host as one process sees it, which can be killed at any step: from then on nothing that it still tries
// reaches the host, neither packets (goodbyes, deregistrations) nor settings nor permits. What the kernel takes back by
// itself at the end of a process, its device and its sockets, goes when the client that runs on it is closed right after.
//
// A step is what changes something on the host or the network: settings, permits, a device, a flow or frames opened or
// closed, a message of signalling or a batch of packets sent as link.Protected. Plaintext batches are none.
type Process struct {
	*simnet.Host
	mu     sync.Mutex
	steps  int
	fuse   int // the step that is not made any more; 0 for none
	killed bool
	death  chan struct{}
}

// NewProcess returns a process on the host. With fuse over 0 it is killed instead of making its fuse-th step.
func NewProcess(h *simnet.Host, fuse int) *Process {
	return &Process{Host: h, fuse: fuse, death: make(chan struct{})}
}

// Kill ends the process's influence. It may be called more than once.
func (p *Process) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kill()
}

func (p *Process) kill() {
	if !p.killed {
		p.killed = true
		close(p.death)
	}
}

// Killed returns a channel that is closed when the process has been killed.
func (p *Process) Killed() <-chan struct{} { return p.death }

// Steps returns how many steps the process has made.
func (p *Process) Steps() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.steps
}

// step reports whether the process lives to make another step.
func (p *Process) step() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.killed && p.fuse > 0 && p.steps+1 >= p.fuse {
		p.kill()
	}
	if p.killed {
		return false
	}
	p.steps++
	return true
}

func (p *Process) alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.killed
}

// RunProcess closes the mobile node, as its process's end does without a word, and starts another one on p, which is to be
// a process on the laptop, with a configuration that change may have changed; nil leaves it as it is in the lab.
func (w *World) RunProcess(p *Process, change func(*config.Config), log *zap.Logger) error {
	if w.Client != nil {
		if err := w.Client.Close(); err != nil {
			return err
		}
		w.Client = nil
	}
	cfg := ClientConfig()
	if change != nil {
		change(cfg)
	}
	c, err := client.Start(p, cfg, log, client.WithDrops(w.Laptop.Drops()))
	if err == nil {
		w.Client = c
	}
	return err
}

// Apply implements link.Host.
func (p *Process) Apply(s link.Settings) error {
	if !p.step() {
		return nil
	}
	return p.Host.Apply(s)
}

// Permit implements link.PlaintextPermit.
func (p *Process) Permit(index int, until time.Duration) error {
	if !p.step() {
		return nil
	}
	return p.Host.Permit(index, until)
}

// Forbid implements link.PlaintextPermit.
func (p *Process) Forbid(index int) error {
	if !p.step() {
		return nil
	}
	return p.Host.Forbid(index)
}

// OpenDevice implements link.Host.
func (p *Process) OpenDevice(name string, mtu int) (link.Device, error) {
	p.step() // a device that a dead process opens goes at once, when the client is closed
	return p.Host.OpenDevice(name, mtu)
}

// Underlay implements link.Host.
func (p *Process) Underlay(index int, addr netip.Addr) (link.Link, error) {
	l, err := p.Host.Underlay(index, addr)
	if err != nil {
		return nil, err
	}
	return processLink{l, p}, nil
}

// OpenFrames implements link.Host.
func (p *Process) OpenFrames(index int, recv link.Receiver) (link.Frames, error) {
	p.step()
	f, err := p.Host.OpenFrames(index, recv)
	if err != nil {
		return nil, err
	}
	return processFrames{f, p}, nil
}

// OpenAdvertisements implements link.AdvertisementHost.
func (p *Process) OpenAdvertisements(index int, recv link.Receiver) (link.Frames, error) {
	p.step()
	f, err := p.Host.OpenAdvertisements(index, recv)
	if err != nil {
		return nil, err
	}
	return processFrames{f, p}, nil
}

type processLink struct {
	link.Link
	p *Process
}

// Open implements link.Link.
func (l processLink) Open(spec link.FlowSpec, recv link.Receiver) (link.Flow, error) {
	l.p.step()
	f, err := l.Link.Open(spec, recv)
	if err != nil {
		return nil, err
	}
	return processFlow{f, l.p}, nil
}

type processFlow struct {
	link.Flow
	p *Process
}

// Send implements link.Flow.
func (f processFlow) Send(to netip.AddrPort, payload []byte) error {
	if !f.p.step() {
		return nil
	}
	return f.Flow.Send(to, payload)
}

// Path implements link.Flow.
func (f processFlow) Path(c link.Class) link.Path {
	path := f.Flow.Path(c)
	path.Out = processSender{path.Out, f.p, c}
	return path
}

// Close implements link.Flow. The kernel closes what a dead process leaves open.
func (f processFlow) Close() error {
	f.p.step()
	return f.Flow.Close()
}

type processFrames struct {
	link.Frames
	p *Process
}

// Out implements link.Frames.
func (f processFrames) Out(c link.Class) link.Sender { return processSender{f.Frames.Out(c), f.p, c} }

type processSender struct {
	link.Sender
	p     *Process
	class link.Class
}

// Send implements link.Sender.
func (s processSender) Send(b *packet.Batch) error {
	lives := s.p.alive
	if s.class == link.Protected {
		lives = s.p.step
	}
	if !lives() {
		b.Release()
		return nil
	}
	return s.Sender.Send(b)
}
