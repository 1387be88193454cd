// Package backend holds the types that package object and its backends share:
// ordered records that change in small transactions, and immutable blobs that
// records own. One machine (local) and many (cluster) serve the same interface.
package backend

import (
	"context"
	"crypto/md5"
	"errors"
	"io"
)

var (
	// ErrMoved: the body is no longer where the entry says, because it was
	// compacted or deleted since the look-up. Look the entry up again.
	ErrMoved = errors.New("body moved since it was looked up")
	// ErrFull: the space left is kept for deletes, compaction and the index.
	ErrFull = errors.New("no space left for new data")
	// ErrCorrupt: bytes on the drive failed their checksum. Never wrong bytes.
	ErrCorrupt = errors.New("stored data is corrupt")
	// ErrUnavailable: the drive has failed (a sync that did not succeed, say)
	// and takes no more writes until a restart.
	ErrUnavailable = errors.New("storage takes no writes until it is restarted")
	// ErrBusy: a bound on waiting work was reached; try again later.
	ErrBusy = errors.New("too much work is waiting")
)

// A BlobID names an immutable blob for ever. Group is from NewBlobGroup and
// never used twice; Part tells the blobs of one group apart (a plain upload
// has the one blob 0; a multipart upload gives each attempt at a part its own).
type BlobID struct {
	Group, Part uint64
}

// A BodyRef says where a small body lies; only the backend reads it.
type BodyRef struct {
	Segment uint64 // 0: no body
	Offset  uint32
	Length  uint32
	CRC     uint32
}

// FirstKey is the least first byte of a key; below it are the backend's own.
// No bound of a range may be lower.
const FirstKey = 0x10

// An Entry is what is stored under one key. Its slices belong to the caller
// that asked for it, unless the method that returned it says otherwise.
type Entry struct {
	Key    []byte
	Value  []byte  // metadata, opaque to the backend
	Seq    uint64  // commit sequence: assigned once, orders all writes, kept for ever
	Space  uint64  // counter that the entry belongs to; 0: none
	Weight int64   // bytes that it counts for in Space
	Body   BodyRef // small body stored with the record, if any
}

// A Put is one record to write.
type Put struct {
	Key, Value []byte
	Space      uint64 // counter to count this entry in; 0: none
	Weight     int64
	Body       []byte  // a new small body, at most MaxInline bytes
	Keep       BodyRef // or the body of an entry read in this transaction, passed on without copying
	// MD5, if not nil, takes the MD5 of Body, which the backend also puts into its copy
	// of Value, at MD5At: it computes those of many writes together. The sum is there
	// when Update or Wait has returned nil. After an error it may still be written.
	MD5   *[md5.Size]byte
	MD5At int
}

// A Tx is one transaction. It sees every write before it, also those whose
// sync is still under way. What it is given is borrowed until Update returns.
type Tx interface {
	// Seq is the commit sequence that this transaction's writes will carry.
	Seq() uint64
	// Get looks a key up. The entry's slices are valid until Update returns.
	Get(key []byte) (Entry, bool, error)
	// First returns the entry with the smallest key in [lower, upper). It costs
	// one bounded seek, pending writes included. The entry's slices are valid
	// until Update returns.
	First(lower, upper []byte) (Entry, bool, error)
	// Empty reports whether no entry lies in [lower, upper).
	Empty(lower, upper []byte) (bool, error)
	Put(Put)
	Delete(key []byte)
	// AdoptBlob makes a staged blob durable property of this transaction.
	// The blob is discarded if the transaction is refused.
	AdoptBlob(StagedBlob)
	// DropBlob frees one blob; DropBlobs frees every blob of a group, in the background.
	DropBlob(BlobID)
	DropBlobs(group uint64)
	// Frees says that the transaction gives back more than it takes, though it puts
	// something: on a drive that is full it may use the space that is kept for deletes.
	Frees()
}

// Locks name what a transaction depends on. Two transactions that share an
// Exclusive name, or of which one has Exclusive what the other has Shared, run
// one after the other. Names are any bytes, usually of a key.
type Locks struct {
	Shared    []byte
	Exclusive [][]byte
}

// A StagedBlob is a blob whose bytes are on the drive, synced, but not yet
// owned by any record. It must be adopted by a transaction or discarded.
type StagedBlob interface {
	ID() BlobID
	Size() int64
	// Discard frees it. It does nothing after an adoption.
	Discard()
}

// A BlobWriter takes one blob's bytes in order: by Write, or without a copy where
// its caller puts them into Room and says by Took how many they are.
type BlobWriter interface {
	io.Writer
	// Room is where the next bytes go; never empty. What was put there and taken can
	// be read until Room has been called twice more, or until Abort: beside Finish too.
	Room() []byte
	// Took adds the first n bytes of Room, as Write does.
	Took(n int) error
	// Finish syncs the bytes to the drive.
	Finish() (StagedBlob, error)
	// Abort gives the writer's memory back, and frees what was written unless Finish
	// has returned it. It comes last, and may come twice.
	Abort()
}

// A Body streams verified bytes: each has passed its checksum before it is
// returned. It holds its segment against recycling until Close. WriteTo avoids
// a copy where it can.
type Body interface {
	io.Reader
	io.WriterTo
	io.Closer
}

// An Iter walks entries in the order of their keys. An entry's slices are valid
// until the next call.
type Iter interface {
	// SeekGE moves to the first entry at or after key, within the iterator's bounds.
	SeekGE(key []byte) bool
	Next() bool
	// Entry is the current one; only after SeekGE or Next returned true.
	Entry() *Entry
	// Err is the first error met; check it when SeekGE or Next returned false.
	Err() error
	// Beside walks [lower, upper) as all of it was when this one was made, so that
	// what moves from the one range to the other is met once. It outlives this one.
	Beside(lower, upper []byte) (Iter, error)
	Close() error
}

// A Pending is a transaction whose writes are queued and not durable yet.
type Pending interface {
	// Wait returns nil when the writes are durable and visible to every reader.
	// When ctx ends first they may still become so.
	Wait(ctx context.Context) error
}

// Backend is what package object asks for. Safe for concurrent use.
type Backend interface {
	// Update runs fn, which looks at the current state and either says what to
	// write or returns an error, its refusal. Update returns nil only when the
	// writes are durable and visible to every reader; a refusal is returned
	// when every write that fn could have seen is durable. fn may be run more
	// than once and must depend on the Tx alone. A ctx that has ended before the
	// call changes nothing; when it ends later the writes may still be made.
	Update(ctx context.Context, locks Locks, fn func(Tx) error) error

	// Enqueue is Update without its wait: later transactions see the writes, no
	// reader does before Pending says so. A refusal is returned as by Update.
	Enqueue(ctx context.Context, locks Locks, fn func(Tx) error) (Pending, error)

	// Get returns the durable entry of a key, appending to buf for its slices.
	Get(key, buf []byte) (Entry, bool, error)
	// Iter walks durable entries in [lower, upper).
	Iter(lower, upper []byte) (Iter, error)

	// OpenBody streams n bytes of an entry's small body from off. ErrMoved
	// says to look the entry up again.
	OpenBody(e *Entry, off, n int64) (Body, error)
	// OpenBlob streams n bytes of a blob from off. A blob that was dropped, or
	// never adopted, is ErrMoved.
	OpenBlob(id BlobID, off, n int64) (Body, error)

	// HoldGroup keeps the blobs of a group for readers, although the group is dropped
	// meanwhile, until release is called; more than once does no harm. A group of which
	// blobs are being freed already is ErrMoved.
	HoldGroup(group uint64) (release func(), err error)

	// NewBlobGroup returns a number never returned before.
	NewBlobGroup() uint64
	// StageBlob begins a blob; size is -1 when unknown.
	StageBlob(ctx context.Context, id BlobID, size int64) (BlobWriter, error)

	// Count returns the entries counted in a space and the sum of their weights.
	Count(space uint64) (entries, bytes int64)
	// MaxInline is the largest body, in bytes, that a Put may carry.
	MaxInline() int64
}
