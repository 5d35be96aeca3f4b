// Package strongswan takes the VPN part of a configuration from what strongSwan's programs have: the profile of its app for Android (.sswan)
// and a connection of swanctl.conf.
//
// Purpose: a company that has rolled out strongSwan's client moves its laptops without typing the gateway's side again. The result is a
// draft with the keys of [gateway], [authentication] and [trust] and with the files that belong beside it, and a list of everything in
// the original that was not carried over: nothing is dropped silently.
//
// Specification: strongSwan's own formats as its documentation describes them (VPN Client for Android, "VPN profiles"; swanctl.conf and the
// syntax of strongswan.conf: sections, references, quoted texts, includes). Files that a swanctl.conf names are read below its own
// folder alone, whatever links there are; others are named as not followed. Left out on purpose: IKEv1, what a gateway or a
// transport mode needs, and algorithms, for which gateway.profile has words of its own.
//
// Concurrency: calls are independent.
//
// Ownership: a Result owns its draft, whose Wipe clears the secrets; what is read is not kept.
package strongswan
