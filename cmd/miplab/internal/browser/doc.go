// Package browser drives a headless Chromium, for tests that look at pages as persons do.
//
// Purpose: Start starts the system's chromium with a profile of its own that goes with it; a Browser opens pages, evaluates
// expressions in them, presses keys, and takes pictures. It keeps what the page asked for and what it complained about: exceptions,
// errors on the console, and what its content security policy refused.
//
// Specification: Chrome DevTools Protocol 1.3, the domains Page, Runtime, Log, Network, Input, Emulation and Accessibility as far as
// used. Left out: several pages at once, frames.
//
// Concurrency: a Browser belongs to one goroutine.
//
// Ownership: Close ends the program and removes its profile.
package browser
