// Package cache keeps values in memory under exact keys: the first tier, L1.
//
// # Where things are
//
//	index    256 shards of rows of buckets; a bucket is one line of 8 slots:
//	         tag, frequency, location
//	segment  2 MiB, a huge page of one region outside Go's heap; items lie in
//	         it one behind the other: header, key, value
//	lane     one writer's open segments, and the victim that it empties
//	pool     free segments, two queues of full ones (small, main), limbo
//
// # Get
//
//	hash the key ─▶ row of its shard ─▶ bucket: which slot has the tag?
//	     │ none: look again if a row was split meanwhile, else a miss
//	     ▼
//	pin the slot's segment             a plain addition, on this processor's line
//	     ▼
//	is the slot as it was?             no: drop the pin and begin again
//	     ▼
//	compare the whole key ─▶ raise the frequency, up to 3 ─▶ View
//
// A reader takes no lock and, once a key's frequency is at its cap, writes
// nothing that another processor reads, but for the few keys that the curve of
// hit ratios samples. GetMany goes the same way in steps, for all keys
// together, and asks for each step's memory one step ahead.
//
// # Set
//
//	lock a lane that is free ─▶ append the item to its open segment
//	     ▼
//	if memory is short: read the headers of the items that are to leave next,
//	while the processor still writes the new one
//	     ▼
//	lock the shard ─▶ (Fill: has the generation moved?) ─▶ store the slot
//	     ▼
//	if memory is short: walk through about as many bytes of the oldest segment
//
// # Eviction
//
//	new ─▶ small ──read meanwhile──▶ main ──read meanwhile──▶ main again
//	         │                         │
//	         └ leaves a ghost          └ leaves
//
// A write over what is there is no read, nor is a write of what has a ghost, unless
// somebody has asked for it since it left.
//
// Where what is asked for comes round again in a loop that is larger than the
// cache, a part of the keys alone goes to main: see cliff.go.
//
// A segment is emptied item by item. Then no slot leads into it, and it is used
// again when nobody has it pinned.
//
// # Locks
//
// A lane's comes first, then a shard's, then the index's growing, then the
// pool's. A flight's is never held together with another.
package cache
