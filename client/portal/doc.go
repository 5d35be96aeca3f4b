// Package portal recognises captive portals and decides what the way to one may be used for.
//
// Purpose: a captive portal keeps an interface from the Internet until a person has logged in on a web page. It cannot forge
// a home agent's authenticated reply, so it is looked for only where neither home agent answers (DET-18, HST-5): a Machine
// says when to ask a Question, and judges what came of it. By default the question goes to TCP port 80 of the x-HA, which
// serves no HTTP, so that every connection which is accepted there is foreign; no third party is asked and no name is
// needed. Foreign answers say where the portal's page is (Judge). Names that the page's browser asks for are answered by
// what passes Names. Everything that comes from a portal is hostile: it is bounded, parsed by total functions, and can name
// neither the enterprise's prefixes nor home agents.
//
// Specification: RFC 9110 §15.4 (redirects) and RFC 6585 §6 (511 Network Authentication Required), HTML's refresh pragma
// (meta http-equiv), RFC 1035 §4 messages with one question. Left out: RFC 8908 and RFC 8910 (the API that DHCP option 114
// names) and WISPr's XML.
//
// Concurrency: a Machine is used by one goroutine. The functions may be called from several.
//
// Ownership: inputs are borrowed for the call; results are the caller's.
package portal
