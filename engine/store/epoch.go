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

const (
	epochFile    = "epoch"
	epochMagic   = 0x70656e43 // "Cnep"
	epochReserve = 1 << 12
)

func encodeEpoch(n uint64) []byte {
	b := make([]byte, 20)
	binary.LittleEndian.PutUint32(b, epochMagic)
	binary.LittleEndian.PutUint64(b[8:], n)
	binary.LittleEndian.PutUint32(b[16:], crc(b[:16]))
	return b
}

func decodeEpoch(b []byte) (uint64, error) {
	if len(b) < 20 || binary.LittleEndian.Uint32(b) != epochMagic || binary.LittleEndian.Uint32(b[16:]) != crc(b[:16]) {
		return 0, errInvalid
	}
	return binary.LittleEndian.Uint64(b[8:]), nil
}

// loadEpoch starts the ordinals after every one that may have been given out.
func (t *segments) loadEpoch() error {
	n, err := readEpoch(t.fs)
	if errors.Is(err, fs.ErrNotExist) {
		if t.mu.ordinal > 0 {
			return fmt.Errorf("file %q is missing: %w", epochFile, backend.ErrCorrupt)
		}
		return t.reserve()
	}
	if err != nil {
		return err
	}
	t.mu.ordinal = max(t.mu.ordinal, n)
	return t.reserve()
}

func readEpoch(fsys disk.FS) (uint64, error) {
	f, err := fsys.Open(epochFile)
	if err != nil {
		return 0, err
	}
	b := make([]byte, 20)
	_, err = f.ReadAt(b, 0)
	if err = errors.Join(ignoreEOF(err), f.Close()); err != nil {
		return 0, fmt.Errorf("read %s: %w", epochFile, err)
	}
	n, err := decodeEpoch(b)
	if err != nil {
		return 0, fmt.Errorf("file %q is damaged: %w", epochFile, backend.ErrCorrupt)
	}
	return n, nil
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
	if err := replaceFile(t.fs, epochFile, encodeEpoch(n)); err != nil {
		return fmt.Errorf("reserve segment ordinals: %w", err)
	}
	t.mu.reserved = n
	return nil
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
