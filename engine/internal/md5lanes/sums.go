package md5lanes

import (
	"crypto/md5"
	"encoding/binary"
)

// A Sum is data and where its MD5 goes.
type Sum struct {
	Data []byte
	To   *[md5.Size]byte
}

// Parallel reports whether Sums takes less time than one sum after another does.
func Parallel() bool { return parallel }

// Sums computes all of them, up to Lanes at a time. A lane whose data ends takes the
// next ones.
func Sums(all []Sum) {
	if len(all) == 1 || !parallel {
		for _, s := range all {
			*s.To = md5.Sum(s.Data)
		}
		return
	}
	var b sumBatch
	for len(all) > 0 && b.used < Lanes {
		b.begin(b.used, all[0])
		b.used++
		all = all[1:]
	}
	for b.used > 0 {
		b.advance()
		for i := 0; i < b.used; {
			switch {
			case !b.ended(i):
				i++
			case len(all) > 0:
				b.begin(i, all[0])
				all = all[1:]
				i++
			default:
				b.used--
				b.move(b.used, i) // and it is looked at next
			}
		}
	}
}

// A sumBatch is what Sums has under way.
type sumBatch struct {
	used  int // lanes, from the first on
	lanes [Lanes]sumLane
	state [4][Lanes]uint32
}

// A sumLane goes through its data's whole blocks, then through the padded rest.
type sumLane struct {
	sum     Sum
	whole   int // bytes of the whole blocks
	at      int // how far it is: in the data, and in what follows the whole blocks in the padding
	padding [2 * blockSize]byte
	end     int // whole and the padding
}

var firstState = [4]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}

func (b *sumBatch) begin(i int, s Sum) {
	l := &b.lanes[i]
	*l = sumLane{sum: s, whole: len(s.Data) &^ (blockSize - 1)}
	n := copy(l.padding[:], s.Data[l.whole:])
	l.padding[n] = 0x80
	padded := blockSize
	if n >= blockSize-8 {
		padded = 2 * blockSize
	}
	binary.LittleEndian.PutUint64(l.padding[padded-8:], uint64(len(s.Data))*8)
	l.end = l.whole + padded
	for w, v := range firstState {
		b.state[w][i] = v
	}
}

// next is what the lane hashes next: blocks that lie together.
func (l *sumLane) next() []byte {
	if l.at < l.whole {
		return l.sum.Data[l.at:l.whole]
	}
	return l.padding[l.at-l.whole : l.end-l.whole]
}

// advance hashes as many blocks of each lane as the shortest has, a step at most.
func (b *sumBatch) advance() {
	var data [Lanes]*byte
	n := step
	for i := range b.used {
		p := b.lanes[i].next()
		n = min(n, len(p)/blockSize)
		data[i] = &p[0]
	}
	for i := b.used; i < Lanes; i++ {
		data[i] = data[0] // nobody looks at what comes of it
	}
	blocks(&b.state, &data, b.used, n)
	for i := range b.used {
		b.lanes[i].at += n * blockSize
	}
}

// ended reports whether the lane is at its end, and then writes its sum.
func (b *sumBatch) ended(i int) bool {
	l := &b.lanes[i]
	if l.at < l.end {
		return false
	}
	for w := range b.state {
		binary.LittleEndian.PutUint32(l.sum.To[4*w:], b.state[w][i])
	}
	return true
}

func (b *sumBatch) move(from, to int) {
	if from == to {
		return
	}
	b.lanes[to] = b.lanes[from]
	for w := range b.state {
		b.state[w][to] = b.state[w][from]
	}
}
