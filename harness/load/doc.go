// Package load puts an S3 server under load and measures what a client sees.
//
// It shares a machine with the server that it measures, so it is built to take
// little: one goroutine and one raw TCP connection per client, one write per
// request, its own SigV4 signing at a few hundred nanoseconds, answers parsed
// in place, no allocation per operation. It verifies what it reads: every body
// follows from a seed and its key.
//
//	Run ─ schedule ─ worker ─ Conn ─ signer, reader
//	      (open loop)  │        └ Bodies: what is sent, and what must come back
//	                   └ measure.Histogram per operation
//
// A closed loop (Rate 0) sends the next request when the last was answered: it
// finds ceilings, and hides stalls, since a slow server gets less load. An open
// loop (Rate > 0) has arrivals at set times, and measures each from when it
// was due, so that a stall counts for all whom it delayed.
package load
