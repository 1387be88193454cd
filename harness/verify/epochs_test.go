package verify

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// told is a history of one key, step by step.
type told struct {
	j *Journal
}

func (h told) step(o Op, outcome Outcome, found Content) {
	o.Key = "k"
	handle := h.j.Send(o)
	time.Sleep(time.Millisecond)
	h.j.Answer(handle, outcome, found)
	time.Sleep(time.Millisecond)
}

func (h told) put(id uint64, outcome Outcome) {
	h.step(Op{Kind: Put, Content: Content{ID: id, Size: 100}}, outcome, Content{})
}

func (h told) delete(outcome Outcome) { h.step(Op{Kind: Delete}, outcome, Content{}) }

func (h told) get(id uint64) {
	found := Content{ID: id, Size: 100}
	if id == 0 {
		found = Content{}
	}
	h.step(Op{Kind: Get}, OK, found)
}

// judged is how many violations each of the two finds in the epoch that ends.
func (h told) judged(t *testing.T) (acknowledged, linear int) {
	t.Helper()
	e := h.j.Cut()
	broken, undecided := Linear(&e, time.Minute)
	require.Empty(t, undecided)
	return len(Acknowledged(&e)), len(broken)
}

// A put in doubt that a get has found has happened, and does not happen again: what was
// acknowledged after it is lost if it is found once more, in this epoch or a later one.
func TestAFoundPutDoesNotHappenAgain(t *testing.T) {
	for _, cut := range []bool{false, true} {
		h := told{NewJournal()}
		h.put(1, Doubt)
		h.get(1)
		h.put(2, OK)
		h.get(2)
		if cut {
			a, l := h.judged(t)
			require.Zero(t, a+l)
			h.get(2)
		}
		h.get(1)
		a, l := h.judged(t)
		require.Equal(t, 1, a, "cut %v", cut)
		require.Equal(t, 1, l, "cut %v", cut)
	}
}

// One that nobody has found may come later.
func TestAPutInDoubtMayComeLate(t *testing.T) {
	h := told{NewJournal()}
	h.put(1, Doubt)
	h.put(2, OK)
	h.get(2)
	a, l := h.judged(t)
	require.Zero(t, a+l)
	h.put(3, OK)
	h.get(1)
	a, l = h.judged(t)
	require.Zero(t, a+l)
}

// A delete in doubt may happen in the next epoch, and not for ever: it would hide every loss.
func TestADeleteInDoubtDoesNotHideLossesForEver(t *testing.T) {
	h := told{NewJournal()}
	h.delete(Doubt)
	for epoch := range uint64(5) {
		h.put(10+epoch, OK)
		h.get(0) // lost, or deleted late
		a, l := h.judged(t)
		if epoch < 2 {
			require.Zero(t, a+l)
			continue
		}
		require.Equal(t, 1, a, "epoch %d", epoch)
		require.Equal(t, 1, l, "epoch %d", epoch)
	}
	require.Zero(t, h.j.DoubtfulDeletes("k"))
}

func TestDeletesAcrossSettleAreCountedOnce(t *testing.T) {
	j := NewJournal()
	handle := j.Send(Op{Kind: Delete, Key: "k"})
	j.Connected(handle)
	require.Equal(t, 1, j.DoubtfulDeletes("k"))
	j.Settle()
	require.Zero(t, j.DoubtfulDeletes("k"))
	j.Answer(handle, OK, Content{})
	require.Zero(t, j.DoubtfulDeletes("k"))
	e := j.Cut()
	require.True(t, e.Wrote())
	e = j.Cut()
	require.False(t, e.Wrote())
}

// What goes out by a connection that was made after a process had ended may yet happen, in the
// next one.
func TestWhatIsSentAfterSettleIsTheNextProcesss(t *testing.T) {
	j := NewJournal()
	waits := j.Send(Op{Kind: Put, Key: "waits", Content: Content{ID: 1, Size: 100}})
	again := j.Send(Op{Kind: Delete, Key: "again"})
	gone := j.Send(Op{Kind: Put, Key: "gone", Content: Content{ID: 2, Size: 100}})
	refused := j.Send(Op{Kind: Put, Key: "refused", Content: Content{ID: 3, Size: 100}})
	j.Connected(again)
	j.Connected(gone)
	j.Settle()
	require.Equal(t, map[string]bool{"waits": true, "refused": true}, j.InDoubt())
	require.Zero(t, j.DoubtfulDeletes("again"))
	j.Connected(waits)
	j.Connected(again)
	require.Equal(t, 1, j.DoubtfulDeletes("again"))
	for _, handle := range []int{waits, again, gone} {
		j.Answer(handle, Doubt, Content{})
	}
	j.Answer(refused, Refused, Content{})
	require.Equal(t, map[string]bool{"waits": true, "again": true}, j.InDoubt())
	j.Settle()
	require.Empty(t, j.InDoubt())
	require.Zero(t, j.DoubtfulDeletes("again"))
}

func TestInDoubt(t *testing.T) {
	h := told{NewJournal()}
	h.get(0)
	require.Empty(t, h.j.InDoubt())
	h.put(1, OK)
	h.put(2, Refused)
	require.Empty(t, h.j.InDoubt())
	h.put(3, Doubt)
	require.Equal(t, map[string]bool{"k": true}, h.j.InDoubt())
	h.j.Settle()
	require.Empty(t, h.j.InDoubt())
}

// A server that holds more after each start grows, though no process lives long enough to show it.
func TestGrowthAcrossStarts(t *testing.T) {
	var same, more []Usage
	for i := range 30 {
		same = append(same, Usage{Process: i, RSS: 200 << 20, Descriptors: 40 + i%5})
		more = append(more, Usage{Process: i, RSS: int64(200+60*i) << 20, Descriptors: 40 + 10*i})
	}
	g := Growth{Memory: 1.5, MemorySlack: 96 << 20, Descriptors: 64}
	require.Empty(t, g.Check(same))
	broken := g.Check(more)
	require.Len(t, broken, 2)
	require.Contains(t, broken[0].What, "memory after a start grew from")
	require.Contains(t, broken[1].What, "open descriptors after a start grew from")
}
