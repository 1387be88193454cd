package disk

import "unsafe"

// DirectAlign is what a buffer's address, its length and its offset in the file
// must be multiples of for WriteDirect and ReadDirect to pass the page cache by.
const DirectAlign = 4096

// WriteDirect writes p like WriteAt, without a copy in the page cache where the
// file can do that and p is aligned. For what is large and not read at once:
// copying costs more than the transfer (docs/decisions). Durable after Sync, as
// ever.
func WriteDirect(f File, p []byte, off int64) (int, error) {
	d, ok := f.(interface {
		writeDirect(p []byte, off int64) (int, error)
	})
	if !ok || !aligned(p, off) {
		return f.WriteAt(p, off)
	}
	return d.writeDirect(p, off)
}

// ReadDirect reads into p like ReadAt, from the drive and not from the page cache
// where the file can do that and p is aligned. For what is read once, and for a
// check of what the drive has.
func ReadDirect(f File, p []byte, off int64) (int, error) {
	d, ok := within(f).(interface {
		readDirect(p []byte, off int64) (int, error)
	})
	if !ok || !aligned(p, off) {
		return f.ReadAt(p, off)
	}
	return d.readDirect(p, off)
}

// within is the file whose reads f passes on as they are, if it says so.
func within(f File) File {
	for {
		u, ok := f.(interface{ ReadsOf() File })
		if !ok {
			return f
		}
		f = u.ReadsOf()
	}
}

// CloseDirect gives back the descriptor that direct transfers took, if they took one.
// The next one takes another.
func CloseDirect(f File) {
	if d, ok := within(f).(interface{ closeDirect(forGood bool) error }); ok {
		_ = d.closeDirect(false) // what was written is for Sync to vouch for
	}
}

func aligned(p []byte, off int64) bool {
	return len(p) > 0 && len(p)%DirectAlign == 0 && off%DirectAlign == 0 &&
		uintptr(unsafe.Pointer(unsafe.SliceData(p)))%DirectAlign == 0
}

// AlignedBuffer returns n bytes whose address suits WriteDirect and ReadDirect.
func AlignedBuffer(n int) []byte {
	b := make([]byte, n+DirectAlign-1)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (DirectAlign - 1)
	return b[skip : skip+n : skip+n]
}
