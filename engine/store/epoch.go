package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// Ordinals are never used twice, not even one whose segment's header was lost
// with the power: its groups may have survived it, and must not look like those
// of another life of the file. So they are reserved durably, many at a time,
// before any is given out. The highest reserved is in a file of its own.

//
// The same file counts the rounds in which segments were recycled, and so does
// the index. An index that is a round behind has lost changes that it had made
// durable, as when its manifest was damaged: it may name segments of which it
// has forgotten that they were emptied, and can't be brought up to date by a
// replay. It is made again.
//
// And it keeps how far sequences had come before the round: with the segments the
// latest records may vanish, of deletes, and an index that is made again from what
// is left would have old sequences given out once more, in versions' IDs too.

const (
	epochFile    = "epoch"
	epochMagic   = 0x70656e43 // "Cnep"
	epochReserve = 1 << 12
	epochLost    = 1 << 20 // beyond all that may have been given out, where the file that says is lost
	epochSize    = 36
	epochRounds  = 1 // layout; 0 is the first one, which counts no rounds
	epochSeq     = 2 // layout; the one before has no sequence
)

type epoch struct {
	ordinal uint64 // the highest reserved
	round   uint64 // of recycling, the last one begun
	seq     uint64 // the highest given out before it
}

func (e epoch) encode() []byte {
	b := make([]byte, epochSize)
	binary.LittleEndian.PutUint32(b, epochMagic)
	b[4] = epochSeq
	binary.LittleEndian.PutUint64(b[8:], e.ordinal)
	binary.LittleEndian.PutUint64(b[16:], e.round)
	binary.LittleEndian.PutUint64(b[24:], e.seq)
	binary.LittleEndian.PutUint32(b[32:], crc(b[:32]))
	return b
}

func decodeEpoch(b []byte) (epoch, error) {
	le := binary.LittleEndian
	if len(b) < 20 || le.Uint32(b) != epochMagic {
		return epoch{}, errInvalid
	}
	e := epoch{ordinal: le.Uint64(b[8:])}
	switch {
	case b[4] == 0 && le.Uint32(b[16:]) == crc(b[:16]):
		return e, nil
	case b[4] == epochRounds && len(b) >= 28 && le.Uint32(b[24:]) == crc(b[:24]):
		e.round = le.Uint64(b[16:])
		return e, nil
	case b[4] == epochSeq && len(b) >= epochSize && le.Uint32(b[32:]) == crc(b[:32]):
		e.round, e.seq = le.Uint64(b[16:]), le.Uint64(b[24:])
		return e, nil
	case b[4] > epochSeq:
		return epoch{}, ErrVersion
	}
	return epoch{}, errInvalid
}

// loadEpoch starts the ordinals after every one that may have been given out.
func (t *segments) loadEpoch(acceptLoss bool) error {
	e, err := readEpoch(t.fs)
	if errors.Is(err, fs.ErrNotExist) {
		if t.mu.ordinal == 0 {
			return t.reserve()
		}
		err = fmt.Errorf("file %q is missing: %w", epochFile, backend.ErrCorrupt)
	}
	if errors.Is(err, backend.ErrCorrupt) && acceptLoss {
		// No file has an ordinal that was given out and is further on than this.
		t.mu.ordinal += epochLost
		return t.reserve()
	}
	if err != nil {
		return err
	}
	t.mu.ordinal = max(t.mu.ordinal, e.ordinal)
	t.mu.round, t.mu.seq = e.round, e.seq
	return t.reserve()
}

func readEpoch(fsys disk.FS) (epoch, error) {
	f, err := fsys.Open(epochFile)
	if err != nil {
		return epoch{}, err
	}
	b := make([]byte, epochSize)
	_, err = f.ReadAt(b, 0)
	if err = errors.Join(ignoreEOF(err), f.Close()); err != nil {
		return epoch{}, fmt.Errorf("read %s: %w", epochFile, err)
	}
	e, err := decodeEpoch(b)
	if errors.Is(err, ErrVersion) {
		return epoch{}, err
	}
	if err != nil {
		return epoch{}, fmt.Errorf("file %q is damaged: %w", epochFile, backend.ErrCorrupt)
	}
	return e, nil
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// reserve makes room for ordinals; called when none are left, by Open or with
// t.mu held.
func (t *segments) reserve() error {
	n := t.mu.ordinal + epochReserve
	if err := t.replaceEpoch(epoch{n, t.mu.round, t.mu.seq}); err != nil {
		return fmt.Errorf("reserve segment ordinals: %w", err)
	}
	t.mu.reserved = n
	return nil
}

// beginRound makes it durable that the index is of this round from now on, and that
// sequences had come to seq.
func (t *segments) beginRound(n, seq uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.round, t.mu.seq = n, seq // also if this fails: the index has it
	if err := t.replaceEpoch(epoch{t.mu.reserved, n, seq}); err != nil {
		return fmt.Errorf("begin a round of recycling: %w", err)
	}
	return nil
}

// replaceEpoch takes the room, if there is none, from files between lives, and then from the
// ballast. Called with mu held, or by Open.
func (t *segments) replaceEpoch(e epoch) error {
	for {
		err := replaceFile(t.fs, epochFile, e.encode())
		if !isFull(err) {
			return err
		}
		if name := t.popLast(); name == "" || t.fs.Remove(name) != nil {
			return err
		}
	}
}

func (t *segments) round() uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.mu.round
}

// replaceFile puts a small file in place of another, durably and at once.
func replaceFile(fsys disk.FS, name string, b []byte) error {
	fresh := name + ".new"
	if err := fsys.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.Create(fresh)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.SyncDir("."); err != nil {
		return err
	}
	if err := fsys.Rename(fresh, name); err != nil {
		return err
	}
	return fsys.SyncDir(".")
}
