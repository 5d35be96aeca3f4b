// Package secret gets passwords and PINs from where the configuration says that they come from.
//
// Purpose: a Desk takes questions ("the password of alice") and gets each answered: from a file, by a program, or by a person, whose
// process (`mipvpn up`, `mipvpn answer`) watches the open questions through the control socket and looks into the desktop's key ring
// first where the question says so. What was answered is kept until it is wrong or forgotten, so that a person is asked once; an open
// question belongs to nobody's attempt, so that it stays when the laptop moves and attempts come and go. KeyRing reads a Secret
// Service.
//
// Specification: Secret Service API draft 0.2 (org.freedesktop.secrets), plain sessions: the secret crosses the user's own bus only.
// GNOME's key ring is run by a test; others that have the API, such as KDE's, were not seen.
// A program's first line is the secret, without its line break.
//
// Concurrency: a Desk may be used by several goroutines at once.
//
// Ownership: answers are copies of the receiver, who wipes them. The desk wipes its own with Forget and Close.
package secret
