package main

import "math/rand/v2"

// A trace is a sequence of look-ups, made from published shapes of loads.
type trace struct {
	name, about string
	keys        int // different ones, about
	next        func(r *rand.Rand, n int) func(i int) uint64
}

const (
	traceKeys   = 200_000
	traceReads  = 2_000_000
	traceValue  = 2000
	onceAndGone = 1 << 40 // numbers from here on are of keys that never come back
)

// Zipf exponents of 0.9 to 1.01 are what Breslau et al. (INFOCOM 1999) and the
// YCSB (Cooper et al., SoCC 2010) give for web objects and key-value stores; half
// and more of all objects being asked for once is what Yang et al. (SOSP 2023)
// found in most of 6,594 traces of production; loops and scans are those of
// ARC's and LIRS's evaluations.
var traces = []trace{
	{"zipf", "Zipf 1.01", traceKeys, func(r *rand.Rand, _ int) func(int) uint64 {
		z := rand.NewZipf(r, 1.01, 1, traceKeys-1)
		return func(int) uint64 { return scatter(z.Uint64()) }
	}},
	{"once", "Zipf 1.01 over half of the keys, half of all reads of keys that never come back", traceKeys, func(r *rand.Rand, _ int) func(int) uint64 {
		z := rand.NewZipf(r, 1.01, 1, traceKeys/2-1)
		return func(i int) uint64 {
			if r.IntN(2) == 0 {
				return onceAndGone + uint64(i)
			}
			return scatter(z.Uint64())
		}
	}},
	{"scan", "a hot set of 2 % of the keys, uniform, and scans through all of them between", traceKeys, func(r *rand.Rand, _ int) func(int) uint64 {
		at := uint64(0)
		return func(i int) uint64 {
			if i/20_000%4 == 3 {
				at++
				return at % traceKeys
			}
			return r.Uint64N(traceKeys / 50)
		}
	}},
	{"loop", "a loop over all keys", traceKeys, func(*rand.Rand, int) func(int) uint64 {
		return func(i int) uint64 { return uint64(i) % traceKeys }
	}},
	{"shift", "Zipf 1.01 whose ranks move to other keys ten times", traceKeys, func(r *rand.Rand, n int) func(int) uint64 {
		z := rand.NewZipf(r, 1.01, 1, traceKeys-1)
		return func(i int) uint64 { return (scatter(z.Uint64()) + uint64(i*10/n)*traceKeys/10) % traceKeys }
	}},
}

// scatter spreads ranks over the keys, one to one.
func scatter(rank uint64) uint64 { return rank * 7919 % traceKeys }
