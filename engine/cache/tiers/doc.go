// Package tiers makes one cache of several: memory (L1), a local drive (L2,
// package flash) and a server that nodes share (L3, package remote), above the
// values' home, which is slower.
//
//	Fetch:  memory -> flash -> shared -> home
//	          ^---------+--------+--------+   promotion: what was found is kept in memory
//	evicted ---> queue ---> flash, shared     demotion: in the background, dropped where it can't keep up
//	Keep ------> memory, queue                write-through
//
// # What may be kept here
//
// Values that never change under their key: a body by the place where it was
// first written, which is never used twice. So there is nothing to invalidate in
// any tier, and no tier can show an old version: which key is the latest one is
// said by records, and those are in memory alone, under generations (package
// cache). What a tier returns is taken for nothing until its length and checksum
// are those of the record that named it.
//
// # What a tier may cost
//
// Those who miss the same value together send one of them. Memory is asked
// without any of this package (Memory().Get): a hit there costs what it did
// before there were tiers. A flash tier costs a read of its drive. The shared tier
// costs its time-out at most, and nothing once its breaker is open.
package tiers
