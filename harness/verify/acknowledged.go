package verify

import (
	"fmt"
	"slices"
	"strings"
)

// A Violation is a promise that was broken.
type Violation struct {
	Checker string `json:"checker"`
	What    string `json:"what"`
}

func (v Violation) String() string { return v.Checker + ": " + v.What }

// Acknowledged checks every read that was answered: it found what an
// acknowledged write left, or one in doubt, and no acknowledged write lies between
// that one and the read. It is a necessary condition that names the write that
// was lost; Linear is the sufficient one.
func Acknowledged(e *Epoch) (broken []Violation) {
	for key, ops := range e.byKey() {
		broken = append(broken, acknowledged(e, key, ops)...)
	}
	slices.SortFunc(broken, func(a, b Violation) int { return strings.Compare(a.What, b.What) })
	return broken
}

func acknowledged(e *Epoch, key string, ops []Op) (broken []Violation) {
	// The beginning is a write that was acknowledged before all others.
	first := Op{Client: -1, Kind: Delete, Key: key, Call: e.Begin - 2, Return: e.Begin - 1, Outcome: OK}
	if c, there := e.Initial[key]; there {
		first.Kind, first.Content = Put, c
	}
	seen := map[uint64]int64{} // by what was found: until when it was written at the latest
	for _, g := range ops {
		if at, again := seen[g.ID]; g.Kind == Get && g.Outcome == OK && (!again || g.Return < at) {
			seen[g.ID] = g.Return
		}
	}
	writers := map[uint64][]Op{} // by what they leave
	var done []Op                // acknowledged, by return; each with the latest call so far
	for _, o := range append([]Op{first}, ops...) {
		if o.Kind == Get || o.Outcome == Refused {
			continue
		}
		if at, found := seen[o.ID]; found && o.Kind == Put && o.Outcome == Doubt { // the only one with this ID
			o.Return = min(o.Return, at)
		}
		writers[o.ID] = append(writers[o.ID], o)
		if o.Outcome == OK {
			done = append(done, o)
		}
	}
	slices.SortFunc(done, func(a, b Op) int { return compare(a.Return, b.Return) })
	latest := make([]int, len(done)) // of those up to here, the one called last
	for i := 1; i < len(done); i++ {
		if latest[i] = latest[i-1]; done[i].Call > done[latest[i]].Call {
			latest[i] = i
		}
	}
	for _, g := range ops {
		if g.Kind != Get || g.Outcome != OK {
			continue
		}
		n, _ := slices.BinarySearchFunc(done, g.Call, func(o Op, call int64) int { return compare(o.Return, call) })
		if n == 0 {
			continue
		}
		must := done[latest[n-1]] // whoever finds something older has missed this one
		known := false
		fresh := slices.ContainsFunc(writers[g.ID], func(w Op) bool {
			if w.Call > g.Return {
				return false
			}
			known = true
			return w.Return >= must.Call
		})
		switch {
		case fresh:
		case !known && g.ID != 0:
			broken = append(broken, Violation{"acknowledged", fmt.Sprintf("%s: found what nobody had written: %v", key, g)})
		default:
			broken = append(broken, Violation{"acknowledged", fmt.Sprintf("%s: an acknowledged write is lost: %v; yet later %v", key, must, g)})
		}
	}
	return broken
}

func compare(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
