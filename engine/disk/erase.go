package disk

import "time"

// Erase removes a file that nobody reads any more, giving its blocks back step bytes at
// a time where it matters: on a file system that is mounted with discard, the drive does
// nothing else while it takes blocks back, 24 ms for 64 MiB of a virtual drive that
// writes as much in 60 (docs/decisions).
//
// Before each step it calls rest with the time that would leave the drive to others for
// two thirds of it, 0 before the first. When rest returns an error, Erase stops and
// returns that; the file is there then, and perhaps shorter.
func Erase(d FS, name string, step int64, rest func(time.Duration) error) error {
	if err := rest(0); err != nil {
		return err
	}
	if at, ok := d.(interface{ discards() bool }); !ok || at.discards() {
		if err := shrink(d, name, step, rest); err != nil {
			return err
		}
	}
	return d.Remove(name)
}

// shrink cuts the file off to its last step. That it can't is no error: the file may
// be removed all the same.
func shrink(d FS, name string, step int64, rest func(time.Duration) error) (stopped error) {
	if info, err := d.Stat(name); err != nil || info.Dir || info.Size <= step {
		return nil
	}
	f, err := d.Open(name)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	if stop := rest(0); stop != nil { // it may have taken long
		return stop
	}
	size, err := f.Size()
	for size > step && err == nil {
		begin := time.Now()
		size = (size - 1) / step * step
		if err = f.Truncate(size); err == nil {
			err = f.Sync() // a journal would give all back at once
		}
		if stop := rest(max(2*time.Since(begin), 2*time.Millisecond)); stop != nil {
			return stop
		}
	}
	return nil
}
