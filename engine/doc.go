// Package engine is Cairn's object store: opened on a directory, asked in
// process or over the S3 API.
//
// # The PUT ladder
//
//	client
//	  │  PUT /photos/cat.jpg
//	  ▼
//	listen   a socket whose body must keep moving
//	  ▼
//	admin    a path of health or metrics ends here
//	  ▼
//	s3       a slot, or 503 SlowDown; which operation; are all its headers built
//	  ▼
//	auth     who calls; the body is checked against its signature as it is read
//	  ▼
//	object   bucket, key, conditions, checksums: what this write means
//	  ▼
//	local    one transaction against the index and the writes still waiting
//	  ▼
//	store    small: body and record in one group of the log
//	  │      large: body to a bulk segment, synced; then its record to the log
//	  ▼
//	disk     one fdatasync for every put that waits
//	  │
//	  ▲  only now: visible to readers, then 200 OK
//
// # The GET ladder
//
//	client
//	  │  GET /photos/cat.jpg
//	  ▼
//	s3 ─▶ auth ─▶ object   which version; conditions; which bytes
//	                ▼
//	              local    the entry, from the index
//	                ▼
//	              store    the bytes, each block against its checksum
//	                ▼
//	              disk     a read at an offset
//
// The S3 wire and a program in process meet at object.API: both get the same
// meaning, the same durability and the same errors.
package engine
