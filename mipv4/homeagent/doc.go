// Package homeagent is a Mobile IPv4 home agent without its sockets: the machine that answers registration requests, and
// the table of bindings that the data path reads.
//
// Purpose: Machine takes registration requests and yields replies, and keeps the mobility bindings and their lifetimes.
// Table is what the machine makes of them for the data path: for each home address the tunnels that its packets go
// into, which are also the only ones that its packets may come out of. Record is what must outlive a restart. A driver
// (stack/agent) owns flows, timers, the TUN device and the store of records.
//
// Specification: RFC 2794 (NAI, dynamic home addresses); RFC 4433 §5.3 (dynamic home agents); RFC 5944 §3.8 (home agent), §4.1
// (encapsulations: IP-in-IP, and by configuration minimal encapsulation and GRE), §4.2.3 (unicast routing), §5.7 (replay
// protection by timestamps and by nonces); RFC 3024 §4.3 (reverse tunnels, codes 137 to 139, the check of outer and inner
// source); RFC 3519 §3, §4.6 and §4.11 (UDP tunnelling, NAT detection, F and R flags); RFC 3115 §2.3 and docs/zero-overhead.md
// (zero-overhead tunnelling, draft appendix D); RFC 4721 §3.4, §6 (challenges come back in replies; by
// configuration registrations have a Mobile-AAA authentication besides, which an AAA infrastructure checks: the machine yields
// questions and the driver answers them); RFC 3543 (registration revocation, both ways, and towards a
// foreign agent that the mobile node has left); RFC 5265 §4.3 (trusted networks) and §3.7 (an x-HA that refuses requests from
// inside). RFC 5944 says of the bit x both that it is ignored (§3.3) and that requests with it must be denied (§3.8.2.1): they
// are denied with code 134; the bit r, Van Jacobson compression in RFC 2002, is ignored. RFC 3519 says of a UDP Tunnel Request
// whose field Reserved 3 is not zero both that it is skipped (§3.1.3, MUST) and that the request is denied (§4.6.1, SHOULD):
// it is skipped. RFC 4721 wants the Mobile-Home
// authentication in front of the Mobile-AAA one in requests and in every reply (§6), so that each mobile node has a security
// association with its home agent here, also where an AAA infrastructure is asked: keys that such an infrastructure derives
// (RFC 3957) are left out on purpose. It is asked about registrations and renewals after their Mobile-Home authentication, their
// Identification and their form were found to be right, and not about deregistrations, which take nothing; while it is asked, a
// later request of the mobile node overtakes an earlier one that it takes the place of. Left out on purpose: minimal and GRE encapsulation in UDP (RFC 3519 §4.1, optional: code 142); it has its own
// issue. RFC 5944 §4.3 (broadcasts, B bit) and §4.4 (groups) by Config.Broadcasts: the table says who listens and in which of the
// two forms, the driver hands over; what groups mobile nodes have joined is kept by package igmp. What a home agent does on a home network that is a real
// link (RFC 5944 §4.6) is HomeLink's, a machine that the driver tells of bindings.
//
// Concurrency: a Machine belongs to one goroutine. A Table may be read by any number of goroutines without locks.
//
// Ownership: requests are borrowed for the call; replies own their octets.
package homeagent
