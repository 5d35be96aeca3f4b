// Package esp carries IPv4 packets in ESP tunnel mode security associations.
//
// Purpose: Outbound seals batches of whole IPv4 packets: ordinary ones in place, the segments of superpackets from where
// they lie into slabs. Table opens batches in place, each run of packets with one SPI together by its Inbound. Both
// directions check the traffic selectors of the SA (RFC 4301 §5.1, §5.2): nothing leaves through or comes out of an SA that
// it was not negotiated for. Classify tells apart what arrives on UDP port 4500.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|               Security Parameters Index (SPI)                 |
//	|                      Sequence Number                          |
//	|                       IV (8 or 16 octets)                     |
//	|                                                               |
//	|                     IPv4 packet (encrypted)                   |
//	|               Padding (1, 2, 3, ...) | Pad Length | Next Header|
//	|                            ICV                                |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//
// Specification: RFC 4303 with 32-bit and extended sequence numbers (§2.2.1, appendix A2), anti-replay
// (§3.4.3), dummy packets and traffic flow confidentiality padding (§2.6, §2.7); RFC 4106, RFC 7634 and
// RFC 3602 with RFC 4868 through ipsec/suite; RFC 4301 §5 (selectors) and §5.1.2.1 (header construction: DSCP copied); RFC 6040 §4 (ECN);
// RFC 3948 §2 (packet formats in UDP). Left out: transport mode, IPv6.
//
// Concurrency: all types are safe for concurrent use. Packets of one Outbound.Apply get consecutive sequence numbers.
//
// Ownership: packets stay with the caller, who sees them changed in place, and superpackets replaced by their segments,
// which hold the slab that they share; packets that are dropped by Outbound and Table are released and counted. Parameters
// hold keys and belong to whoever received them, who calls Wipe; an Outbound or Inbound keeps no reference to them.
package esp
