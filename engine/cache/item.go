package cache

// An item lies in one piece in a segment, aligned to 8 bytes:
//
//	header, 8 bytes: value's length (24 bits), flags (8), key's length (16)
//	expiry, 8 bytes, if it has one: nanoseconds since the cache was made
//	key
//	value
//
// It is written once, before a slot leads to it, and never changed.
const (
	headerSize = 8
	expirySize = 8

	flagExpires = 1 << 0
	flagAbsent  = 1 << 1 // there is nothing under this key; the item has no value

	maxKey   = 1<<16 - 1
	maxValue = 1<<24 - 1

	// streamed is the size from which on a value takes so long to write that other
	// memory is asked for meanwhile, and is written past the processor's caches where
	// this package has instructions for it.
	streamed = 2048
)

// A header is the first word of an item.
type header uint64

func headerOf(key, value int, flags uint8) header {
	return header(uint64(value) | uint64(flags)<<24 | uint64(key)<<32)
}

func (h header) value() int   { return int(h & maxValue) }
func (h header) flags() uint8 { return uint8(h >> 24) }
func (h header) key() int     { return int(h>>32) & maxKey }

// before is how far the key is from the item's beginning.
func (h header) before() int {
	return headerSize + int(h>>24&flagExpires)*expirySize
}

// size is what the item takes in its segment.
func (h header) size() int { return (h.before() + h.key() + h.value() + 7) &^ 7 }

func (m memory) header(off uint64) header { return header(*m.word(off)) }

func (m memory) keyAt(off uint64, h header) []byte {
	return m.bytes(off+uint64(h.before()), h.key())
}

func (m memory) expiry(off uint64) int64 { return int64(*m.word(off + headerSize)) }

// write makes an item. Nobody else may see that memory yet: the lock that the
// publisher takes after it is also the fence of a value that was streamed.
func (m memory) write(off uint64, h header, expiry int64, key, value []byte) {
	*m.word(off) = uint64(h)
	if h.flags()&flagExpires != 0 {
		*m.word(off + headerSize) = uint64(expiry)
	}
	at := off + uint64(h.before())
	copy(m.bytes(at, len(key)), key)
	copyValue(m.bytes(at+uint64(len(key)), len(value)), value)
}
