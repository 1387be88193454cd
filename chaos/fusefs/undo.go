package fusefs

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// pageSize is what a kernel writes back as one.
const pageSize = 4096

// An undo log keeps what one file held at its last sync, as far as it was
// written since.
type undo struct {
	mu    sync.Mutex
	f     *os.File         // read and write; open while dirty
	size  int64            // at the last sync
	pages map[int64][]byte // by number, as they were; cut short by the end of the file
}

// dirty opens the undo log, before the first change since a sync. file is a
// descriptor of the same file. Call with mu held.
func (u *undo) dirty(file *os.File) error {
	if u.f != nil {
		return nil
	}
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", file.Fd()), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return err
	}
	u.f, u.size, u.pages = f, info.Size(), map[int64][]byte{}
	return nil
}

// keep saves the pages of a range before they change. Call with mu held.
func (u *undo) keep(off, n int64) error {
	for page := off / pageSize; page*pageSize < off+n; page++ {
		if _, kept := u.pages[page]; kept {
			continue
		}
		buf := make([]byte, pageSize)
		got, err := unix.Pread(int(u.f.Fd()), buf, page*pageSize)
		if err != nil {
			return err
		}
		u.pages[page] = buf[:got]
	}
	return nil
}

// synced forgets what was kept: it is durable now. Call with mu held.
func (u *undo) synced() {
	if u.f != nil {
		_ = u.f.Close()
		u.f, u.pages = nil, nil
	}
}

// lose puts back what was there at the last sync; each page stays with the
// chance survive, and the file reaches as far as what stayed. It returns how
// many pages were lost. Call with mu held.
func (u *undo) lose(random *rand.Rand, survive float64) (lost int64, err error) {
	if u.f == nil {
		return 0, nil
	}
	defer u.synced()
	info, err := u.f.Stat()
	if err != nil {
		return 0, err
	}
	size := u.size
	for _, page := range slices.Sorted(maps.Keys(u.pages)) { // in order, so that the seed decides
		if survive > 0 && random.Float64() < survive {
			size = max(size, min(info.Size(), (page+1)*pageSize))
			continue
		}
		lost++
		old := make([]byte, pageSize) // beyond its old end a page is zeros, should the file reach over it
		copy(old, u.pages[page])
		if _, err := u.f.WriteAt(old, page*pageSize); err != nil {
			return lost, err
		}
	}
	return lost, u.f.Truncate(size)
}
