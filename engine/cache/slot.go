package cache

import (
	"math"
	"math/bits"
)

// A word is what a slot of the index holds, read and written in one piece:
//
//	63          43 42 41   40 39  38                 0
//	┌─────────────┬──┬───────┬──┬────────────────────┐
//	│ tag         │1 │ freq  │0 │ location           │ an item, in units of 8 bytes
//	│ tag         │1 │ asked │1 │ when it was evicted│ a ghost: the key was here not long ago
//	│ 0           │0 │ 0     │0 │ row                │ a link to an overflow bucket; in the last slot only
//	└─────────────┴──┴───────┴──┴────────────────────┘
//
// A tag is unique within a bucket and its overflow: who puts an item where
// another key has the same tag evicts that one, which happens once in half a
// million puts and spares every other put a look at the item that it replaces. A
// reader compares the whole key all the same.
type word uint64

const (
	tagShift = 42
	tagMark  = 1 << tagShift // in every tag, so that none is zero
	tagMask  = math.MaxUint64 >> tagShift << tagShift

	freqShift = 40
	freqOne   = 1 << freqShift
	freqMask  = 3 << freqShift

	ghostMark    = 1 << 39
	locationMask = ghostMark - 1 // 4 TiB
	ghostMask    = 1<<24 - 1     // of the count of evictions that a ghost remembers

	bucketSlots = 8
	lastSlot    = bucketSlots - 1
)

func tagOf(h uint64) uint64 { return h&tagMask | tagMark }

func (w word) is(tag uint64) bool   { return uint64(w)&tagMask == tag }
func (w word) ghost() bool          { return w&ghostMark != 0 }
func (w word) live() bool           { return w&(tagMark|ghostMark) == tagMark }
func (w word) link() bool           { return w != 0 && w&tagMark == 0 }
func (w word) row() uint32          { return uint32(w) - 1 }
func (w word) freq() int            { return int(w>>freqShift) & 3 }
func (w word) offset() uint64       { return uint64(w&locationMask) << 3 }
func (w word) same(other word) bool { return (w^other)&^freqMask == 0 }

func linkTo(row uint32) word { return word(row) + 1 }

func itemAt(tag uint64, freq int, off uint64) word {
	return word(tag | uint64(freq)<<freqShift | off>>3)
}

// matchPortable returns the slot that has the tag, or bucketSlots. It has no
// branch that depends on the slots: a branch that is guessed wrong would wait
// for the bucket's memory, and the next look-up's with it.
func (b *bucket) matchPortable(tag uint64) int {
	// A slot with the tag leaves zero above its shift; what is below cannot borrow
	// from a difference that is not zero.
	d0 := (b[0].Load()^tag)>>tagShift - 1
	d1 := (b[1].Load()^tag)>>tagShift - 1
	d2 := (b[2].Load()^tag)>>tagShift - 1
	d3 := (b[3].Load()^tag)>>tagShift - 1
	d4 := (b[4].Load()^tag)>>tagShift - 1
	d5 := (b[5].Load()^tag)>>tagShift - 1
	d6 := (b[6].Load()^tag)>>tagShift - 1
	d7 := (b[7].Load()^tag)>>tagShift - 1
	m := d0>>63 | d1>>63<<1 | d2>>63<<2 | d3>>63<<3 | d4>>63<<4 | d5>>63<<5 | d6>>63<<6 | d7>>63<<7
	return bits.TrailingZeros64(m | 1<<bucketSlots)
}
