// Package arena keeps bytes outside Go's heap, in the largest pages that the
// system gives, on the node of memory that serves them.
//
// Go's collector neither scans nor counts what is here, and one entry of a
// processor's TLB reaches 2 MiB or 1 GiB of it instead of 4 KiB: a walk through a
// large table is then nearly twice as fast. Memory never moves, so that readers
// need no lock to look at it.
package arena
