//go:build linux

package arena

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cairnstore/cairn/engine/numa"
)

// Options say how a region is mapped. The zero value is a region on any node,
// in the largest pages to be had, all of it in memory.
type Options struct {
	// Node is where the pages shall be; nil is wherever the kernel puts them.
	// A node that is full gives way to others: Region.On tells what was had.
	Node *numa.Node
	// Largest is the best kind that is tried.
	Largest Kind
	// Lazy leaves each page to the first who touches it. Reserved huge pages are
	// taken at once all the same: where one is missing then, the touch would end the process.
	Lazy bool
}

// A Region is memory outside Go's heap. It never moves.
type Region struct {
	mapping []byte // with what is around bytes for alignment and as a guard
	bytes   []byte
	kind    atomic.Int32 // Kind
	huge    atomic.Int64 // bytes
	node    *numa.Node
	largest Kind // as Options.Largest
}

// maxRegion bounds what one region can be asked for: the half of what an
// x86-64 process can address.
const maxRegion = 1 << 46

// Map maps at least size bytes of zeroes outside Go's heap, in the largest pages
// to be had: of 1 GiB if size is a multiple of that, then of 2 MiB, reserved or
// transparent, then small ones. The first byte is aligned to HugePage, and size
// is rounded up to a multiple of it. It takes some 100 ms per GiB unless o is
// lazy. The pages before and after belong to nobody: who runs over is stopped.
func Map(size int64, o Options) (*Region, error) {
	if size <= 0 || size > maxRegion {
		return nil, fmt.Errorf("map %d bytes: not from 1 to %d", size, int64(maxRegion))
	}
	size = (size + HugePage - 1) &^ (HugePage - 1)
	for kind := o.Largest; kind <= Huge2M; kind++ {
		if size%kind.page() != 0 {
			continue
		}
		if r, ok := mapReserved(size, kind, o.Node); ok {
			return r, nil
		}
	}
	r, err := mapUnreserved(size, o)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w%s", size, err, addressLimit())
	}
	return r, nil
}

// addressLimit tells of the limit on the process's addresses, if there is one.
func addressLimit() string {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_AS, &limit); err != nil || limit.Cur == unix.RLIM_INFINITY {
		return ""
	}
	return fmt.Sprintf(" (this process may have %d MiB of addresses in all)", limit.Cur>>20)
}

// mapReserved takes pages of a pool, all in memory and all on the node, or none.
func mapReserved(size int64, kind Kind, node *numa.Node) (*Region, bool) {
	flags := unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_HUGETLB | unix.MAP_HUGE_2MB
	if kind == Huge1G {
		flags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_HUGETLB | unix.MAP_HUGE_1GB
	}
	b, err := mmap(size, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return nil, false
	}
	r := &Region{mapping: b, bytes: b, node: node}
	r.kind.Store(int32(kind))
	r.huge.Store(size)
	// Without MADV_POPULATE_WRITE (Linux 5.14) nothing says whether a page is
	// missing, as under a control group's limit, but a signal that ends the process.
	if node.Bind(b) != nil || populate(context.Background(), b, node, allOut()) != nil || !r.home() {
		_ = r.Release()
		return nil, false
	}
	_ = unix.Madvise(b, unix.MADV_DONTDUMP)
	return r, true
}

// home reports that all of the region is on its node. Reserved pages of another
// are worse than the node's own memory.
func (r *Region) home() bool {
	if r.node.Uniform() {
		return true
	}
	on, err := r.On()
	return err == nil && on[r.node.ID] == int64(len(r.bytes))
}

// mapUnreserved takes memory that no pool holds, in transparent huge pages as
// far as the kernel makes them.
func mapUnreserved(size int64, o Options) (*Region, error) {
	// The neighbours stay unmapped (PROT_NONE), so that the kernel never makes one
	// mapping of two regions, and smaps tells of each alone.
	page := int64(os.Getpagesize())
	mapping, err := mmap(size+HugePage+2*page, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, err
	}
	start := page
	if rest := (int64(address(mapping)) + start) % HugePage; rest != 0 {
		start += HugePage - rest
	}
	r := &Region{mapping: mapping, bytes: mapping[start : start+size : start+size], node: o.Node, largest: o.Largest}
	r.kind.Store(int32(Plain))
	if err := r.fill(o); err != nil {
		_ = r.Release()
		return nil, err
	}
	return r, nil
}

func (r *Region) fill(o Options) error {
	if err := unix.Mprotect(r.bytes, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		return fmt.Errorf("make writable: %w", err)
	}
	if err := r.advise(r.bytes); err != nil {
		return err
	}
	if o.Lazy {
		return nil
	}
	return r.Populate(context.Background())
}

// Populate brings all of a lazy region into memory and measures what it got. The
// region may be in use meanwhile: what it holds stays. It ends early with ctx's
// error, and what is missing then comes when it is touched.
func (r *Region) Populate(ctx context.Context) error { return r.populate(ctx, r.bytes, allOut()) }

// PopulateBehind is Populate of the bytes from one place up to another, in a region
// that is served from meanwhile: it takes a small part of the machine, and several
// times as long.
func (r *Region) PopulateBehind(ctx context.Context, from, to int64) error {
	return r.populate(ctx, r.bytes[from:to], behind())
}

func (r *Region) populate(ctx context.Context, part []byte, e effort) error {
	err := populate(ctx, part, r.node, e)
	return errors.Join(err, r.Measure())
}

// advise says what b, which is not in memory yet, shall be like.
func (r *Region) advise(b []byte) error {
	// Values are the users': a dump of a crash is no place for them.
	_ = unix.Madvise(b, unix.MADV_DONTDUMP)
	if r.largest <= Transparent {
		_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // refused by a kernel without them
	} else {
		_ = unix.Madvise(b, unix.MADV_NOHUGEPAGE)
	}
	return r.node.Bind(b)
}

// bring puts a part of the region into memory.
func (r *Region) bring(at, n int64) error { return bring(r.bytes[at : at+n]) }

// discard gives a part of the region back to the system, which reads as zeroes
// from then on and comes back with bring. Pages of 1 GiB have no parts: it
// reports that nothing was done.
func (r *Region) discard(at, n int64) bool {
	b := r.bytes[at : at+n]
	switch r.Kind() {
	case Huge1G:
		return false
	case Huge2M:
		return r.replace(b)
	}
	return unix.Madvise(b, unix.MADV_DONTNEED) == nil
}

// replace puts free memory where pages of a pool were: without one of those, a
// mere look at the place would end the process.
func (r *Region) replace(b []byte) bool {
	_, _, errno := unix.Syscall6(unix.SYS_MMAP, uintptr(address(b)), uintptr(len(b)), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE|unix.MAP_FIXED, ^uintptr(0), 0)
	if errno != 0 {
		// The place may be unmapped now, and the next to map something could get it.
		panic(fmt.Sprintf("arena: replace huge pages: %v", errno))
	}
	r.huge.Add(-int64(len(b)))
	// Where it cannot be bound it works all the same, from afar.
	_ = r.advise(b)
	return true
}

// Measure asks the system how much of the region lies in huge pages now, which
// changes as a lazy region is touched and as the kernel gathers small pages
// (khugepaged). It reads /proc/self/smaps up to the region: milliseconds.
func (r *Region) Measure() error {
	if r.Kind() <= Huge2M {
		return nil
	}
	huge, err := r.transparent()
	if err != nil {
		return fmt.Errorf("measure huge pages: %w", err)
	}
	kind := Plain
	if huge*2 > int64(len(r.bytes)) {
		kind = Transparent
	}
	r.huge.Store(huge)
	r.kind.Store(int32(kind))
	return nil
}

// transparent is how many of the region's bytes are in transparent huge pages.
func (r *Region) transparent() (int64, error) {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return anonHuge(f, address(r.bytes), address(r.bytes)+uint64(len(r.bytes)))
}

// Bytes is all of the region, valid until Release.
func (r *Region) Bytes() []byte { return r.bytes }

// Kind is what pages more than half of the region had at the last Measure, the
// first of which is Map's. A lazy region is Plain until then.
func (r *Region) Kind() Kind { return Kind(r.kind.Load()) }

// HugeBytes is how much of the region was in huge pages at the last Measure.
func (r *Region) HugeBytes() int64 { return r.huge.Load() }

// On tells how many bytes of the region each node has, by the node's number.
func (r *Region) On() (map[int]int64, error) {
	step := os.Getpagesize()
	if r.HugeBytes() == int64(len(r.bytes)) {
		step = HugePage
	}
	return numa.Count(r.bytes, step)
}

// Release gives the memory back to the system. Nobody may look at the region's
// bytes any more: a view of them ends the process.
func (r *Region) Release() error {
	if r.mapping == nil {
		return errors.New("release a region: it was released before")
	}
	err := unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(r.mapping)), uintptr(len(r.mapping)))
	if err != nil {
		return fmt.Errorf("release a region: %w", err)
	}
	r.mapping, r.bytes = nil, nil
	r.huge.Store(0)
	return nil
}

func mmap(size int64, prot, flags int) ([]byte, error) {
	p, err := unix.MmapPtr(-1, 0, nil, uintptr(size), prot, flags)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return unsafe.Slice((*byte)(p), size), nil
}

func address(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }
