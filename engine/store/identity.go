package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// missingIdentity is the error of a directory without an identity: ErrNoStore, or, if it
// has segments, that the store has lost it.
func missingIdentity(fsys disk.FS) error {
	for _, dir := range segmentDirs {
		names, err := fsys.List(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, base := range names {
			if _, ours := segmentNumber(base); ours {
				return fmt.Errorf("directory %q has segments, but the store's identity %q is missing: %w", dir, identityFile, backend.ErrCorrupt)
			}
		}
	}
	return ErrNoStore
}

// restoreIdentity makes an identity that is lost again from the headers of the segments, each
// of which names the store.
func restoreIdentity(o Options) (err error) {
	lock, err := lockStore(o.FS)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	s := &Store{opt: o, logger: o.Logger}
	_, cause := o.FS.Stat(identityFile)
	if cause == nil {
		cause = s.identify()
	} else if errors.Is(cause, fs.ErrNotExist) {
		cause = missingIdentity(o.FS)
	}
	if !errors.Is(cause, backend.ErrCorrupt) {
		return cause // nil, or what no header helps
	}
	ids := map[[16]byte]string{} // and a file of each
	var sizes [len(segmentDirs)]int64
	for class, dir := range segmentDirs {
		names, err := o.FS.List(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, base := range names {
			name := path.Join(dir, base)
			if _, ours := segmentNumber(base); !ours {
				continue
			}
			h, _, err := readHeader(o.FS, name)
			if errors.Is(err, ErrVersion) {
				return fmt.Errorf("%s: %w", name, err)
			}
			if err != nil {
				continue // it says nothing of the store
			}
			ids[h.storeID] = name
			sizes[class] = max(sizes[class], h.size) // those made on a full drive are smaller
		}
	}
	switch len(ids) {
	case 0:
		return cause
	case 1:
	default:
		return fmt.Errorf("%w; and the segments are of %d stores (%v): take those away that are not this one's", cause, len(ids), slices.Sorted(maps.Values(ids)))
	}
	for id := range ids {
		s.id = id
	}
	if sizes[0] > 0 {
		s.opt.SegmentSize = sizes[0]
	}
	if sizes[1] > 0 {
		s.opt.BulkSegmentSize = sizes[1]
	}
	s.logger.Error("the store's identity was lost; making it again from the headers of its segments", "file", identityFile, "id", s.ID(), "cause", cause)
	return s.writeIdentity()
}

// readHeader reads a file's header, as decodeHeaderBlock does.
func readHeader(fsys disk.FS, name string) (h segmentHeader, half bool, err error) {
	f, err := fsys.Open(name)
	if err != nil {
		return h, false, err
	}
	defer func() { _ = f.Close() }() // it was only read
	b := make([]byte, blockSize)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return h, false, err
	}
	return decodeHeaderBlock(b[:n])
}
