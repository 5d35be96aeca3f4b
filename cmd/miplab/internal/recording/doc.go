// Package recording keeps what happened in a scenario, moment by moment, for those who look at it while it goes or afterwards.
//
// Purpose: a Recording is a row of moments in JSON that grows while it is read. A Camera makes one of a scenario: it adds the
// stage at the beginning and the report at the end, and for each way in which packets travel one frame as it left the laptop,
// divided into the headers of the layers by the arithmetic of package overhead.
//
// Specification: none of its own.
//
// Concurrency: a Recording may be used by several goroutines at once. A Camera's Observe is called by one at a time, and Close
// behind the last of them.
//
// Ownership: moments that are handed out are never changed, and belong to all.
package recording
