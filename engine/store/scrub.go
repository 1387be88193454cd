package store

import (
	"context"
	"errors"
	"time"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/disk"
)

// scrubForever reads every sealed segment at a steady rate, again and again, so
// that a block which has gone bad is known before it is needed.
func (s *Store) scrubForever(ctx context.Context) {
	for {
		if err := s.Scrub(ctx, s.opt.ScrubRate); err != nil && ctx.Err() == nil {
			s.logger.Error("scrub", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(10 * time.Minute):
		}
	}
}

// Scrub reads and verifies every segment once, but for those that the log and
// compaction are writing, at rate bytes a second
// (0: unbounded). What it finds is in the log, in Stats and quarantined.
func (s *Store) Scrub(ctx context.Context, rate int64) error {
	p := &compactor{s: s, ctx: ctx}
	pay := func(n int64) {
		s.stats.scrubbed.Add(n)
		if rate <= 0 {
			return
		}
		if now := time.Now(); p.paid.Before(now) {
			p.paid = now
		}
		p.paid = p.paid.Add(time.Duration(float64(n) / float64(rate) * float64(time.Second)))
		select {
		case <-time.After(time.Until(p.paid)):
		case <-ctx.Done():
		}
	}
	for _, g := range s.segs.all() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		g.mu.Lock()
		skip := !g.mu.sealed && g.kind != bulkSegment // of a bulk segment only what the index has is read
		g.mu.Unlock()
		if skip {
			continue
		}
		h, err := s.segs.pin(g.ordinal)
		if err != nil {
			continue
		}
		_, err = s.verifySegment(ctx, h, pay)
		s.segs.unpin(h)
		if err != nil {
			return err
		}
	}
	return nil
}

// verifySegment checks what the index points to in a segment; bad counts what
// failed.
func (s *Store) verifySegment(ctx context.Context, g *segment, pay func(int64)) (bad int, err error) {
	g.mu.Lock()
	sealed := g.mu.sealed
	g.mu.Unlock()
	if sealed { // nobody else needs the descriptor
		defer disk.CloseDirect(g.file)
	}
	if s.verifyHeader(g) {
		bad++
	}
	if g.kind == bulkSegment {
		n, err := s.verifyBulk(ctx, g, pay)
		return bad + n, err
	}
	rows, err := readTable(g)
	if errors.Is(err, errInvalid) {
		if g.kind == logSegment || hasFooter(g) {
			bad++
			_ = s.quarantine(g, g.size-tableFooter, "table") // counted and logged
		}
		rows, err = scanRows(g, false)
	}
	if err != nil {
		return 1, s.readFailed(g, 0, err)
	}
	from := sweep{g: g}
	for _, row := range rows {
		if ctx.Err() != nil {
			return bad, ctx.Err()
		}
		h, _, n, err := from.group(int64(row.offset))
		if row.metaLen&tentative != 0 && (err != nil || n > 0) {
			continue
		}
		switch {
		case errors.Is(err, errInvalid):
			bad++
			_ = s.quarantine(g, int64(row.offset), "group") // counted and logged
		case err != nil:
			bad++
			_ = s.readFailed(g, int64(row.offset), err)
		case n > 0:
			bad += n
			_ = s.quarantine(g, int64(row.offset), "body")
		}
		pay(h.size())
	}
	return bad, nil
}

// verifyHeader reports whether a copy of the header is bad. What is in the
// segment does not suffer by it, and may be moved.
func (s *Store) verifyHeader(g *segment) bool {
	b := make([]byte, blockSize)
	if _, err := g.file.ReadAt(b, 0); err != nil {
		_ = s.readFailed(g, 0, err) // counted and logged
		return true
	}
	if _, half, err := decodeHeaderBlock(b); err == nil && !half {
		return false
	}
	s.stats.corruptions.Add(1)
	s.logger.Error("checksum mismatch", "what", "header", "segment", g.ordinal, "file", g.name)
	return true
}

func (s *Store) verifyBulk(ctx context.Context, g *segment, pay func(int64)) (bad int, err error) {
	it, err := s.NewIter([]byte{blobPrefix}, []byte{blobPrefix + 1})
	if err != nil {
		return 0, err
	}
	var todo []struct {
		id backend.BlobID
		p  piece
	}
	for it.Next() {
		b, err := decodeBlob(it.Entry().Value)
		if err != nil {
			_ = it.Close()
			return 0, err
		}
		var at int64
		for _, x := range b.extents {
			if x.segment == g.ordinal {
				todo = append(todo, struct {
					id backend.BlobID
					p  piece
				}{decodeBlobKey(it.Entry().Key), piece{extent: x, seg: g, start: at, once: true}})
			}
			at += x.length
		}
	}
	if err := errors.Join(it.Err(), it.Close()); err != nil {
		return 0, err
	}
	buf := chunkBuffers.Get().(*disk.Buffer)
	defer chunkBuffers.Put(buf)
	for _, t := range todo {
		for off := t.p.start; off < t.p.start+t.p.length; {
			if ctx.Err() != nil {
				return bad, ctx.Err()
			}
			data, err := readChunk(s, t.p, t.id, off, t.p.start+t.p.length, buf.Bytes)
			if err != nil {
				bad++
				off = (off/chunkData + 1) * chunkData
				continue
			}
			off += int64(len(data))
			pay(int64(len(data)))
		}
	}
	return bad, nil
}
