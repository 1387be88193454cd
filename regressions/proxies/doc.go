// Package proxies counts what no noise can touch: allocations of an operation,
// syncs and bytes written for a byte stored, bytes of an answer. A figure is
// the same on every machine of an architecture, so a change of one digit is a
// change of the code.
//
// The operations run on the real layers, from the socket to the store, over a
// drive in memory whose hook counts, under a clock that is scripted. Duties in
// the background, which run by time, are off: they have their own tests.
//
// What is accepted stands in proxies.json. A figure that rises there says why.
package proxies
