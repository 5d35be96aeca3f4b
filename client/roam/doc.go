// Package roam decides where the laptop's traffic goes: which interfaces are tried, when a new path is taken up and when
// the old one is let go.
//
// Purpose: a machine. Snapshots of the interfaces, foreign agents found and lost, the detector's verdicts, hints and the
// user's pin go in; decisions come out, each with its reason:
//
//   - race: with no path in use, the interface that is tried first registers with both home agents; the next one joins when
//     the first has not answered within RaceDelay, or has only been found to be outside, where another may be inside;
//   - probe: while a path carries data, another interface asks the i-HA alone, because direct access is preferred over the
//     VPN, or because that interface is preferred over the one in use (MOD-prefer);
//   - switch: what is proven and preferred takes over, and the old path drains (make before break);
//   - keep: what was found out is no reason to leave the path in use;
//   - hold, fall back, block: the path in use is lost; another one is raced, and without one nothing leaves;
//   - damp: an interface that changes all the time is tried seldom, and last.
//
// It keeps the epochs of DET-2: a change of an interface's connection status begins a new one, and what was known of the
// old is void.
//
// Specification: RFC 5265 §3.2.1, §3.2.2, §3.3; draft §3, §4.2.3, §4.2.4; simultaneous bindings (RFC 5944 §3.6.1.2) live only
// while an interface is probed or switched to. Damping follows the idea of RFC 2439 (a penalty that decays), not its
// parameters.
//
// Concurrency: none; one goroutine owns the machine.
//
// Ownership: values only.
package roam
