// Package xk6 is k6's extension k6/x/cairn: an S3 client that signs natively,
// and Cairn's engine in process, for rates that no wire can carry.
//
//	module   what all VUs share: open engines and caches, and the tallies
//	  └ instance   one VU's: metrics go out on its samples
//	      ├ S3       put, get, head, list, delete, multipart
//	      ├ Engine   putMany, getMany: a put is durable when it returns
//	      ├ Cache    setMany, getMany: a write is lost with the process
//	      ├ Batch    keys and values, made where they are used
//	      └ Bodies   what objects hold, to verify what is read
//
// index.d.ts has the JavaScript side, README.md how to build and run it.
//
// A cache write and a durable put are different calls on different objects, with
// different metrics: nothing here can count one as the other.
package xk6
