// Package judge decides whether a frame on an external wire shows the enterprise's traffic outside ESP.
//
// Purpose: the lab's users mark their payloads with canaries, random strings that nobody could send by chance. A frame is
// a leak when a canary stands in it at any offset, or when an address of the enterprise does, outside registration
// messages and ESP: SYNs, ACKs and name queries carry no canary. Frames are decoded by gopacket, not by our own codecs,
// so that a mistake in those cannot hide a leak.
//
// Specification: RFC 5944 §3.3 (registration messages, UDP 434), RFC 3519 §3.3 (UDP tunnelling, type 4), RFC 2003, RFC
// 3948 (ESP and IKE on UDP 4500). Left out: IPv6, which the lab does not have; an IPv6 frame's octets are searched whole.
//
// Concurrency: a Judge may be used by several goroutines at once.
//
// Ownership: frames are lent for the call; a Leak has its own copy.
package judge
