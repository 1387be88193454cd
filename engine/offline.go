package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/object"
	"github.com/cairnstore/cairn/engine/store"
)

// What can be done to a directory that no engine has open.

// storeOptions are what every opening of a store in dir has in common.
func storeOptions(dir string, log *slog.Logger) (store.Options, error) {
	fs, err := disk.OpenReal(dir)
	return store.Options{FS: fs, Logger: log, Alias: object.Alias}, err
}

// explain makes a sentence of an error in opening dir.
func explain(dir string, err error) error {
	switch {
	case err == nil:
		return nil
	case disk.NoDescriptor(err):
		return fmt.Errorf("open %s: %w; this process may have %d files open, and a store keeps one for each 64 or 120 MiB of data: raise the limit (ulimit -n, systemd's LimitNOFILE)", dir, err, disk.Descriptors())
	case errors.Is(err, disk.ErrLocked):
		return fmt.Errorf("open %s: another process has this data directory open; stop the server first, or choose another directory: %w", dir, err)
	case disk.Full(err):
		return fmt.Errorf("open %s: %w", dir, NoRoom(dir, err))
	case disk.Failed(err):
		return fmt.Errorf("open %s: %w; the drive, or what connects it, fails: move the directory to a sound one with all that can be read, or go on without what can't be by cairn store rebuild --accept-loss %s", dir, err, dir)
	case errors.Is(err, backend.ErrCorrupt):
		return fmt.Errorf("open %s: %w; restore it from a copy, or go on without what is damaged by cairn store rebuild --accept-loss %s", dir, err, dir)
	}
	return fmt.Errorf("open %s: %w", dir, err)
}

// NoRoom says what to do about an error, if it is that dir's drive has no room: of what, and how
// much of it is wanted.
func NoRoom(dir string, err error) error {
	if !disk.Full(err) {
		return err
	}
	u, unknown := disk.UsageOf(dir)
	if unknown != nil {
		return err
	}
	return fmt.Errorf("%w; %s", err, freeUp(u, disk.OverQuota(err)))
}

// freeUp is what helps on a drive with so much room, that had none.
func freeUp(u disk.Usage, overQuota bool) string {
	least := store.LeastFree(u.Total)
	switch {
	case overQuota:
		return "the quota of the user that this process runs as is used up: raise it, or free some of it"
	case u.NoFiles():
		return fmt.Sprintf("the file system has %d MiB free, and none of its %d inodes: free some inodes (files) on it", u.Free>>20, u.Files)
	case u.Total < least:
		return fmt.Sprintf("the file system has %d MiB in all, and a store takes new data where %d MiB are free: use a larger one", u.Total>>20, least>>20)
	case u.Free < least:
		return fmt.Sprintf("the file system has %d MiB free: free at least %d MiB on it, so that new data is taken, too", u.Free>>20, (least-u.Free+1<<20-1)>>20)
	}
	return "the file system has room again: try again"
}

// InUse is the error of a directory that another process has open.
func InUse(dir string) error {
	fsys, err := disk.OpenReal(dir)
	if err == nil {
		err = store.InUse(fsys)
	}
	return explain(dir, err)
}

// Check verifies everything that is kept in dir, and changes nothing. An error
// means that it could not be checked; what is damaged is in the report.
func Check(ctx context.Context, dir string, o store.CheckOptions) (store.CheckReport, error) {
	so, err := storeOptions(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return store.CheckReport{}, explain(dir, err)
	}
	report, err := store.Check(ctx, so, o)
	return report, explain(dir, err)
}

// Rebuild makes the index in dir again from the log. Where the log is damaged
// it refuses, unless the loss of what is damaged is accepted.
func Rebuild(ctx context.Context, dir string, acceptLoss bool, log *slog.Logger, progress func(store.Progress)) error {
	so, err := storeOptions(dir, log)
	if err != nil {
		return explain(dir, err)
	}
	so.AcceptLoss = acceptLoss
	if err = store.Rebuild(ctx, so, progress); err != nil && acceptLoss {
		return fmt.Errorf("open %s: %w", dir, err) // there is nothing further to advise
	}
	return explain(dir, err)
}

// Usage says where the space in dir is, and changes nothing.
func Usage(ctx context.Context, dir string) (store.UsageReport, error) {
	so, err := storeOptions(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return store.UsageReport{}, explain(dir, err)
	}
	report, err := store.ReadUsage(ctx, so)
	return report, explain(dir, err)
}
