// Package polkit lets polkit decide what users may do with the daemon.
//
// Purpose: an Authority is a control.Judge. Looking is free for every user of the machine where there is polkit; each other
// control.Right is an action of its own, which configs/polkit/org.mipvpn.policy describes and an administrator's rules may change: by
// default the active user of the desktop may bring the client up and down and answer its questions, and an administrator's password is
// asked for the rest. Where there is no polkit, or it does not know the actions, nobody decides (control.ErrNoJudge).
//
// Specification: org.freedesktop.PolicyKit1.Authority, CheckAuthorization and CancelCheckAuthorization, with the subject unix-process: the
// process's number, its start time and the user that the kernel names for the connection (SO_PEERCRED), so that neither another process with
// the same number nor a program that changes its user is taken for the peer.
//
// Concurrency: an Authority may be used by several goroutines at once.
//
// Ownership: nothing is kept between two questions; each has a connection to the bus of its own.
package polkit
