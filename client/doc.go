// Package client is the mobile node: the actor that owns the machines, timers and flows of one laptop.
//
// Purpose: the machines decide (client/roam where to go, detect/location whether that is inside, mipv4/mobilenode and
// ipsec/ike how to get there); the actor gives them time and messages, sends what they want sent, composes access modes
// from stack's layers as they say, and answers the control socket (client/control). It knows no socket and no system
// call: a link.Host stands for the laptop, the kernel's or a simulated one.
//
// While power or octets are dear the VPN sends less of its own accord (power.go); nothing else follows from that.
//
// What a person can have measured (ping.go) sends nothing of a user's, and passes the gate like user data where it goes by the home
// address.
//
// Specification: RFC 5265 §3 and draft-vaarala-mip4-vpn §3 and §4 as far as they order the steps of the mobile node, and the
// mobile node's part of its appendix B (gatewayagent.go); RFC 5944 §4.6 at home on the home link (athome.go), where what goes to
// neighbours takes the way by the link's router, too; §4.3 and §4.4, broadcasts and groups of the home network, by configuration (broadcast.go):
// the kernel's IP layer speaks IGMP on the TUN device, and what it says goes through the tunnel; §3.6.1.2, the x-HA found by its home network (search.go); §2.4.1, a foreign agent that
// asks to be registered through where the client has an address of its own, with the x-HA (aside.go). What stands in one machine's package is
// not repeated here. A home address that is not known (appendix B.6) is assigned by the i-HA through an ordinary tunnel before the
// gateway's agent is asked. Left out on purpose: a registration with the i-HA through an agent that asks for it, since no answer to it is a
// proof of inside (REQUIREMENTS DET-3).
//
// Concurrency: one goroutine, the actor, owns everything that is not said to be otherwise. Receivers and the control
// socket hand it closures. The data path (stack.Engine) runs beside it and is reached through atomic swaps only.
//
// Ownership: a message handed to the actor is its own; a status handed out is the reader's.
package client
