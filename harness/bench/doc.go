// Package bench runs the lab's measurements of speed: the same loads on Cairn
// and on its rivals side by side, the ceiling of the generator that makes them,
// and latency at a share of the capacity.
package bench
