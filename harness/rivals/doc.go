// Command rivals measures Cairn's memory cache beside the best known ones of Go:
// the same keys, the same loads, the same budget, each contender in a process of
// its own, rounds interleaved.
//
//	rivals speed              rates, latencies, the collector's share
//	rivals ratio              hit ratios on generated traces
//
// It is a module of its own, so that the product's module requires no rival.
package main
