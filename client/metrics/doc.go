// Package metrics gives a laptop's figures to Prometheus.
//
// Purpose: Counts are kept by the client as things happen; Collector puts them, with what status says, into the exposition format each
// time that it is asked; Serve answers on a loopback address or a unix socket, where the configuration asks for it ([metrics]). What the
// figures are for stands in configs/observe: rules for alerts and a dashboard.
//
// Specification: the text format of Prometheus, by its own library, and its conventions for names: mipvpn_client_*, base units. Labels take
// their values from lists of this program or of a standard: no address, no name of an interface and no text that others chose becomes
// one, so that neither a network nor a user makes series, and who may read the metrics learns nothing of where the laptop is but whether
// that is inside. OpenTelemetry is left out.
//
// Concurrency: Counts belong to one goroutine; Clone gives another one a copy. Collector and Server may be used from several.
//
// Ownership: what a Source returns is the Collector's. Serve owns the listener that it makes.
package metrics
