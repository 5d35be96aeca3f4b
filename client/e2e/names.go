package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"mipvpn/client"
	"mipvpn/client/dns"
	"mipvpn/detect/resolve"
	"mipvpn/detect/resolve/query"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
)

// HotelDomain is the search list that every network outside hands out.
const HotelDomain = "hotel.example."

// Resolver is the simulated laptop's resolver, and all that the client needs to change it. It does what a C library does: it
// asks the name server that it has been told of, and when a name is not found asks again with each domain of its search list
// behind it. Untold it asks the server of the network that it is in, and searches the network's domain. What it is told
// outlives the process that told it.
type Resolver struct {
	laptop func() *simnet.Host

	mu   sync.Mutex
	plan *dns.Plan
	sets int
}

var (
	_ dns.Settings    = (*Resolver)(nil)
	_ dns.Sockets     = (*Resolver)(nil)
	_ resolve.Servers = (*Resolver)(nil)
)

// NewResolver returns the resolver of the host that laptop returns once there is one.
func NewResolver(laptop func() *simnet.Host) *Resolver { return &Resolver{laptop: laptop} }

// Option has a client use the resolver.
func (r *Resolver) Option() client.Option {
	return client.WithNames(client.Names{Servers: r, Host: &client.NamesHost{
		Sockets: r, Settings: func(dns.Mode) (dns.Settings, error) { return r, nil }, Left: []dns.Settings{r},
	}})
}

// Name implements dns.Settings.
func (r *Resolver) Name() string { return "the simulated resolver" }

// Set implements dns.Settings.
func (r *Resolver) Set(p dns.Plan) (changed bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed = r.plan == nil || r.plan.Server != p.Server
	r.plan = &p
	if changed {
		r.sets++
	}
	return changed, nil
}

// Clear implements dns.Settings.
func (r *Resolver) Clear() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.plan = nil
	return nil
}

// Standing implements dns.Settings.
func (r *Resolver) Standing() (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.plan != nil, nil
}

// Sets returns how often it has been told something new.
func (r *Resolver) Sets() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sets
}

// Servers implements resolve.Servers: each network's router is its name server. A network without addresses has none.
func (r *Resolver) Servers(_ context.Context, i link.Interface) ([]netip.Addr, error) {
	if !i.Gateway.IsValid() {
		return nil, nil
	}
	return []netip.Addr{i.Gateway}, nil
}

// ListenUDP implements dns.Sockets.
func (r *Resolver) ListenUDP(local netip.AddrPort) (net.PacketConn, error) {
	return r.laptop().ListenUDP(local)
}

// ListenTCP implements dns.Sockets.
func (r *Resolver) ListenTCP(local netip.AddrPort) (net.Listener, error) {
	return r.laptop().ListenTCP(local)
}

// DialTCP implements dns.Sockets.
func (r *Resolver) DialTCP(ctx context.Context, remote netip.AddrPort) (net.Conn, error) {
	var left time.Duration
	if at, ok := ctx.Deadline(); ok {
		left = max(time.Until(at), 1)
	}
	return r.laptop().DialTCP(remote, left)
}

// errUnresolved means that a name has no address, or that nobody answers.
var errUnresolved = errors.New("e2e: the name is not resolved")

// Lookup has an application look a name up, for at most two seconds each question, and returns its address.
func (r *Resolver) Lookup(name string) (netip.Addr, error) {
	r.mu.Lock()
	p := r.plan
	r.mu.Unlock()
	names := []string{name}
	var servers []netip.Addr
	if p != nil {
		servers = []netip.Addr{p.Server}
		for _, d := range p.Domains {
			names = append(names, name+d)
		}
		names = append(names, name+HotelDomain) // where systemd-resolved keeps the search lists of all links
	} else {
		all, err := r.laptop().Interfaces()
		if err != nil {
			return netip.Addr{}, err
		}
		for _, i := range all {
			more, err := r.Servers(context.Background(), i)
			if err != nil {
				return netip.Addr{}, err
			}
			servers = append(servers, more...)
		}
		names = append(names, name+HotelDomain)
	}
	for _, s := range servers {
		for _, n := range names {
			if a, err := r.ask(netip.AddrPortFrom(s, resolve.Port), n); err == nil {
				return a, nil
			}
		}
	}
	return netip.Addr{}, errUnresolved
}

// ask asks one question and returns the address in the answer.
func (r *Resolver) ask(server netip.AddrPort, name string) (netip.Addr, error) {
	m, err := query.NewQuery(name, query.TypeA)
	if err != nil {
		return netip.Addr{}, err
	}
	u, err := r.laptop().ListenUDP(netip.AddrPort{})
	if err != nil {
		return netip.Addr{}, err
	}
	defer u.Close()
	if err := u.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return netip.Addr{}, err
	}
	if _, err := u.WriteToAddrPort(m, server); err != nil {
		return netip.Addr{}, err
	}
	buf := make([]byte, 2048)
	n, _, err := u.ReadFromAddrPort(buf)
	if err != nil {
		return netip.Addr{}, err
	}
	if n < len(m)+16 || buf[3]&0xf != 0 {
		return netip.Addr{}, errUnresolved
	}
	return netip.AddrFrom4([4]byte(buf[n-4 : n])), nil // the last octets of the only record
}

// NameServer is a name server of the lab.
type NameServer struct {
	mu    sync.Mutex
	asked []string
}

// StartNameServer starts a name server on one of a host's addresses, until the network ends. answers returns the addresses
// that it answers with, whatever the type that it is asked for; none for a name that there is not.
func StartNameServer(h *simnet.Host, at netip.Addr, answers func(name string) []netip.Addr) (*NameServer, error) {
	u, err := h.ListenUDP(netip.AddrPortFrom(at, resolve.Port))
	if err != nil {
		return nil, err
	}
	s := &NameServer{}
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := u.ReadFromAddrPort(buf)
			if err != nil {
				return
			}
			if p := s.answer(buf[:n], answers); p != nil {
				_, _ = u.WriteToAddrPort(p, from)
			}
		}
	}()
	return s, nil
}

func (s *NameServer) answer(message []byte, answers func(string) []netip.Addr) []byte {
	q, err := query.ParseQuestion(message)
	if err != nil {
		return nil
	}
	s.mu.Lock()
	s.asked = append(s.asked, q.Name)
	s.mu.Unlock()
	list := answers(q.Name)
	if len(list) == 0 {
		p, err := query.Failure(message, query.RcodeNameError)
		if err != nil {
			return nil
		}
		return p
	}
	p := bytes.Clone(message)
	p[2] |= 0x80
	p[3] |= 0x80
	binary.BigEndian.PutUint16(p[6:], uint16(len(list)))
	for _, a := range list {
		p = append(p, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4) // the question's name, A, IN, a minute, four octets
		p = append(p, a.AsSlice()...)
	}
	return p
}

// Asked returns the names that the server was asked about.
func (s *NameServer) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.asked...)
}

// NameCanary is a label of every enterprise name that applications look up, for a judge of wires to look for, whatever its
// spelling.
const NameCanary = "canary-name"

// WatchNames counts the frames on the wires that hold NameCanary in any spelling at any offset.
func WatchNames(wires ...*simnet.Wire) *NameJudge {
	j := &NameJudge{}
	for _, w := range wires {
		j.stops = append(j.stops, w.Tap(j.look))
	}
	return j
}

// NameJudge watches wires for enterprise names.
type NameJudge struct {
	mu     sync.Mutex
	frames int
	leaks  []simnet.Frame
	stops  []func()
}

func (j *NameJudge) look(f simnet.Frame) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.frames++
	if bytes.Contains(bytes.ToLower(f.Packet), []byte(NameCanary)) {
		j.leaks = append(j.leaks, f)
	}
}

// Leaks returns the frames with an enterprise name, and how many were looked at.
func (j *NameJudge) Leaks() (leaks []simnet.Frame, frames int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]simnet.Frame(nil), j.leaks...), j.frames
}

// Stop ends watching.
func (j *NameJudge) Stop() {
	for _, stop := range j.stops {
		stop()
	}
}
