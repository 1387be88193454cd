package store

import (
	"errors"
	"io"
	"io/fs"
	"sync"

	"github.com/cairnstore/cairn/engine/disk"
)

// A storeLock keeps other processes out: by the file lock, which is there before
// the store is, and by the identity, which nobody takes for a stale lock and
// removes.
type storeLock struct{ held []io.Closer }

// abandoned has the stores whose index a Close in this process has left as it was,
// with its own lock held: that lock is nobody's.
var abandoned sync.Map // of identities

func lockStore(fsys disk.FS) (*storeLock, error) {
	l := &storeLock{}
	return l, l.take(fsys, lockFile)
}

// identity locks the identity too, once it is there.
func (l *storeLock) identity(fsys disk.FS) error { return l.take(fsys, identityFile) }

// lockBoth is for a store that is there already.
func lockBoth(fsys disk.FS) (*storeLock, error) {
	l, err := lockStore(fsys)
	if err == nil {
		err = l.identity(fsys)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// InUse is an error that matches disk.ErrLocked where another process has the store open.
// Where there is no store it leaves nothing.
func InUse(fsys disk.FS) error {
	for _, name := range []string{lockFile, identityFile} {
		if _, err := fsys.Stat(name); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		c, err := fsys.Lock(name)
		if err == nil {
			err = c.Close()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *storeLock) take(fsys disk.FS, name string) error {
	c, err := fsys.Lock(name)
	if err == nil {
		l.held = append(l.held, c)
	}
	return err
}

// Close lets go of both, the last one first.
func (l *storeLock) Close() error {
	var err error
	for i := len(l.held) - 1; i >= 0; i-- {
		err = errors.Join(err, l.held[i].Close())
	}
	l.held = nil
	return err
}
