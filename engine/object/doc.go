// Package object is what an operation means: buckets, versions, conditions,
// multipart uploads, tags and lists, in S3's semantics, on a backend that knows
// only ordered records and immutable blobs.
//
//	put.go       the way in: admit, check, take the body, verify, commit
//	get.go       the way back: look up, evaluate, choose the bytes, open
//	versions.go  what a write does to the versions of its key
//	list.go      pages of keys; listversions.go, of versions
//	upload.go    open uploads and their parts; complete.go ends them
//	bucket.go    buckets, held in memory
//	expire.go    the background duty
//	keys.go, metadata.go, manifest.go
//	             what is stored, byte for byte; docs/format describes it
//
// Every change is one transaction of the backend, decided by a function of what
// the transaction sees. What is refused says so by an *Error.
package object
