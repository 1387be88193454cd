package store

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"
)

// maxVictims that something lives in share one flush of the index. What is dead costs
// nothing else, and shares it beside them, so that mostVictims do.
const (
	maxVictims  = 8
	mostVictims = 64
)

// victimsRest is how long a victim that could not be emptied twice is none, while as much
// of it is live: that is little, and it would be among the first ones again.
const victimsRest = 10 * time.Minute

// victims are the segments most worth emptying, worst first, none of them with
// an ordinal after last or of those that were tried.
func (s *Store) victims(last uint64, tried map[*segment]bool) []*segment {
	applied := s.applier.reached()
	threshold := s.opt.CompactGarbage
	if s.refusing.Load() {
		threshold = min(threshold, 0.1)
	}
	limit := s.moveLimit()
	var logs, bulks []victim
	all := s.segs.all()
	for _, g := range all {
		if g.ordinal > last || tried[g] || g.kind == logSegment && g.ordinal >= applied.segment {
			continue
		}
		g.mu.Lock()
		live := g.mu.live
		dead := live == 0 && (g.mu.tombs == 0 || g.kind == bulkSegment)
		ok := g.mu.sealed && g.mu.staged == 0 && (!g.mu.bad || dead)
		if g.mu.left == live && time.Now().Before(g.mu.rests) {
			ok = false
		}
		if g.mu.tombs > 0 && olderThan(all, g, g.guard(g.mu.guard)) {
			live += g.mu.tombs
		}
		g.mu.Unlock()
		switch {
		case !ok || 1-float64(live)/float64(g.size) < threshold:
		case g.kind == bulkSegment:
			if cost := s.coldBulkSize(live); dead || !s.refusing.Load() || gains(cost, g.size) && cost+s.coldSize(0) <= limit {
				bulks = append(bulks, victim{g, live, dead})
			}
		default:
			logs = append(logs, victim{g, live, dead})
		}
	}
	leastLive := func(a, b victim) int { return cmp.Compare(a.live, b.live) }
	slices.SortFunc(logs, leastLive)
	slices.SortFunc(bulks, leastLive)
	round := append(s.worthwhile(logs), bulks...)
	slices.SortStableFunc(round, func(a, b victim) int { // the others may find no room
		switch {
		case a.dead == b.dead:
			return 0
		case a.dead:
			return -1
		}
		return 1
	})
	var out []*segment
	for _, v := range ofOneRound(round) {
		out = append(out, v.g)
	}
	return out
}

// reclaimAtStart empties log segments that are mostly empty, where several fit into
// one. Each start leaves a segment that was hardly begun, and a server that dies again
// and again before the background duty's first round would fill the drive with them.
// It goes on in small steps until a start has waited for it long enough.
func (s *Store) reclaimAtStart(ctx context.Context) {
	if s.opt.CompactEvery < 0 || len(s.mostlyEmpty()) == 0 {
		return
	}
	start := time.Now()
	if err := s.catchUp(); err != nil { // what was replayed is not counted yet
		return
	}
	s.compactM.Lock()
	defer s.compactM.Unlock()
	c := s.newCompactor(ctx)
	c.hurry = true
	n := 0
	for victims := s.mostlyEmpty(); len(victims) > 0 && time.Since(start) < reclaimWait; victims = s.mostlyEmpty() {
		emptied, err := c.round(victims)
		if err = errors.Join(err, c.sealCold()); err != nil {
			if ctx.Err() == nil {
				s.logger.Error("reclaim segments of earlier starts", "err", err) // later rounds come to them
			}
			return
		}
		if emptied == 0 {
			break
		}
		n += emptied
	}
	s.logger.Info("reclaimed segments of earlier starts", "segments", n, "seconds", time.Since(start).Seconds())
}

// reclaimStep is how many segments are emptied into one at a start.
const reclaimStep = 4

// mostlyEmpty are the log and cold segments that have nothing in use, or else those
// that have the least, if so many of them fit into one.
func (s *Store) mostlyEmpty() (out []*segment) {
	applied := s.applier.reached()
	var all []victim
	for _, g := range s.segs.all() {
		if g.kind == bulkSegment || g.kind == logSegment && g.ordinal >= applied.segment {
			continue
		}
		g.mu.Lock()
		if used := g.mu.live + g.mu.tombs; g.mu.sealed && g.mu.staged == 0 && (!g.mu.bad || used == 0) {
			all = append(all, victim{g: g, live: used})
		}
		g.mu.Unlock()
	}
	if len(all) < reclaimStep {
		return nil
	}
	slices.SortFunc(all, func(a, b victim) int { return cmp.Compare(a.live, b.live) })
	if all[1].live == 0 { // costs next to nothing
		for _, v := range all {
			if v.live == 0 {
				out = append(out, v.g)
			}
		}
		return out
	}
	// Short segments have the least in use, and may be too few to be worth one.
	for limit := s.moveLimit(); len(all) >= reclaimStep; all = all[1:] {
		var live, size int64
		for _, v := range all[:reclaimStep] {
			live += v.live
			size += v.g.size
		}
		if live > s.movedRoom() {
			break
		}
		if cost := s.moveCost(live); gains(cost, size) && cost <= limit {
			for _, v := range all[:reclaimStep] {
				out = append(out, v.g)
			}
			break
		}
	}
	return out
}

type victim struct {
	g    *segment
	live int64
	dead bool // emptying it is nothing to do
}

// ofOneRound are as many of them, from the first on, as may share a round.
func ofOneRound(all []victim) []victim {
	living := 0
	for i, v := range all {
		if !v.dead {
			living++
		}
		if living > maxVictims || i == mostVictims {
			return all[:i]
		}
	}
	return all
}

// worthwhile is a run of victims that take less when they are moved: the rest would only
// move about, and be victims again. On a full drive there has to be room for that beside
// them. Short segments have the least in use, and may be too few to be worth one: they are
// passed over then.
func (s *Store) worthwhile(logs []victim) []victim {
	for limit := s.moveLimit(); len(logs) > 0; logs = logs[1:] {
		if n := s.worthwhileRun(logs, limit); n > 0 {
			return logs[:n]
		}
	}
	return nil
}

// worthwhileRun is how many of logs, from the first on, are the longest such run.
func (s *Store) worthwhileRun(logs []victim, limit int64) (best int) {
	var live, size int64
	for i, v := range ofOneRound(logs) {
		live += v.live
		size += v.g.size
		cost := s.moveCost(live)
		if cost > limit {
			break
		}
		if gains(cost, size) {
			best = i + 1
		}
	}
	return best
}

// guard is what a delete's guard comes to in g. It was read when the delete was queued,
// and an older record of the key may have been queued before and placed after that: in
// the log, where the delete is, at the latest.
func (g *segment) guard(guard uint64) uint64 {
	if g.kind == logSegment {
		return max(guard, g.ordinal)
	}
	return guard
}

// olderThan reports whether a log or cold segment other than g may hold records
// that a delete with this guard hides.
func olderThan(all []*segment, g *segment, guard uint64) bool {
	for _, o := range all {
		if o != g && o.kind != bulkSegment && o.ordinal <= guard {
			return true
		}
	}
	return false
}
