// Package prefetch says what may be asked for next. It watches accesses and
// does no I/O: the caller fetches what is predicted, where it likes, and the
// accesses that follow tell whether that was any good. A predictor that is not
// switches itself off.
//
//   - Streams: sequential reads of one object, as ranges or as parts. The
//     window doubles while predictions are used, as read-ahead does.
//   - Successions: after this key, that one. Learnt from pairs, in a table of
//     fixed size.
//   - HotList: what is asked for most, to warm a cache after a restart.
//
// All memory is bounded at the start.
package prefetch

// Precision is how good predictions were.
type Precision struct {
	Predicted int64 // since the start
	Used      int64 // of them, asked for before they were forgotten
	Recent    float64
	Off       bool // now: under the floor
}

// Floor is the precision under which a predictor stops: of two predictions,
// one may be wrong. A fetch costs what a miss does, and takes room in the cache.
const Floor = 0.5

// A judge keeps the score of a predictor, in a ring of what it predicted last.
// Off means that predictions are still made and judged, a few of them, and not
// told to anyone: so it finds out when they would be right again.
type judge struct {
	ring    []pending
	next    int
	waiting map[uint64]int // hash of what is predicted -> its place in the ring

	predicted, used int64
	recent          float64 // moving average over about window outcomes
	seen            int     // outcomes, up to window
	off             bool
}

type pending struct {
	hash uint64
	live bool // waits, and is in the map
}

const (
	ringSize = 1024 // predictions that may wait to be used
	window   = 256  // outcomes that recent looks back on
	learning = 64   // outcomes before anything is concluded
)

func (j *judge) init() {
	j.ring = make([]pending, ringSize)
	j.waiting = make(map[uint64]int, ringSize)
}

// predict notes a prediction, and reports whether it is new and may be told.
func (j *judge) predict(hash uint64) bool {
	if _, there := j.waiting[hash]; there {
		return false
	}
	if old := &j.ring[j.next]; old.live {
		delete(j.waiting, old.hash)
		j.outcome(false)
	}
	j.ring[j.next] = pending{hash, true}
	j.waiting[hash] = j.next
	j.next = (j.next + 1) % len(j.ring)
	if j.off {
		return false
	}
	j.predicted++
	return true
}

// access notes what is asked for, and reports whether it was predicted.
func (j *judge) access(hash uint64) bool {
	i, there := j.waiting[hash]
	if !there {
		return false
	}
	delete(j.waiting, hash)
	j.ring[i].live = false
	if !j.off {
		j.used++
	}
	j.outcome(true)
	return true
}

func (j *judge) outcome(used bool) {
	v := 0.0
	if used {
		v = 1
	}
	if j.seen < window {
		j.seen++
	}
	j.recent += (v - j.recent) / float64(j.seen)
	switch {
	case j.seen < learning:
	case j.off:
		// Well above the floor, or it would flap.
		j.off = j.recent < Floor+0.1
	default:
		j.off = j.recent < Floor
	}
}

func (j *judge) precision() Precision {
	return Precision{j.predicted, j.used, j.recent, j.off}
}
