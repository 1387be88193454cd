// Package worker runs blocking work on pools of goroutines: disk I/O, checksums
// and erasure of large bodies, duties in the background, a pool for each kind.
//
// A pool bounds how much of a kind goes on at once and how much waits; over the
// bound the caller is refused at once (ErrFull, a 503 SlowDown to clients). It grows
// and shrinks by how long work waits, and on a machine of several nodes of memory
// it keeps work on the node whose memory it is about.
//
// For blocking work only. To hand a task over and wait costs 0.34 µs where a call
// costs nothing to speak of and, where workers are pinned to threads, 22 to 34 µs:
// the kernel then switches threads twice (BenchmarkDo; two threads of one core of
// an AMD EPYC). With both busy, CRC32C of 4 KiB took 0.08 µs on its caller and
// 0.43 to 0.47 µs on a worker, SHA-256 of 4 KiB 1.17 and 1.38 µs, of 64 KiB 18.2
// and 18.4 µs; from 1 MiB on there was no difference (BenchmarkHotPath). It never won.
//
// So the path of a small request runs on its caller's goroutine from end to end,
// checksums included. What is handed over should take 100 µs and more: a sync,
// a cold read, shards of a large body.
package worker
