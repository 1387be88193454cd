// Package md5lanes computes MD5, which an ETag needs and which no processor does
// fast for one stream, of up to 16 streams at once: step by step with 16 lanes of
// AVX-512, or with twice 8 of AVX2, in which time one core does little more than
// one stream by itself.
//
// A writer that comes while another one's bytes are being hashed joins it after its
// next few KiB. So batches grow with the load, and a stream that is alone goes
// through crypto/md5 at once.
package md5lanes

import (
	"encoding"
	"encoding/binary"
	"hash"
	"runtime"
	"slices"
	"sync"
)

// Lanes is how many streams one batch may have.
const Lanes = 16

const (
	blockSize = 64
	// step is how many blocks of each lane go through at a time: nothing can
	// interrupt them, and they take some 30 to 50 µs. Then others may join.
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

// A queue has those who wait to be hashed. A leader hashes its own bytes and those of
// all others that there are lanes for, step by step. When its own are done it leaves
// the rest to another one of them.
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
	p     []byte // what is left of it
	wake  chan role
	taken bool      // the state is out of h
	state [4]uint32 // then
	count uint64    // of bytes that are in the state
	saved []byte    // of h
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
		q.gather()
		q.lead(j)
	}
	j.h, j.p = nil, nil
	jobs.Put(j)
}

// lead hashes the leader's own job and those that wait, until its own is done.
func (q *queue) lead(own *job) {
	var lanes [Lanes]*job
	active := append(lanes[:0], own)
	for {
		active = q.join(active)
		active = advance(active, own)
		if len(active) == 0 || active[0] != own {
			q.leave(active)
			return
		}
	}
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

// join adds those who wait to the active ones while there are lanes.
func (q *queue) join(active []*job) []*job {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(Lanes-len(active), len(q.mu.waiting))
	active = append(active, q.mu.waiting[:n]...)
	q.mu.waiting = slices.Delete(q.mu.waiting, 0, n)
	return active
}

// leave makes the first of those who are not done the next leader.
func (q *queue) leave(active []*job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.waiting = slices.Insert(q.mu.waiting, 0, active...)
	if len(q.mu.waiting) == 0 {
		q.mu.leading--
		return
	}
	next := q.mu.waiting[0]
	q.mu.waiting = slices.Delete(q.mu.waiting, 0, 1)
	next.wake <- leader
}

// advance hashes up to a step of each job, and returns those that are not done. It
// wakes whoever's is, save own, which is the first.
func advance(active []*job, own *job) []*job {
	if len(active) == 1 || !parallel {
		for _, j := range active {
			j.alone()
		}
	} else {
		together(active)
	}
	left := active[:0]
	for _, j := range active {
		switch {
		case len(j.p) > 0:
			left = append(left, j)
		case j != own:
			j.wake <- done
		}
	}
	return left
}

// alone hashes a step of the job by crypto/md5.
func (j *job) alone() {
	if j.taken {
		j.putBack()
	}
	n := min(len(j.p), step*blockSize)
	j.h.Write(j.p[:n])
	j.p = j.p[n:]
}

// together hashes as many blocks of each job as the shortest has, a step at most.
func together(jobs []*job) {
	var state [4][Lanes]uint32
	var data [Lanes]*byte
	var batch [Lanes]*job
	active := batch[:0]
	n := step
	for _, j := range jobs {
		if !j.taken && !j.take() {
			j.h.Write(j.p)
			j.p = nil
			continue
		}
		active = append(active, j)
		n = min(n, len(j.p)/blockSize)
	}
	if len(active) == 0 {
		return
	}
	for i := range data {
		j := active[min(i, len(active)-1)] // lanes that nobody needs do one twice
		data[i] = &j.p[0]
		for w := range state {
			state[w][i] = j.state[w]
		}
	}
	blocks(&state, &data, len(active), n)
	for i, j := range active {
		for w := range state {
			j.state[w] = state[w][i]
		}
		j.p = j.p[n*blockSize:]
		j.count += uint64(n) * blockSize
		if len(j.p) < blockSize {
			j.putBack()
			j.h.Write(j.p)
			j.p = nil
		}
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

// take takes the state out of the job's hash, at a block's end and with at least one
// block to come. It reports false if there is none, or if the hash has its state in
// another form: the state is then in the hash.
func (j *job) take() bool {
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
	j.taken = true
	return true
}

// putBack puts the state back into the hash.
func (j *job) putBack() {
	for w, v := range j.state {
		binary.BigEndian.PutUint32(j.saved[stateAt+4*w:], v)
	}
	binary.BigEndian.PutUint64(j.saved[lengthAt:], j.count)
	if err := j.h.(encoding.BinaryUnmarshaler).UnmarshalBinary(j.saved); err != nil {
		panic("md5lanes: crypto/md5 does not take its own state: " + err.Error())
	}
	j.taken = false
}
