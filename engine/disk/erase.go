package disk

import (
	"time"
)

// eraseStep is what Erase gives back at a time.
const eraseStep = 4 << 20

// Erase removes a file that nobody reads any more, giving its blocks back a few
// megabytes at a time. Where the file system is mounted with discard, the drive does
// nothing else while it takes blocks back: 24 ms for 64 MiB of a virtual drive that
// writes as much in 60 (docs/decisions).
//
// Between the steps it calls rest with the time that would leave the drive to others
// for two thirds of it. When rest returns an error, Erase stops and returns that; the
// file is there then, and shorter.
func Erase(d FS, name string, rest func(time.Duration) error) error {
	if err := shrink(d, name, rest); err != nil {
		return err
	}
	return d.Remove(name)
}

// shrink cuts the file off to its last step. That it can't is no error: the file may
// be removed all the same.
func shrink(d FS, name string, rest func(time.Duration) error) (stopped error) {
	if info, err := d.Stat(name); err != nil || info.Dir || info.Size <= eraseStep {
		return nil
	}
	f, err := d.Open(name)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	size, err := f.Size()
	for size > eraseStep && err == nil {
		begin := time.Now()
		size = (size - 1) / eraseStep * eraseStep
		if err = f.Truncate(size); err == nil {
			err = f.Sync() // a journal would give all back at once
		}
		if stop := rest(max(2*time.Since(begin), 2*time.Millisecond)); stop != nil {
			return stop
		}
	}
	return nil
}
