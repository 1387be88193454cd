package store

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A pacer spreads the index's flushes and compactions over the time until the
// next ones are due. At full speed each takes a whole core for a tenth of a
// second, and after some flushes for half a second, and requests wait for that;
// nobody waits for them. They pay per byte they write, which is when most of
// their processor time has been spent.
type pacer struct {
	rate  float64             // bytes a second while the index keeps up; 0: no pace
	free  func() bool         // whether somebody waits, so that there is no pace now; cheap
	debt  func() int          // how far behind the index is: 0 not, 1 somewhat, 2 much
	now   func() time.Time    // for tests
	sleep func(time.Duration) // likewise
	slept atomic.Int64        // nanoseconds
	mu    struct {
		sync.Mutex
		looked time.Time
		debt   int
	}
}

const (
	// paceLook is how long a look at the debt stands.
	paceLook = 100 * time.Millisecond
	// paceLeast and paceMost bound one sleep: short ones last longer than asked
	// for, and whoever comes to wait must not wait for a long one.
	paceLeast, paceMost = time.Millisecond, 50 * time.Millisecond
)

func newPacer(s *Store) *pacer {
	return &pacer{rate: max(0, float64(s.opt.IndexRate)), free: s.hurriesIndex, debt: s.indexDebt, now: time.Now, sleep: time.Sleep}
}

// pay waits for n bytes that were written to a file that is paid for up to paid,
// and returns up to when it is then.
func (p *pacer) pay(n int, paid time.Time) time.Time {
	now := p.now()
	if p.rate == 0 || p.free() {
		return now
	}
	rate := p.rate
	switch p.behind(now) {
	case 0:
	case 1:
		rate *= 4
	default:
		return now
	}
	if paid.Before(now) {
		paid = now
	}
	paid = paid.Add(time.Duration(float64(n) / rate * float64(time.Second)))
	if d := min(paid.Sub(now), paceMost); d >= paceLeast {
		p.sleep(d)
		p.slept.Add(int64(d))
	}
	return paid
}

// behind is the debt as it was not long ago.
func (p *pacer) behind(now time.Time) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.mu.looked) >= paceLook {
		p.mu.looked, p.mu.debt = now, p.debt()
	}
	return p.mu.debt
}

// hurriesIndex reports that somebody waits for the index's files, or soon may:
// before the store is open, when it closes, and when space is short.
func (s *Store) hurriesIndex() bool {
	select {
	case <-s.leaving:
		return true
	default:
	}
	return !s.opened.Load() || s.refusing.Load() || s.spaceWaits.Load() > 0
}

// indexDebt says how far behind the index's flushes and compactions are.
func (s *Store) indexDebt() int { return debtOf(s.db.Metrics(), s.applier.cutShort.Load()) }

// One memtable is being filled and one may be being flushed. A third waits, and
// with a fifth the applier would. One that was cut short by a flush that was asked for
// is less of a sign of haste: compaction asks for one when another is under way more
// often than not, and waits for both. Each sublevel of level 0 is one more place for
// a look-up; compactions begin at four.
func debtOf(m *pebble.Metrics, cutShort bool) int {
	tables, sublevels, owed := m.MemTable.Count, m.Levels[0].Sublevels, m.Compact.EstimatedDebt
	if cutShort {
		tables--
	}
	switch {
	case tables > 2 || sublevels > 9 || owed > 512<<20:
		return 2
	case m.MemTable.Count > 2 || sublevels > 5 || owed > 128<<20:
		return 1
	}
	return 0
}

// paceFS has what flushes and compactions write pay its pace.
type paceFS struct {
	vfs.FS
	pacer *pacer
}

// Pebble's names for what it writes at leisure.
const (
	flushCategory      vfs.DiskWriteCategory = "pebble-memtable-flush"
	compactionCategory vfs.DiskWriteCategory = "pebble-compaction"
)

func (v paceFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := v.FS.Create(name, c)
	if err == nil && (c == flushCategory || c == compactionCategory) {
		f = &pacedFile{File: f, pacer: v.pacer}
	}
	return f, err
}

// A pacedFile is written by one goroutine at a time.
type pacedFile struct {
	vfs.File
	pacer *pacer
	paid  time.Time
}

func (f *pacedFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	f.paid = f.pacer.pay(n, f.paid)
	return n, err
}
