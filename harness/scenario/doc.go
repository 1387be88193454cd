// Package scenario reads and runs the lab's scenarios: files in YAML that say
// what is asked of a server, with which load, and what fails it.
//
//	name: mixed
//	asks: Does a busy bucket serve its daily mix quickly and without an error?
//	fails: One wrong or refused answer; reads above 250 ms at P99.
//	objects: {count: 5000, size: {kind: fixed, bytes: 4KiB}}
//	mix: {get: 70, put: 20, delete: 10}
//	keys: {kind: zipf, exponent: 1.1}
//	connections: 16
//	open:
//	  warmup: 1s
//	  stages: [{name: steady, for: 10s, rate: 500}]
//	thresholds:
//	  - errors == 0
//	  - get.p99 < 250ms
//
// A scenario has either an open loop, a closed one, or an engine part, which is
// a k6 script that opens the engine in process.
package scenario
