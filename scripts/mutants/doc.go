// Command mutants is what `make mutants` runs: it shows that the judge of external wires sees what the gate prevents.
//
// Purpose: two builds are made with source files replaced (`go build -overlay`; the tree is not touched) and played
// through a move from an office with a foreign agent to a hotspot with another. In the first the actor's own cut is
// taken out, so that the old plaintext pipeline stays in place during the move: the gate alone must keep the judge
// content. In the second the gate is taken out too: the same judge must see plaintext outside. It exits with 1 when
// either is not so.
//
// Specification: REQUIREMENTS DET-2, DET-4.
//
// Concurrency: the builds run one after the other.
//
// Ownership: builds are made in a temporary directory, which is removed.
package main
