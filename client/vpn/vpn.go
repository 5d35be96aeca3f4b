package vpn

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"mipvpn/stack"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Protocol is a VPN protocol with its configuration.
type Protocol interface {
	// Name is the protocol's name in status, such as "ipsec".
	Name() string
	// Open opens the flows to a gateway. An error says what the host or the link below did not give.
	Open(Ground) (Access, error)
	// Prepare gets what a tunnel needs that is not at hand, such as the password of a person, and returns true when there is
	// nothing more to get. Otherwise it goes on beside the client, and hands done to the client's goroutine by run, once, with the
	// error that it ended with. One preparation runs at a time. What was got is kept, until it is wrong or forgotten.
	Prepare(run func(f func()), done func(error)) bool
	// Forget forgets what Prepare has got, and ends what it does: the client goes down.
	Forget()
	// Explain returns the protocol's own name for an error of it, empty without one, and what to do about it.
	Explain(err error) (code, advice string)
}

// Ground is what an Access stands on.
type Ground struct {
	// Bearers are the links to the gateway, one at least, the preferred first: Access.Stand changes them.
	Bearers []Bearer
	// Gateway is the gateway's address.
	Gateway netip.Addr
	// Drops counts packets that are not passed on.
	Drops *packet.Drops
	// Random is where keys and nonces come from. It is read on the client's goroutine only.
	Random io.Reader
	// Run has f called on the client's goroutine, after which all Tunnels are polled. It may be called from anywhere and does
	// not block; when the client is too busy f is not called, as if a packet were lost.
	Run func(f func(now link.Instant))
	// Hand is Run that waits until the client takes f, or ctx ends, so that nothing is lost.
	Hand func(ctx context.Context, f func(now link.Instant))
	// Connect connects past the VPN, through the interface in use, to what is none of the enterprise's; nil where the host cannot.
	Connect func(ctx context.Context, network, address string) (net.Conn, error)
	// Log is the client's.
	Log *zap.Logger
}

// Bearer is a link that a tunnel can stand on: x-MIP's, whose address stays, or an interface's own.
type Bearer struct {
	// Link is the link to the gateway, and its address the tunnel's outer one.
	Link link.Link
	// Gateway is the gateway's address as that link reaches it, of the IP version of the link's: one of another version than
	// Ground.Gateway, or one that a NAT64 there translates. The zero Addr stands for Ground.Gateway.
	Gateway netip.Addr
	// Direct says that it is an interface's own, so that its address goes when the laptop moves.
	Direct bool
	// DialTCP, where it is set, opens TCP connections by the way that Link goes, for where datagrams do not pass (RFC 9329). It is
	// called on goroutines of the Access.
	DialTCP func(ctx context.Context, to netip.AddrPort) (net.Conn, error)
	// Network names the network that the way begins in, so that what a NAT there has been seen to hold is known again; empty
	// where that is not known. It may be told to nobody.
	Network string
}

// Access is the way to a gateway. Tunnels come and go, its flows stay.
type Access interface {
	// Dial begins to set up a tunnel. first says that there is no other one with this gateway that may live. ticket, which may be
	// nil, is from a tunnel's Suspend and belongs to the Access from now on.
	Dial(now link.Instant, first bool, ticket Ticket) (Tunnel, error)
	// Offer has tunnels that are dialed from now on ask the gateway to be the foreign agent of the home address given, which is then
	// their address (draft appendix B); the zero Addr, as at first, for tunnels that do not. A gateway that does not agree gives
	// another address.
	Offer(home netip.Addr)
	// Stand changes the bearers, the preferred first. Tunnels move to the first of them that works, as far as their gateway follows,
	// and away at once from one that is not among them; Tunnel.Bearer says where each is, Ready that it has moved. A tunnel whose
	// gateway does not follow stays with its bearer, and ends with ErrBearerGone when that is gone, as does in any case one that is
	// still being set up: Dial begins anew. A bearer is the same as before when its Link is the same value; another Link with the
	// same address is another network, which the gateway is told from. The same bearers again change nothing; those that are
	// preferred to the one in use are tried again now and then. Without any, nothing changes until there is one: tunnels are parked
	// meanwhile. The flows of a bearer that is gone receive for a few seconds what was on its way. Errors are those of opening
	// flows; those bearers are left out.
	Stand(now link.Instant, bearers []Bearer) error
	// Use has packets leave through t, one of the Access's own, from now on; nil for none.
	Use(t Tunnel)
	// Link returns a link with that address, one that a tunnel was given: packets leave through the tunnel in use, and those of
	// all tunnels arrive there, with a mark in Buf.SA that is not 0: it says that they have been authenticated, and the client
	// takes no other. The one returned before, for another address, goes on
	// receiving, and is returned again for it; earlier ones receive nothing any more.
	Link(address netip.Addr) *stack.PacketLink
	// Close ends what is left of all tunnels, without telling the gateway, and closes the flows.
	Close() error
}

// Sparer is an Access that can send less of its own accord.
type Sparer interface {
	// Spare has keepalives and questions whether the gateway lives, of all tunnels, come so many times more rarely, as far as the
	// protocol finds that safe; 1, as at first, for as configured. What the client asks for (Tunnel.CheckLiveness) is not changed.
	Spare(now link.Instant, factor int)
}

// Ticket brings a tunnel back without setting it up anew.
type Ticket interface {
	// Wipe forgets its keys.
	Wipe()
}

// Tunnel is one association with the gateway: being set up, up, or ended. It is driven like a protocol machine: after each
// call, and after what Ground.Run has called, PollEvent is drained and then Flush called.
type Tunnel interface {
	// HandleTimeout does what is due. Deadline returns the boot time of what is due next, false when there is nothing.
	HandleTimeout(now link.Instant)
	Deadline() (time.Duration, bool)
	// PollEvent returns the next event.
	PollEvent(now link.Instant) (Event, bool)
	// Flush sends what is to be sent and reports whether there was something.
	Flush() bool

	// Park keeps the tunnel while nothing can be sent: it stays silent, and the gateway's silence means nothing. False says that
	// it cannot, because it is ending. Unpark ends that.
	Park() bool
	Unpark(now link.Instant)
	// CheckLiveness asks the gateway whether it still has the tunnel; Alive answers. Asking again repeats the question at once.
	CheckLiveness(now link.Instant) error
	// Suspend ends the tunnel without telling the gateway and returns the ticket that brings it back. Without one it returns nil
	// and does nothing.
	Suspend(now link.Instant) Ticket
	// Close ends the tunnel; with tell the gateway is told, as far as one message can. There are no events after it.
	Close(now link.Instant, tell bool)

	// Carries reports whether packets can leave through it.
	Carries() bool
	// Received is how many packets have been received through it: more than before means that the gateway lives.
	Received() uint64
	// Committed reports whether the gateway may take the tunnel for set up, whatever becomes of the answer.
	Committed() bool
	// Bearer is the outer address of the bearer that packets leave by.
	Bearer() netip.Addr
	// ThroughAgent reports whether packets leave through the foreign agent in the gateway: that was asked for and agreed.
	ThroughAgent() bool
	// Follows says whether the gateway follows the tunnel to another bearer, once that is known.
	Follows() Following
	// Describe says how it is, for status.
	Describe() Description
}

// Following says whether and how a gateway follows a tunnel whose outer address changes (draft appendix C).
type Following uint8

const (
	// FollowingUnknown is before the gateway is authenticated, and while it is being tried.
	FollowingUnknown Following = iota
	// FollowsNot is a gateway that has to be asked for a new tunnel.
	FollowsNot
	// FollowsUpdates is one that is told, such as by MOBIKE.
	FollowsUpdates
	// FollowsPackets is one that has been seen to follow authentic packets from elsewhere (RFC 7296 §2.23).
	FollowsPackets
)

// ErrBearerGone means that a tunnel has ended since the bearer that it stood on is gone, and it could not go on by another: the
// client sets up another one at once.
var ErrBearerGone = errors.New("the network that the VPN stood on is gone")

// ErrNoAnswer means that the gateway does not answer. Errors of a Tunnel that say so wrap it.
var ErrNoAnswer = errors.New("the gateway does not answer")

// Description is how a tunnel is, for people and scripts.
type Description struct {
	// Encapsulation names how packets travel, such as "esp", "esp-in-udp" or "esp-in-tcp".
	Encapsulation string
	// SPIs name what packets are received and sent under, in that order, empty when there is nothing.
	SPIs []string
	// Own says how the client has proved its identity, Gateway how the gateway has, and GatewayIdentity which.
	Own, Gateway, GatewayIdentity string
	// Suite names the algorithms of the key exchange, ESP those of packets.
	Suite, ESP string
	// KeyExchanges are the methods that the keys came from; Downgraded says that the gateway did fewer than were offered, so that
	// they are safe from today's adversaries alone. PresharedToo says that a post-quantum pre-shared key went in, too.
	KeyExchanges []string
	Downgraded   bool
	PresharedToo bool
	// Selectors are the destinations that the gateway lets through the tunnel; Narrowed says that they are less than was asked for.
	Selectors []string
	Narrowed  bool
}

// Event is something that a tunnel tells the client: Up, Ready, Renew, Rekeyed, Probe, Alive, Elsewhere, Trouble or Closed.
type Event interface{ event() }

// Up says that the tunnel is set up and the gateway authenticated.
type Up struct {
	// Address is the address that the gateway has given (VPN-TIA).
	Address netip.Addr
	// Agent is the advertisement of the foreign agent in the gateway, the octets of an ICMP message (RFC 5944 §2.1), nil where the
	// gateway has handed none over. Nobody has looked into it.
	Agent []byte
	// DNS are name servers inside, Domains the domains that they are to be asked about.
	DNS     []netip.Addr
	Domains []string
	// How says it in a few words: with whom, how protected.
	How string
}

// Ready says that Carries, ThroughAgent, the way in which packets leave, or Follows has changed. Moved is set when the packets' way is another,
// so that a pipeline that was compiled for the tunnel is to be compiled anew.
type Ready struct{ Moved bool }

// Renew says that a new tunnel is to be set up beside this one and take its place: the gateway will close it otherwise, or the new
// one can do what this one cannot. Why says it in a few words; empty when the client has to prove itself again.
type Renew struct{ Why string }

// Rekeyed says that the tunnel has fresh keys, and goes on: those of packets where Child is set, otherwise those of the tunnel's own
// messages.
type Rekeyed struct{ Child bool }

// Probe asks for a packet through the tunnel that is answered from inside, so that it shows where the gateway sends to. Data that
// flows both ways does as well.
type Probe struct{}

// Alive says that the gateway has answered CheckLiveness.
type Alive struct{}

// Trouble is something that a person should know of: the tunnel goes on.
type Trouble struct {
	// What says what the error is about: "no child SA" or the like.
	What string
	Err  error
}

// Elsewhere says that the gateway wants the client to use another one: Address, or Name where there is none. A tunnel that is
// being set up ends behind it; one that is up stays until it is closed.
type Elsewhere struct {
	Address netip.Addr
	Name    string
}

// Closed says that the tunnel has ended; nothing follows. Err is why, nil when it was to end.
type Closed struct{ Err error }

func (Up) event()        {}
func (Ready) event()     {}
func (Renew) event()     {}
func (Rekeyed) event()   {}
func (Probe) event()     {}
func (Alive) event()     {}
func (Trouble) event()   {}
func (Elsewhere) event() {}
func (Closed) event()    {}
