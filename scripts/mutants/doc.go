// Command mutants is what `make mutants` runs: it takes each rule of the promise out of the source, one at a time, and
// shows that a run which passes with the rule in place fails without it.
//
// Purpose: a test that cannot fail proves nothing. A mutant is the source with a few strings replaced (`go build -overlay`;
// the tree is not touched). Many rules are held twice or three times over (the actor, the gate, the kernel), so that some
// mutants take the others out as well; what is left then is its base, which must still pass. Each mutant is played: through
// the tour of miplab in namespaces, the soak on the simulated network, or the tests of one package, and the list says
// which requirement it breaks, where, what has caught it, and with which figure. It exits with 1 when one is not caught, or
// when a base is.
//
// Without flags all are played; -quick plays the few that `make test` does, -only those whose names contain a word, -list
// none. The patches are in table.go and must match once each: a test says so when the source has moved on.
//
// Specification: REQUIREMENTS DET-1 to DET-4, DET-12, DET-14, DET-17, HST-1 to HST-3, HST-5, HST-6.
//
// Concurrency: two mutants side by side, each with its own build and its own namespaces; a base that several share is played once.
//
// Ownership: builds are made in a temporary directory, which is removed.
package main
