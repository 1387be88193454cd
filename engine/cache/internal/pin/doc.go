// Package pin counts who holds a segment of memory, at the price of two plain
// additions for the holder, and tells its owner when nobody does.
//
// A holder pins a segment, then looks again whether the segment still holds what
// it came for: only then is the pin good. The owner makes the segment
// unreachable first, fences, and then asks whether it is idle. One of the two
// always sees the other.
//
// Counts lie in stripes, so that no two processors write the same line: pins
// ever taken and pins ever dropped, each per stripe and segment (the counters of
// sleepable RCU, McKenney 2006). A pin may be dropped on another stripe than it
// was taken on.
package pin
