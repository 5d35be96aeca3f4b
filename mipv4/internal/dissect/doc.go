// Package dissect shows what a third party's dissector, tshark, makes of packets of ours, and reads golden messages.
//
// Purpose: tests of wire formats that do not rest on our own decoder. Only tests import it.
//
// Specification: none of its own.
//
// Concurrency: safe; each call runs processes of its own.
//
// Ownership: payloads are borrowed for the call.
package dissect
