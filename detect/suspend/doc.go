// Package suspend tells when the laptop goes to sleep and when it is awake again.
//
// Purpose: plaintext must stop before the laptop sleeps, for it may wake up in another network (REQUIREMENTS DET-2, HST-6).
// Logind follows the login manager of systemd (and elogind, which speaks the same interface) on D-Bus: it holds a delay
// inhibitor lock while the laptop is awake, so that the system waits with sleeping until Handler.Prepare has returned, and
// calls Handler.Resumed when the system says that it is awake. It also has the kernel wake it when the clock was set or the
// system resumed, which needs no D-Bus: Handler.Clock then asks the client to compare its clocks. A client that has neither
// still notices by its own clocks, at the next thing that happens to it.
//
// Specification: org.freedesktop.login1.Manager: Inhibit ("sleep", "delay") and PrepareForSleep; timerfd_create(2),
// TFD_TIMER_CANCEL_ON_SET. Left out: shutdown, idle and lid inhibitors; darwin and windows, where Watch says that it is not
// supported.
//
// Concurrency: a Source may be watched several times. The functions of one Handler are called from goroutines of the source,
// Prepare and Resumed never at the same time as each other.
//
// Ownership: the inhibitor lock is a file descriptor that the watch owns; it is closed when Prepare has returned, and with
// the watch.
package suspend
