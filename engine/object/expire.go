package object

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/cairnstore/cairn/engine/backend"
)

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// Swept says what one round of the background duty came to.
type Swept struct {
	Aborted   int // uploads idle for too long
	Forgotten int // answers of Complete
	Purged    int // uploads of deleted buckets
}

// sweepUntil sweeps now, for what a crash left over, and at intervals.
func (s *Service) sweepUntil(ctx context.Context) {
	defer close(s.done)
	if s.o.SweepEvery < 0 {
		return
	}
	tick := time.NewTicker(s.o.SweepEvery)
	defer tick.Stop()
	last := time.Now()
	clock := trust{from: last.Add(settling * s.o.SweepEvery), hold: max(s.o.UploadExpiry, s.o.CompleteMemory)}
	for {
		now := time.Now()
		trusted := clock.at(now, stepped(last, now))
		last = now
		swept, err := s.sweep(ctx, trusted)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.o.Logger.Warn("sweep failed; the next one tries again", "error", err)
		case swept != Swept{}:
			s.o.Logger.Info("swept", "uploads_aborted", swept.Aborted, "answers_forgotten", swept.Forgotten, "uploads_purged", swept.Purged)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

const (
	// settling is after how many rounds a process judges what is old.
	settling = 10
	// mostStep is by how much a clock is set that only keeps up with others.
	mostStep = time.Minute
)

// trust says whether what is old may be judged by the clock. That of a machine that has just
// started may be wrong until somebody sets it, and what was swept by it is gone; and what
// was stamped by it before then looks older, or younger, than it is.
type trust struct {
	from time.Time
	hold time.Duration // how long stamps from before the clock was set are not believed
}

func (t *trust) at(now time.Time, step time.Duration) bool {
	if step.Abs() >= mostStep {
		t.from = now.Add(t.hold)
	}
	return !now.Before(t.from)
}

// stepped is by how much the time of day was set between two times of the same process.
func stepped(from, to time.Time) time.Duration {
	return to.Round(0).Sub(from.Round(0)) - to.Sub(from)
}

// Sweep frees the uploads of deleted buckets, forgets old answers of Complete,
// and aborts uploads that were idle for too long. It is driven by records in the
// order of time, so that a sweep with nothing to do costs three look-ups.
func (s *Service) Sweep(ctx context.Context) (swept Swept, err error) { return s.sweep(ctx, true) }

// sweep leaves what is too old where old is false.
func (s *Service) sweep(ctx context.Context, old bool) (swept Swept, err error) {
	if swept.Purged, err = s.sweepPurges(ctx); err != nil {
		return swept, failed("purging", err)
	}
	if !old {
		return swept, nil
	}
	if swept.Forgotten, err = s.sweepAnswers(ctx); err != nil {
		return swept, failed("forgetting", err)
	}
	if s.o.UploadExpiry > 0 {
		swept.Aborted, err = s.sweepIdle(ctx)
	}
	return swept, failed("aborting idle uploads", err)
}

// sweepBatch is how many records one step reads before it writes.
const sweepBatch = 1000

// firstKeys returns copies of at most sweepBatch entries of [lower, upper).
func (s *Service) firstKeys(lower, upper []byte) (entries []backend.Entry, err error) {
	it, err := s.backend.Iter(lower, upper)
	if err != nil {
		return nil, err
	}
	defer it.Close()
	for len(entries) < sweepBatch && it.Next() {
		e := it.Entry()
		entries = append(entries, backend.Entry{Key: bytes.Clone(e.Key), Value: bytes.Clone(e.Value)})
	}
	return entries, it.Err()
}

// due walks the records of a time-ordered family up to a time, in batches that
// do removes or moves on.
func (s *Service) due(ctx context.Context, family byte, until int64, do func([]backend.Entry) error) error {
	if until <= 0 {
		return nil
	}
	lower, upper := []byte{family}, appendTimeKey(nil, family, until, 0)
	for {
		entries, err := s.firstKeys(lower, upper)
		if err != nil || len(entries) == 0 {
			return err
		}
		if err := do(entries); err != nil {
			return err
		}
		lower = append(entries[len(entries)-1].Key, 0)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

func (s *Service) sweepAnswers(ctx context.Context) (n int, err error) {
	err = s.due(ctx, familyDoneTime, s.now()-s.o.CompleteMemory.Milliseconds(), func(entries []backend.Entry) error {
		n += len(entries)
		return s.backend.Update(ctx, backend.Locks{}, func(tx backend.Tx) error {
			for i := range entries {
				_, group, err := splitTimeKey(entries[i].Key)
				if err != nil {
					return err
				}
				tx.Delete(entries[i].Key)
				tx.Delete(appendDoneKey(nil, group))
			}
			return nil
		})
	})
	return n, err
}

// errStillActive: the upload got a part since its idle record was written.
var errStillActive = errors.New("object: upload is active")

func (s *Service) sweepIdle(ctx context.Context) (n int, err error) {
	until := s.now() - s.o.UploadExpiry.Milliseconds()
	var full error
	err = s.due(ctx, familyIdle, until, func(entries []backend.Entry) error {
		for i := range entries {
			aborted, err := s.abortIdle(ctx, &entries[i], until)
			if errors.Is(err, backend.ErrFull) {
				full = err // its record can't be moved; those that are idle give back room
				continue
			}
			if err != nil {
				return err
			}
			if aborted {
				n++
			}
		}
		return nil
	})
	return n, errors.Join(err, full)
}

// abortIdle aborts the upload of an idle record, or moves the record to where
// the upload's last part puts it.
func (s *Service) abortIdle(ctx context.Context, idle *backend.Entry, until int64) (aborted bool, err error) {
	at, group, err := splitTimeKey(idle.Key)
	if err != nil {
		return false, err
	}
	bucket, key, err := decodeIdle(idle.Value)
	if err != nil {
		return false, err
	}
	active := at
	err = s.abort(ctx, bucket, key, group, func(tx backend.Tx, u *upload) error {
		if active, err = lastPart(tx, u); err != nil {
			return err
		}
		if active >= until {
			return errStillActive
		}
		return nil
	})
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, errStillActive):
		return false, s.moveIdle(ctx, bucket, key, group, active)
	case errors.Is(err, errNoSuchUpload):
		return false, nil
	}
	return false, err
}

// lastPart returns when the upload last got a part, or was known to be active.
func lastPart(tx backend.Tx, u *upload) (last int64, err error) {
	last = u.active
	err = eachPart(tx, u.group, func(e *backend.Entry) error {
		var p part
		if err := decodePart(&p, 0, e.Value); err != nil {
			return err
		}
		last = max(last, p.modified)
		return nil
	})
	return last, err
}

func (s *Service) moveIdle(ctx context.Context, bucket uint64, key string, group uint64, active int64) error {
	locks := backend.Locks{Exclusive: [][]byte{appendUploadKey(nil, bucket, key, group)}}
	err := s.backend.Update(ctx, locks, func(tx backend.Tx) error {
		u, err := getUpload(tx, bucket, key, group)
		if err != nil || u.active == active {
			return err
		}
		tx.Delete(appendTimeKey(nil, familyIdle, u.active, group))
		u.active = active
		u.put(tx, bucket)
		return nil
	})
	if errors.Is(err, errNoSuchUpload) {
		return nil
	}
	return err
}

func (s *Service) sweepPurges(ctx context.Context) (n int, err error) {
	for {
		entries, err := s.firstKeys([]byte{familyPurge}, []byte{familyPurge + 1})
		if err != nil || len(entries) == 0 {
			return n, err
		}
		for i := range entries {
			if len(entries[i].Key) != bucketPrefixLen {
				return n, errBadKey
			}
			m, err := s.purge(ctx, binary.BigEndian.Uint64(entries[i].Key[1:]))
			n += m
			if err != nil {
				return n, err
			}
		}
	}
}

// purge aborts the uploads of a deleted bucket, then removes its purge record.
func (s *Service) purge(ctx context.Context, bucket uint64) (n int, err error) {
	lower := appendFamily(nil, familyUpload, bucket)
	upper := prefixEnd(bytes.Clone(lower))
	for {
		entries, err := s.firstKeys(lower, upper)
		if err != nil {
			return n, err
		}
		if len(entries) == 0 {
			return n, s.backend.Update(ctx, backend.Locks{}, func(tx backend.Tx) error {
				tx.Delete(appendPurgeKey(nil, bucket))
				return nil
			})
		}
		for i := range entries {
			key, group, err := splitEscaped(entries[i].Key, nil)
			if err != nil {
				return n, err
			}
			if err := s.abort(ctx, bucket, string(key), group, nil); err == nil {
				n++
			} else if !errors.Is(err, errNoSuchUpload) {
				return n, err
			}
		}
	}
}
