// Command check is what `make test` runs: every check that a change has to pass, in stages, and a summary at the end.
//
// Purpose: one command from a fresh checkout to a verdict. Debian packages that tests need are installed where that is
// allowed; formatting, vet for linux, darwin and windows, staticcheck, all tests under the race detector (but for
// those that read the source), a short fuzz
// of every decoder, the tests in network namespaces, a short soak with its counts, a few mutants, and the tests against
// third-party programs follow. The last lines say what passed, what failed and what was skipped, and why. It exits with 1
// when something failed; a skip is no failure. A test that failed and passed when it was run once more, alone, is no failure
// either, and is named as such (second.go says which tests may).
//
// Specification: none; the budget of each stage is in stages.go.
//
// Concurrency: stages run one after the other, but for fuzzing, which takes what processor time those behind it leave; `go` itself uses
// the cores.
//
// Ownership: nothing is kept but the caches of the go command and the packages installed.
package main
