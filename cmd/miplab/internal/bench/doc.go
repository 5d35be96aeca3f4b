// Package bench is the arithmetic of `miplab bench`: what is measured, in which order, and what the figures say.
//
// Purpose: figures as ratios. Tunnels are compared by runs that follow one another, so that what else the machine does
// touches both; of the ratios of the pairs the median is told, with the least and the most. The goals stand here as data,
// and the report says of each whether it is met. The report is a table, one JSON document, and a picture. Traffic comes
// from package traffic below this one, tunnels from package tunnel; nothing here opens a socket, except that wireguard-go
// is run from here in a process of its own.
//
// Specification: none.
//
// Concurrency: none; a Report is built by one goroutine.
//
// Ownership: values; nothing is kept.
package bench
