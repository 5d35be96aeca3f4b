// Package strongswan takes the VPN part of a configuration from what strongSwan's programs have: the profile of its app for Android (.sswan)
// and a connection of swanctl.conf.
//
// Purpose: a company that has rolled out strongSwan's client moves its laptops without typing the gateway's side again. The result is a
// draft with the keys of [gateway], [authentication] and [trust] and with the files that belong beside it, and a list of everything in
// the original that was not carried over: nothing is dropped silently.
//
// Specification: strongSwan's own formats as its documentation describes them, key by key (VPN Client for Android, "VPN Profile Import" up to
// the app's version 2.5.3; swanctl.conf, the syntax of strongswan.conf with sections, references, quoted texts and includes, "Identity
// Parsing" and "IKEv2 Cipher Suites" of strongSwan 6.0). The app has no export: its profiles are written by administrators and their
// programs, some of which write numbers and switches as texts, which the app takes, and so does this. Proposals become the first
// gateway.profile with which a gateway that takes them can be reached. Files that a swanctl.conf names are read below its own
// folder alone, whatever links there are; others are named as not followed. Left out on purpose: IKEv1, what a gateway or a
// transport mode needs, and restricting the algorithms to those of a proposal, for which gateway.profile has no words.
//
// Concurrency: calls are independent.
//
// Ownership: a Result owns its draft, whose Wipe clears the secrets; what is read is not kept.
package strongswan
