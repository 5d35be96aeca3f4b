// Package permission says who, beside the superuser and the daemon's user, may read a file or decide what is in it.
//
// Purpose: secrets are read only from files that are nobody else's to read (Private), programs are run only from files and directories
// that nobody else can change (Unchangeable), and files with secrets are made so that this holds (Protect). Each error says what mends
// it.
//
// Specification: the project's own. On Linux and macOS these are the modes and owners of POSIX.1; on Windows, where a file's mode says
// nothing, the owner and the discretionary access control list of the file. Access control lists of POSIX.1e, which Linux shows in the
// group's part of the mode, count by that part.
//
// Concurrency: functions without state. Whoever may change a path between a check and its use is found by the check of the directories
// above it; Private looks at the open file, not at its name.
//
// Ownership: nothing is kept.
package permission

import "errors"

// ErrOthers is wrapped by the error about a file that others may read or change.
var ErrOthers = errors.New("open to others")
