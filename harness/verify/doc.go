// Package verify decides whether an S3 server kept its promises while it was
// ill-treated: killed, frozen, cut off, on a drive that fails.
//
// A Load asks one thing after the other of few keys, from many clients at once,
// and a Journal notes what was sent and what came back: acknowledged, refused,
// or in doubt where no answer came. Checkers then judge the history:
//
//   - Acknowledged: no read misses a write that was acknowledged before it and
//     not overwritten since, and none finds what nobody wrote.
//   - Linear: the operations of each key have one order that explains every
//     answer (Herlihy, Wing, "Linearizability", 1990), by porcupine.
//   - Listed: what is listed is what can be read, with the same sizes and ETags.
//   - Bounds: memory and descriptors do not grow, recovery ends in time.
//
// Some puts are uploads in parts, some reads ask for a range. Bodies carry their own
// name and checksum, and metadata says the same, so that a read of wrong bytes, of
// another range or with another put's metadata is seen at once (Corrupt).
package verify
