// Package md5lanes computes MD5, which an ETag needs and which no processor does
// fast for one stream, of up to 16 streams at once: step by step with 16 lanes of
// AVX-512, or with twice 8 of AVX2, in which time one core does little more than
// one stream by itself.
//
// A writer that comes while another one's bytes are being hashed waits, and the
// next batch is of all who wait. So batches grow with the load, as groups of
// commits do, and a stream that is alone goes through crypto/md5 at once.
package md5lanes

import (
	"encoding"
	"encoding/binary"
	"hash"
	"runtime"
	"sync"
)

// Lanes is how many streams one batch may have.
const Lanes = 16

const (
	blockSize = 64
	// fewest lanes that are worth a batch: one of up to 8 takes 1.5 to 1.7 times as
	// long as crypto/md5 for one.
	fewest = 2
	// step is how many blocks of each lane go through at a time: nothing can
	// interrupt them, and they take some 30 µs.
	step = 256
	// Smallest is what is worth waiting for others.
	Smallest = 16 << 10
)

// Write adds p to h, which must be of crypto/md5, as h.Write does, perhaps
// together with what others write at the same time to theirs.
func Write(h hash.Hash, p []byte) {
	if !parallel || len(p) < Smallest {
		h.Write(p)
		return
	}
	shared.write(h, p)
}

var shared = newQueue(max(1, runtime.GOMAXPROCS(0)/4))

// A queue has those who wait to be hashed. A leader takes a batch of them, hashes
// it, and makes another one who waits the next leader.
type queue struct {
	leaders int // at the same time, at most
	mu      struct {
		sync.Mutex
		leading int
		waiting []*job
	}
}

// A job is one writer's.
type job struct {
	h     hash.Hash
	p     []byte
	wake  chan role
	state [4]uint32
	count uint64 // of bytes that are in the state
	saved []byte // of h
}

// A role is what a writer wakes up to.
type role uint8

const (
	done role = iota
	leader
)

var jobs = sync.Pool{New: func() any { return &job{wake: make(chan role, 1)} }}

func newQueue(leaders int) *queue { return &queue{leaders: leaders} }

func (q *queue) write(h hash.Hash, p []byte) {
	j := jobs.Get().(*job)
	j.h, j.p = h, p
	q.mu.Lock()
	if q.mu.leading == q.leaders {
		q.mu.waiting = append(q.mu.waiting, j)
		q.mu.Unlock()
		if <-j.wake == leader {
			q.lead(j)
		}
	} else {
		q.mu.leading++
		q.mu.Unlock()
		q.lead(j)
	}
	j.h, j.p = nil, nil
	jobs.Put(j)
}

// lead hashes the leader's own job and others that wait.
func (q *queue) lead(own *job) {
	q.gather()
	batch := [Lanes]*job{own}
	q.mu.Lock()
	n := 1 + copy(batch[1:], q.mu.waiting)
	q.take(n - 1)
	q.mu.Unlock()
	run(batch[:n])
	for _, j := range batch[1:n] {
		j.wake <- done
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.mu.waiting) == 0 {
		q.mu.leading--
		return
	}
	next := q.mu.waiting[0]
	q.take(1)
	next.wake <- leader
}

// gather lets others who are ready to run come so far that they wait, as long as
// there are such. Where none is ready it costs nothing.
func (q *queue) gather() {
	for before := -1; ; {
		q.mu.Lock()
		n := len(q.mu.waiting)
		q.mu.Unlock()
		if n <= before || n >= Lanes-1 {
			return
		}
		before = n
		runtime.Gosched()
	}
}

// take takes the first n out of those who wait. q.mu is held.
func (q *queue) take(n int) {
	left := copy(q.mu.waiting, q.mu.waiting[n:])
	clear(q.mu.waiting[left:])
	q.mu.waiting = q.mu.waiting[:left]
}

// run hashes a batch. What is left of those that are longer than the others when
// too few lanes are in use goes on by itself.
func run(batch []*job) {
	var active [Lanes]*job
	n := 0
	for _, j := range batch {
		if parallel && len(batch) >= fewest && j.begin() {
			active[n] = j
			n++
		} else {
			j.h.Write(j.p)
		}
	}
	for n >= fewest {
		together(active[:n])
		left := 0
		for _, j := range active[:n] {
			if len(j.p) >= blockSize {
				active[left] = j
				left++
			} else {
				j.end()
			}
		}
		n = left
	}
	for _, j := range active[:n] {
		j.end()
	}
}

// together hashes as many blocks of each job as the shortest has.
func together(active []*job) {
	var state [4][Lanes]uint32
	var data [Lanes]*byte
	n := len(active[0].p) / blockSize
	for i := range data {
		j := active[min(i, len(active)-1)] // lanes that nobody needs do one twice
		data[i] = &j.p[0]
		n = min(n, len(j.p)/blockSize)
		for w := range state {
			state[w][i] = j.state[w]
		}
	}
	for at := 0; at < n; at += step {
		blocks(&state, &data, len(active), at*blockSize, min(step, n-at))
	}
	for i, j := range active {
		for w := range state {
			j.state[w] = state[w][i]
		}
		j.p = j.p[n*blockSize:]
		j.count += uint64(n) * blockSize
	}
}

// How crypto/md5 marshals its state: a magic word, the four words of the state,
// a block that is not full, and how many bytes went in.
const (
	stateAt  = 4
	bufferAt = stateAt + 16
	lengthAt = bufferAt + blockSize
	savedLen = lengthAt + 8
)

// begin takes the state out of the job's hash. It reports false if that has it in
// another form, or if there are no blocks to do: the hash is then as it was.
func (j *job) begin() bool {
	m, ok := j.h.(encoding.BinaryAppender)
	if !ok {
		return false
	}
	saved, err := m.AppendBinary(j.saved[:0])
	if err != nil || len(saved) != savedLen {
		return false
	}
	j.saved = saved
	if rest := binary.BigEndian.Uint64(saved[lengthAt:]) % blockSize; rest > 0 {
		// To the block's end first.
		k := min(int(blockSize-rest), len(j.p))
		j.h.Write(j.p[:k])
		j.p = j.p[k:]
		if j.saved, err = m.AppendBinary(saved[:0]); err != nil {
			return false
		}
	}
	if len(j.p) < blockSize {
		return false
	}
	for w := range j.state {
		j.state[w] = binary.BigEndian.Uint32(j.saved[stateAt+4*w:])
	}
	j.count = binary.BigEndian.Uint64(j.saved[lengthAt:])
	return true
}

// end puts the state back into the hash and adds what is left.
func (j *job) end() {
	for w, v := range j.state {
		binary.BigEndian.PutUint32(j.saved[stateAt+4*w:], v)
	}
	binary.BigEndian.PutUint64(j.saved[lengthAt:], j.count)
	if err := j.h.(encoding.BinaryUnmarshaler).UnmarshalBinary(j.saved); err != nil {
		panic("md5lanes: crypto/md5 does not take its own state: " + err.Error())
	}
	j.h.Write(j.p)
}
