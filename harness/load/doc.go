// Package load puts an S3 server under load and measures what a client sees.
//
// It shares a machine with the server that it measures, so it is built to take
// little: a few loops that each drive many connections from one thread, one
// write per request, its own SigV4 signing at less than a microsecond, answers
// parsed in place, no allocation per operation over TCP. It verifies what it
// reads: every body follows from a seed and its key. Over TLS, and on systems that
// are not Linux, each connection has a goroutine instead.
//
// Signing takes 843 ns (674 to 993 in five runs of 2 s, no allocation; a core of
// an AMD EPYC, machine of 2 with a load average of 7; 2026-11-26, Go 1.26), where
// 3 µs are asked at most:
//
//	go test ./harness/load -run '^$' -bench 'BenchmarkSign$' -benchtime 2s -count 5
//
//	Run ─ schedule ─ loop ─ worker ─ Conn ─ signer, reader
//	      (open loop)         │        └ Bodies: what is sent, and what must come back
//	                          └ measure.Histogram per operation
//
// A closed loop (Rate 0) sends the next request when the last was answered: it
// finds ceilings, and hides stalls, since a slow server gets less load. An open
// loop (Rate > 0) has arrivals at set times, and measures each from when it
// was due, so that a stall counts for all whom it delayed, until the kernel had
// received the answer.
package load
