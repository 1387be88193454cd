package main

import "math"

// What the heads of requests take is taken before anything is known of who sends them.
const (
	// headBytes is what the head of a request may take with its connection, or with its stream.
	headBytes = 64 << 10
	// connectionShare and streamShare are what of Go's memory the heads of all connections may
	// take, and those of all streams of HTTP/2.
	connectionShare = 4
	streamShare     = 8
	// leastHeads are bearable whatever the limit.
	leastHeads = 128
)

// heads is how many connections, and how many streams of all of them together, a limit of Go's
// memory bears; 0 streams: what is usual.
func heads(limit int64) (connections, streams int) {
	if limit == math.MaxInt64 {
		return math.MaxInt, 0
	}
	bearable := func(share int64) int { return int(max(limit/share/headBytes, leastHeads)) }
	return bearable(connectionShare), min(bearable(streamShare), 4096)
}
