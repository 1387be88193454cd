package store

// A keyTable remembers, for every key that a check meets in the log, where its
// newest record is. It knows keys by a hash of 64 bits alone, so that a key
// costs 32 bytes and the room to grow; of ten million keys, two share a hash
// once in four hundred thousand runs, and would be reported as damage.
type keyTable struct {
	shards [256]keyShard
	n      int64
}

type keyShard struct {
	slots []keySlot // a power of two
	n     int
}

type keySlot struct {
	hash  uint64 // 0: free
	seq   uint64
	sum   uint64 // of what the index should hold
	place uint64 // flags, number of the segment, block of the group
}

const (
	slotDelete  = 1 << 63 // the newest record is a delete
	slotPending = 1 << 62 // it is past the index's watermark
	slotSeen    = 1 << 61 // the index has the key

	placeBlockBits = 20
	placeMask      = 1<<61 - 1
)

func makePlace(segment int, group uint32) uint64 {
	return uint64(segment)<<placeBlockBits | uint64(group/blockSize)
}

func (s *keySlot) segment() int  { return int(s.place & placeMask >> placeBlockBits) }
func (s *keySlot) group() uint32 { return uint32(s.place&(1<<placeBlockBits-1)) * blockSize }

// slot returns the hash's slot, nil where there is none and add is false. It
// stays valid until the next call that adds.
func (t *keyTable) slot(hash uint64, add bool) *keySlot {
	if hash == 0 {
		hash = 1
	}
	sh := &t.shards[hash>>56]
	if add && sh.n*4 >= len(sh.slots)*3 {
		sh.grow()
	}
	if len(sh.slots) == 0 {
		return nil
	}
	mask := uint64(len(sh.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		s := &sh.slots[i]
		if s.hash == hash {
			return s
		}
		if s.hash != 0 {
			continue
		}
		if !add {
			return nil
		}
		s.hash = hash
		sh.n++
		t.n++
		return s
	}
}

func (sh *keyShard) grow() {
	old := sh.slots
	sh.slots = make([]keySlot, max(64, 2*len(old)))
	mask := uint64(len(sh.slots) - 1)
	for _, s := range old {
		if s.hash == 0 {
			continue
		}
		i := s.hash & mask
		for sh.slots[i].hash != 0 {
			i = (i + 1) & mask
		}
		sh.slots[i] = s
	}
}

// all calls fn for every slot, in no order.
func (t *keyTable) all(fn func(*keySlot)) {
	for i := range t.shards {
		for j := range t.shards[i].slots {
			if s := &t.shards[i].slots[j]; s.hash != 0 {
				fn(s)
			}
		}
	}
}
