// Package observetest checks what is written about metrics against the metrics that there are.
//
// Purpose: a rule for an alert that names a metric nobody tells never fires, and nobody notices. Rules and dashboards in configs/observe,
// and the tables of docs/observe.md, are read, and each metric, label and function in them is compared with what a collector describes.
//
// Specification: the form of Prometheus' rule files as far as those here use it, the names in its query language, Grafana's dashboards as
// JSON. What an expression means is not checked; promtool is asked too where it is installed.
//
// Concurrency: none. Only tests import it.
//
// Ownership: nothing is kept.
package observetest
