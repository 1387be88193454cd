package verify

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// register is one key of S3: a put replaces what is there, a delete removes
// it, a get finds it. What is in doubt happens or does not.
var register = porcupine.NondeterministicModel{
	Init: func() []any { return []any{uint64(0)} },
	Step: func(state, input, _ any) []any {
		o := input.(Op)
		if o.Kind == Get {
			if state.(uint64) == o.ID {
				return []any{state}
			}
			return nil
		}
		if o.Outcome == Doubt && state.(uint64) != o.ID {
			return []any{o.ID, state}
		}
		return []any{o.ID} // 0 after a delete
	},
	Equal:             func(a, b any) bool { return a == b },
	DescribeOperation: func(input, _ any) string { return input.(Op).String() },
	DescribeState:     func(state any) string { return fmt.Sprint(state) },
}

// Linear checks that the operations of each key have an order in which every
// get finds what the write before it left, and which no two operations break
// of which one was answered before the other was sent. Keys that it could not
// decide within the limit are told as undecided.
func Linear(e *Epoch, limit time.Duration) (broken []Violation, undecided []string) {
	model := register.ToModel()
	until := time.Now().Add(limit)
	byKey := e.byKey()
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		history := e.history(key, byKey[key])
		left := time.Until(until)
		if left <= 0 {
			undecided = append(undecided, key)
			continue
		}
		switch porcupine.CheckOperationsTimeout(model, history, left) {
		case porcupine.Illegal:
			broken = append(broken, Violation{"linear", fmt.Sprintf("%s: no order of its operations explains the answers; the last of them:\n%s", key, tail(byKey[key], 12))})
		case porcupine.Unknown:
			undecided = append(undecided, key)
		}
	}
	return broken, undecided
}

// history is a key's operations as porcupine takes them. A put in doubt that
// no get found is left out, which changes nothing: it can always come last.
func (e *Epoch) history(key string, ops []Op) []porcupine.Operation {
	found := map[uint64]bool{}
	for _, o := range ops {
		if o.Kind == Get && o.Outcome == OK {
			found[o.ID] = true
		}
	}
	var history []porcupine.Operation
	add := func(o Op) {
		history = append(history, porcupine.Operation{ClientId: len(history), Input: o, Call: o.Call, Return: o.Return})
	}
	if c, there := e.Initial[key]; there {
		add(Op{Client: -1, Kind: Put, Key: key, Content: c, Call: e.Begin - 2, Return: e.Begin - 1, Outcome: OK})
	}
	for _, o := range ops {
		switch {
		case o.Outcome == Refused, o.Kind == Get && o.Outcome == Doubt:
		case o.Kind == Put && o.Outcome == Doubt && !found[o.ID]:
		default:
			add(o)
		}
	}
	return history
}

// tail is the last operations of a key, one a line.
func tail(ops []Op, n int) string {
	var b strings.Builder
	for _, o := range ops[max(0, len(ops)-n):] {
		b.WriteString("    " + o.String() + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}
