package probe

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cairnstore/cairn/harness/measure"
)

// aligned returns n bytes outside Go's heap that begin a page, as O_DIRECT wants them.
func aligned(n int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", n, err)
	}
	copy(b, noiseBytes(n))
	return b, nil
}

// direct opens a file past the page cache, or the usual way where the file
// system does not have that.
func direct(name string, flags int) (*os.File, bool, error) {
	f, err := os.OpenFile(name, flags|unix.O_DIRECT, 0o600)
	if err == nil {
		return f, true, nil
	}
	if !errors.Is(err, unix.EINVAL) {
		return nil, false, err
	}
	f, err = os.OpenFile(name, flags, 0o600)
	return f, false, err
}

func (r *run) disk() (err error) {
	dir, err := os.MkdirTemp(r.Dir, "probe-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d := &r.profile.Disk
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("size of the file system: %w", err)
	}
	d.TotalBytes, d.FreeBytes = int64(fs.Blocks)*fs.Bsize, int64(fs.Bavail)*fs.Bsize
	limit := int64(4 << 30)
	if r.Quick {
		limit = 1 << 30
	}
	if limit = min(limit, d.FreeBytes/4) / block * block; limit < 64<<20 {
		return fmt.Errorf("only %d MiB are free, 256 are needed", d.FreeBytes>>20)
	}
	buf, err := aligned(block)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Munmap(buf) }()
	for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
		for _, kind := range []struct {
			file   string
			direct bool
		}{{Growing, false}, {Recycled, false}, {Recycled, true}} {
			s, err := measureSync(dir, kind.file, kind.direct, buf[:size], limit, r.slice)
			if err != nil {
				return fmt.Errorf("fdatasync: %w", err)
			}
			if s.Direct == kind.direct { // else it is the measurement before once more
				d.Fdatasync = append(d.Fdatasync, s)
			}
		}
	}
	name := filepath.Join(dir, "stream")
	write, written, err := writeStream(name, buf, limit, 2*r.slice)
	if err != nil {
		return fmt.Errorf("sequential write: %w", err)
	}
	read, err := readStream(name, buf, 2*r.slice)
	if err != nil {
		return fmt.Errorf("sequential read: %w", err)
	}
	d.Sequential, d.FileBytes = []Sequential{write, read}, written
	if !read.Direct {
		r.warn("reads of the drive went through the page cache: the file system of the directory has no O_DIRECT")
	}
	for _, depth := range []int{1, 2, 4, 8, 16, 32} {
		rr, err := randomReads(name, written, depth, r.slice)
		if err != nil {
			return fmt.Errorf("random read: %w", err)
		}
		d.Random = append(d.Random, rr)
	}
	for _, depth := range depths {
		rw, err := randomWrites(name, written, depth, r.slice)
		if err != nil {
			return fmt.Errorf("random write: %w", err)
		}
		d.RandomWrite = append(d.RandomWrite, rw)
	}
	if !read.Direct {
		r.warn("streams at queue depths were not measured: without O_DIRECT the page cache makes its own queue")
		return nil
	}
	for _, operation := range []string{"write", "read"} {
		for _, depth := range depths {
			q, err := queuedStream(name, operation, written, depth, r.slice/2)
			if err != nil {
				return fmt.Errorf("sequential %s at depth %d: %w", operation, depth, err)
			}
			d.Queued = append(d.Queued, q)
		}
	}
	return nil
}

// recycledBytes is the size of the recycled file, which is written round and round.
const recycledBytes = 64 << 20

// measureSync writes b and syncs until the time is over, or a file that grows has limit bytes.
func measureSync(dir, kind string, past bool, b []byte, limit int64, d time.Duration) (s Fdatasync, err error) {
	name := filepath.Join(dir, "sync")
	s = Fdatasync{File: kind, WriteBytes: len(b)}
	defer func() { err = errors.Join(err, os.Remove(name)) }()
	if kind == Recycled {
		if err := recycle(name); err != nil {
			return s, err
		}
	}
	var f *os.File
	if past {
		f, s.Direct, err = direct(name, os.O_WRONLY|os.O_CREATE)
	} else {
		f, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
	}
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := measure.NewHistogram()
	fd := int(f.Fd())
	start := time.Now()
	for at := int64(0); time.Since(start) < d; at += int64(len(b)) {
		if kind == Recycled {
			at %= recycledBytes
		} else if at+int64(len(b)) > limit {
			break
		}
		before := time.Now()
		if _, err := f.WriteAt(b, at); err != nil {
			return s, err
		}
		if err := unix.Fdatasync(fd); err != nil {
			return s, fmt.Errorf("fdatasync: %w", err)
		}
		h.Record(time.Since(before))
	}
	s.Samples = int(h.Count())
	s.P50US, s.P99US, s.MeanUS = round(measure.Micros(h.Quantile(.5))), round(measure.Micros(h.Quantile(.99))), round(measure.Micros(h.Mean()))
	s.MBPerS = round(float64(h.Count()) * float64(len(b)) / 1e6 / time.Since(start).Seconds())
	return s, nil
}

// recycle makes a file as a store's segment is in its second life: allocated,
// written all over, and synced.
func recycle(name string) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, recycledBytes); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("preallocate: %w", err)
	}
	b := noiseBytes(block)
	for at := int64(0); at < recycledBytes; at += block {
		if _, err := f.WriteAt(b, at); err != nil {
			return err
		}
	}
	return f.Sync()
}

// writeStream writes up to limit bytes, and syncs. At least 64 MiB are written,
// for the reads after it.
func writeStream(name string, b []byte, limit int64, d time.Duration) (s Sequential, written int64, err error) {
	s.Operation = "write"
	f, past, err := direct(name, os.O_WRONLY|os.O_CREATE)
	if err != nil {
		return s, 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	s.Direct = past
	start := time.Now()
	for written < limit && (written < 64<<20 || time.Since(start) < d) {
		if _, err := f.WriteAt(b, written); err != nil {
			return s, written, err
		}
		written += int64(len(b))
	}
	if err := unix.Fdatasync(int(f.Fd())); err != nil {
		return s, written, fmt.Errorf("fdatasync: %w", err)
	}
	s.MBPerS = round(float64(written) / 1e6 / time.Since(start).Seconds())
	return s, written, nil
}

func readStream(name string, b []byte, d time.Duration) (s Sequential, err error) {
	s.Operation = "read"
	f, past, err := direct(name, os.O_RDONLY)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	s.Direct = past
	info, err := f.Stat()
	if err != nil {
		return s, err
	}
	if !past { // else what was just written is in memory
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			return s, fmt.Errorf("fadvise: %w", err)
		}
	}
	start := time.Now()
	var n int64
	for time.Since(start) < d && n < info.Size() {
		if _, err := f.ReadAt(b, n); err != nil {
			return s, err
		}
		n += int64(len(b))
	}
	s.MBPerS = round(float64(n) / 1e6 / time.Since(start).Seconds())
	return s, nil
}
