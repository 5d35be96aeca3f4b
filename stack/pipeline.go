package stack

import (
	"errors"
	"fmt"
	"sync/atomic"

	"mipvpn/detect/location"
	"mipvpn/stack/gate"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// ErrNotEncrypted is returned for a mode with a VPN whose path has no ESP step.
var ErrNotEncrypted = errors.New("stack: path has no ESP step")

// ErrPlaintextMode is returned for composing a mode without a VPN as if it had one, or the other way about.
var ErrPlaintextMode = errors.New("stack: mode and composition differ on plaintext")

// Pipeline is the outbound data path compiled from a composition: immutable but for Limit, swapped whole.
type Pipeline struct {
	mode  Mode
	path  link.Path
	limit atomic.Int64 // octets, 0 for none: what has been measured
}

// Mode returns the access mode that the pipeline was compiled for.
func (p *Pipeline) Mode() Mode { return p.mode }

// MTU returns the largest packet in octets that the pipeline carries: that the interface takes, less the overhead, or
// Limit's.
func (p *Pipeline) MTU() int {
	if limit := int(p.limit.Load()); limit != 0 && limit < p.path.MTU {
		return limit
	}
	return p.path.MTU
}

// LinkMTU returns the largest packet in octets that the interface takes, less the overhead, whatever Limit says.
func (p *Pipeline) LinkMTU() int { return p.path.MTU }

// Limit makes mtu, in octets, the most that the pipeline carries, as measured behind the interface; 0 takes that back. It
// may be called while the pipeline is in use.
func (p *Pipeline) Limit(mtu int) { p.limit.Store(int64(mtu)) }

// Overhead returns the most octets that the pipeline adds to a packet.
func (p *Pipeline) Overhead() int { return p.path.Overhead }

// CompileProtected returns the pipeline of a mode with a VPN. The path must contain an ESP step.
func CompileProtected(m Mode, path link.Path) (*Pipeline, error) {
	if m.Plaintext() {
		return nil, fmt.Errorf("%w: mode %q", ErrPlaintextMode, m)
	}
	if !path.Encrypted {
		return nil, fmt.Errorf("%w: mode %q", ErrNotEncrypted, m)
	}
	return &Pipeline{mode: m, path: path}, nil
}

// CompilePlaintext returns the pipeline of a mode without a VPN. It takes the detector's proof that the interface is
// inside; the gate is asked before the first step and again at the final send of each batch (DESIGN §2.4).
func CompilePlaintext(m Mode, path link.Path, proof location.Proof, g *gate.Gate, drops *packet.Drops) (*Pipeline, error) {
	if !m.Plaintext() || m == ModeNone {
		return nil, fmt.Errorf("%w: mode %q", ErrPlaintextMode, m)
	}
	at := checkpoint{gate: g, iface: proof.Interface(), epoch: proof.Epoch(), drops: drops}
	guarded := link.Path{
		Steps:    append([]link.Step{at}, path.Steps...),
		Out:      g.Guard(proof.Interface(), proof.Epoch(), path.Out, drops),
		Overhead: path.Overhead, MTU: path.MTU, Encrypted: path.Encrypted,
	}
	return &Pipeline{mode: m, path: guarded}, nil
}

// checkpoint is the gate as the first step of a plaintext path and of what is received from one.
type checkpoint struct {
	gate  *gate.Gate
	iface int
	epoch uint64
	drops *packet.Drops
}

// Apply implements link.Step.
func (c checkpoint) Apply(b *packet.Batch) {
	if !c.gate.Allows(c.iface, c.epoch) {
		b.Keep(c.drops, func(*packet.Buf) packet.DropReason { return packet.DropGateClosed })
	}
}
