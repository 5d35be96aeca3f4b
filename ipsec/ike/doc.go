// Package ike is the IKEv2 protocol machine, for both roles.
//
// Purpose: a Machine sets up an IKE SA with one peer, makes, rekeys and closes child SAs, and notices when the peer is
// gone. The driver gives it datagrams, the time and commands, sends what PollTransmit yields, and installs in ipsec/esp
// what the events ChildInstalled and ChildRemoved say: keys leave the machine in no other way. NewInitiator makes a
// client's machine, NewResponder one of a gateway, which makes one for each IKE_SA_INIT request it takes.
//
// How it is built: exchanges of ours are made of tasks, each one concern of RFC 7296 with the methods request and
// response, and answer in the other role: initTask, natTask, authTask, configTask, childTask, ikeRekeyTask,
// livenessTask, deleteChildTask, deleteIKETask, and others. exchange.go alone knows message IDs, the window, retransmission and which
// tasks share an exchange. An ikeSA holds what belongs to one IKE SA; child SAs belong to the Machine, so that they need
// not be moved when the IKE SA is rekeyed. New concerns are new tasks.
//
// Authentication: Rounds, Accept and Policy.Authentication say how the ends prove who they are; private keys, trust anchors and
// EAP methods are the driver's. SignatureWanted, TrustWanted and EAPReceived ask it, and Machine.Signed, Trusted and AnswerEAP
// bring the answer, from inside of the loop over PollEvent or minutes later. The step of the exchange that asked waits meanwhile
// (wait.go): our request is not sent, or the peer's is not answered and its repetitions are ignored. IKE_AUTH takes as many
// exchanges as need be; tasks that share it say their part in the first request and take the last response (errMore).
//
// Key exchanges: Proposals says what is offered and taken; ProposalsOf has it by a word. Beside the first key exchange there may be
// additional ones, ML-KEM by default: behind IKE_SA_INIT in IKE_INTERMEDIATE (intermediateTask), behind CREATE_CHILD_SA in
// IKE_FOLLOWUP_KE (followupTask, series). A PPK is mixed in with the first AUTH payload (ppk.go). Established and IKERekeyed tell what
// was done and whether it is less than was wanted.
//
// Driving it: after each call drain PollEvent, then PollTransmit (an SA must be installed before the response that
// announces it leaves, RFC 7296 §2.8), then arm a timer for Deadline and call HandleTimeout when it is due.
//
// The life of SAs: IKE SAs and child SAs are rekeyed by time, child SAs also when the driver says HandleSpent, for package esp
// counts octets, packets and sequence numbers against the limits that ChildInstalled brings. Config.Dead is the time in which a
// dead peer is noticed. ReauthenticationDue and Redirected are for the driver: it makes another machine beside this one, moves the
// traffic, and deletes this one. A peer that has lost its SAs says so with its token (task_crash.go). Under attack a gateway gives
// puzzles, which the driver solves beside the machine (PuzzleWanted, Solved).
//
// Keepalives: the machine sends those of NATs and learns how long a NAT holds a mapping (keepalive.go, UseKeepalive). Spare makes them and
// liveness checks rarer while power is dear, never above a limit and never against what was learned.
//
// Suspend ends a client's machine and yields the ticket to resume with, by resumeTask in the place of initTask.
//
// Addresses: with MOBIKE the driver says which addresses there are (SetAddresses) and takes messages from those of PeerAddresses;
// the machine finds a path and says by EndpointChanged what child SAs use (mobike.go, task_mobike.go, answer_mobike.go,
// endpoint.go). An EndpointUpdate is the only thing that moves them, and names those that it concerns. HandleSource follows a peer
// behind a NAT by its ESP packets. An initiator whose peer has no MOBIKE finds out by ProveFollowing whether it is followed like that,
// and moves then by sending from elsewhere (following.go). Peers, keys and SAs are found by identities and SPIs, never by an address.
//
// A gateway may have a foreign agent of Mobile IPv4 in it (task_agent.go; docs/gateway-agent.md): both ends show a Vendor ID, the
// gateway hands over the agent's advertisement in IKE_AUTH, and a notify agrees for each child SA that it goes from the home address
// through the agent. What the agent does is not this package's.
//
// Park is for an end whose path to the peer is gone for the time being: the SAs are kept and nothing is sent.
//
// Specification: of RFC 7296 are implemented §1.2 to §1.4; §2.1 to §2.3 (window of one request); §2.4 with INITIAL_CONTACT;
// §2.5; §2.6 on the initiator's side (the gateway makes cookies in front of the machines); §2.7; §2.8 with all collisions
// of §2.8.1, §2.8.2 and §2.25; §2.9; §2.10 to §2.19; §2.21; §2.23 for tunnel mode; §3 through
// ipsec/ike/message; RFC 7427, RFC 8420 and RFC 4754 (signatures), RFC 4806 (OCSP responses are carried), RFC 4739 (several
// rounds of authentication), RFC 5998 (EAP alone); RFC 9242 and RFC 9370 (additional
// key exchanges; IKE_INTERMEDIATE for nothing else), draft-ietf-ipsecme-ikev2-mlkem; RFC 8784 (PPK, of the type PPK_ID_FIXED); RFC 5282; RFC 3948 §4 (keepalives); RFC 4555 (MOBIKE, both
// roles; of §3.1 nothing, the first path is the driver's); RFC 7383 (fragmentation; of §2.5.2 a
// coarse search downward, without ICMP); RFC 9329 (TCP, the
// machine's part of §5 to §7); RFC 5723 (resumption: what a gateway's tickets look like is left to
// ike.Tickets); RFC 4478 (AUTH_LIFETIME); RFC 5685 (redirect in IKE_SA_INIT, IKE_AUTH and INFORMATIONAL); RFC 6290 (tokens of both
// ends; those of INVALID_SPI outside of an IKE SA are not looked at); RFC 8019 (puzzles in IKE_SA_INIT); RFC 8598 (split DNS);
// draft-ietf-mobileip-vpn-problem-solution-01 appendix B.1 to B.3 and B.5's selectors, in the form of docs/gateway-agent.md.
//
// IPv6: addresses, name servers, networks and traffic selectors are assigned and negotiated; package esp carries IPv4 packets alone,
// so that a client asks for IPv4.
//
// Left out on purpose: transport mode and AH; IPComp; a send window of more than one, which
// the peer's SET_WINDOW_SIZE would allow (§2.3 obliges nobody), and one for the
// peer's requests, which is not announced: an IKE SA has a request in a minute, and with one at a time each is answered from what the
// one before has left (§2.25); INVALID_MESSAGE_ID and INVALID_SELECTORS notifications, which are optional, and ignored when they come;
// CFG_SET, which is answered with an empty CFG_ACK; puzzles in IKE_AUTH (RFC 8019 §7.2); a KEM as the first key exchange; PPK_ID_OPAQUE; certificates by hash and URL (RFC 7296 §3.6), which nobody fetches; AUTH method 1, RSA with SHA-1;
// several rounds of the gateway's own as a responder (RFC 4739 §2.5), which an initiator takes; acting on several responses to
// one IKE_SA_INIT at once (§2.4 allows it).
//
// Concurrency: a Machine belongs to one goroutine. It does no I/O, starts no goroutine, reads no clock and does not log.
//
// Ownership: inputs are borrowed for the call. Transmits and events own their octets; the keys in ChildInstalled belong
// to whoever receives it. Keys of IKE SAs never leave the package and are wiped when their SA ends.
package ike
