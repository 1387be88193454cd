// Package telemetry is what an operator sees of a running engine: metrics for
// Prometheus, and logs as JSON lines.
//
// It knows none of the packages that it reports on. The wire calls Requests
// once per request; everything else is read when it is scraped, from sources
// that name their own readings.
package telemetry
