// Package usage says what is wrong with a command line.
//
// Purpose: who mistypes a command, or comes from another program whose command has another name, is told what was perhaps meant;
// wrong arguments and flags are answered with what would be right. Explain does this for a whole program.
//
// Specification: none. Commands are those of github.com/spf13/cobra; a command that stands for what others call differently has their
// names in its SuggestFor. Left out on purpose: the arguments' meaning, which each command checks by itself.
//
// Concurrency: Explain is called once, before the commands are run.
//
// Ownership: Explain changes the commands that it is given.
package usage
