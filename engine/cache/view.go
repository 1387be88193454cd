package cache

import (
	"unsafe"

	"github.com/cairnstore/cairn/engine/cache/internal/pin"
)

// A View is a value as the cache keeps it, not a copy. Its bytes stay as they
// are until Release, whatever happens to the entry meanwhile, and their segment
// of memory cannot be used again before: who holds views for long holds memory
// that the budget counts. Copies of a View are the same one: one of them is
// released, once. The zero View is of nothing and needs no Release.
type View struct {
	value   *byte
	length  uint32
	segment uint32
	pins    *pin.Table // nil: the value is no part of the cache's memory
}

// absentLength marks a view of a negative entry.
const absentLength = ^uint32(0)

// Value returns the bytes, to be read only. Nobody may look at them after Release.
func (v View) Value() []byte {
	if v.Absent() {
		return nil
	}
	return unsafe.Slice(v.value, v.length)
}

// Len is the value's length.
func (v View) Len() int {
	if v.Absent() {
		return 0
	}
	return int(v.length)
}

// Absent reports a negative entry: it is known that there is nothing under the key.
func (v View) Absent() bool { return v.length == absentLength }

// Found reports that there is a value or a negative entry; GetMany leaves a View
// that is neither where it found nothing.
func (v View) Found() bool { return v.value != nil || v.Absent() }

// Beside reports whether both views are of the same segment, so that holding both
// holds no more memory than one of them.
func (v View) Beside(o View) bool {
	return v.pins != nil && v.pins == o.pins && v.segment == o.segment
}

// Release gives the bytes back.
func (v View) Release() {
	if v.pins != nil {
		v.pins.Drop(v.segment)
	}
}

// viewOf is a view of bytes on Go's heap.
func viewOf(value []byte) View {
	v := View{value: unsafe.SliceData(value), length: uint32(len(value))}
	if v.value == nil {
		v.value = new(byte)
	}
	return v
}
