// Package manual writes manual pages.
//
// Purpose: the pages of the programs are made of the same commands and flags that --help shows, and those of the configuration and
// the hooks of the documents in docs, so that there is one source of each. Page writes the former, Document the latter, in the man
// macros that every troff and mandoc reads.
//
// Specification: man(7). Of Markdown what the documents use: headings, paragraphs, lists, tables, fenced blocks, code, emphasis.
// Left out on purpose: everything else, which stays as it is written.
//
// Concurrency: functions without state.
//
// Ownership: arguments are read only; results are the caller's.
package manual
