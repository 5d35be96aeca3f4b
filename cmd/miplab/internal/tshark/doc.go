// Package tshark asks Wireshark's dissector for a second opinion on captures.
//
// Purpose: what our judge lets pass must pass there too, and no packet of ours may have a malformed field.
//
// Specification: tshark(1), wireshark-filter(4).
//
// Concurrency: functions may be called from several goroutines at once; each call is a process.
//
// Ownership: capture files are only read.
package tshark
