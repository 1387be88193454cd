package object

import (
	"context"
	"crypto/md5"
	"io"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/internal/checksum"
)

// Put implements API. It is a ladder: admit the request, check its conditions
// before a byte is read, take the body, verify it, commit. A body that fits
// goes into the record; a larger one becomes a blob that the commit adopts.
func (s *Service) Put(ctx context.Context, in *PutInput) (PutOutput, error) {
	p := s.puts.Get().(*put)
	defer p.release()
	if err := p.climb(ctx, in); err != nil {
		return PutOutput{}, err
	}
	if err := p.commit(ctx); err != nil {
		p.lost = true
		return PutOutput{}, failed("putting an object", err)
	}
	return p.output(), nil
}

// climb takes every rung but the last.
func (p *put) climb(ctx context.Context, in *PutInput) error {
	if err := p.admit(in); err != nil {
		return err
	}
	if err := p.checkEarly(); err != nil {
		return err
	}
	if err := p.takeBody(ctx); err != nil {
		return err
	}
	if err := verify(&p.digest, in.ContentMD5, &in.Checksum, in.ChecksumTrailer); err != nil {
		return err
	}
	p.describe()
	return nil
}

// PutResult is what came of one of PutMany's.
type PutResult struct {
	PutOutput
	Err error
}

// PutMany is Put for each of in, in order, with one wait for all: each stands
// or falls by itself. Of two of the same key the later one is the newer.
func (s *Service) PutMany(ctx context.Context, in []*PutInput) []PutResult {
	type queued struct {
		put  *put
		done backend.Pending
	}
	out := make([]PutResult, len(in))
	all := make([]queued, len(in))
	for i := range in {
		p := s.puts.Get().(*put)
		all[i].put = p
		if out[i].Err = p.climb(ctx, in[i]); out[i].Err != nil {
			continue
		}
		done, err := p.enqueue(ctx, p.runPut)
		if err != nil {
			out[i].Err = failed("putting an object", err)
			continue
		}
		all[i].done = done
	}
	for i, q := range all {
		if q.done != nil {
			if err := q.done.Wait(ctx); err != nil {
				q.put.lost = true
				out[i].Err = failed("putting an object", err)
			} else {
				out[i].PutOutput = q.put.output()
			}
		}
		q.put.release()
	}
	return out
}

// CheckPut implements API.
func (s *Service) CheckPut(ctx context.Context, bucket, key string, c Conditions) error {
	b, err := s.bucket(bucket)
	if err != nil {
		return err
	}
	if err := checkKey(key); err != nil {
		return err
	}
	return s.checkWrite(b, key, &c)
}

// checkWrite evaluates a write's conditions against what is durable now. The
// commit evaluates them again.
func (s *Service) checkWrite(b *bucket, key string, c *Conditions) error {
	if !c.forWrites() {
		return nil
	}
	e, ok, err := s.backend.Get(appendCurrentKey(nil, b.id, key), nil)
	if err != nil {
		return failed("checking conditions", err)
	}
	var m meta
	if ok {
		if err := decodeCurrent(&m, &e); err != nil {
			return failed("checking conditions", err)
		}
	}
	return c.forWrite(&m, ok)
}

// A write publishes one version: the last rung of Put, Copy and Complete.
type write struct {
	s          *Service
	slot       slot
	conditions *Conditions
	meta       meta
	content    content
	staged     backend.StagedBlob // adopted by the commit, discarded without it
	also       func(*slot) error  // what else the transaction checks and changes
	alsoLocks  []byte             // and what it must hold for that

	locks [2][]byte
	seq   uint64     // of the commit
	state Versioning // of the bucket at the commit
}

func (w *write) begin(b *bucket, key string) {
	w.slot.bucket, w.slot.key = b, key
	w.slot.curKey = appendCurrentKey(w.slot.curKey[:0], b.id, key)
}

// run is the transaction.
func (w *write) run(tx backend.Tx) error {
	k := &w.slot
	if err := k.open(tx); err != nil {
		return err
	}
	if w.also != nil { // first: a Complete that is repeated meets no condition
		if err := w.also(k); err != nil {
			return err
		}
	}
	if err := w.conditions.forWrite(&k.cur, k.has); err != nil {
		return err
	}
	if w.staged != nil {
		tx.AdoptBlob(w.staged)
	}
	w.seq, w.state = tx.Seq(), k.state.versioning
	return k.publish(&w.meta, w.content)
}

// update runs the transaction, given as run so that a pooled write makes no closure for it.
func (w *write) update(ctx context.Context, run func(backend.Tx) error) error {
	return w.s.backend.Update(ctx, w.names(), run)
}

func (w *write) enqueue(ctx context.Context, run func(backend.Tx) error) (backend.Pending, error) {
	return w.s.backend.Enqueue(ctx, w.names(), run)
}

// names are what the transaction depends on.
func (w *write) names() backend.Locks {
	w.locks[0] = w.slot.curKey
	locks := backend.Locks{Shared: w.slot.bucket.lock, Exclusive: w.locks[:1]}
	if w.alsoLocks != nil {
		w.locks[1] = w.alsoLocks
		locks.Exclusive = w.locks[:2]
	}
	return locks
}

func (w *write) output() PutOutput {
	out := PutOutput{ETag: w.meta.etag(), Size: w.meta.size, Checksum: w.meta.checksum(), Modified: w.meta.time()}
	switch w.state {
	case Enabled:
		out.VersionID = formatVersionID(w.seq)
	case Suspended:
		out.VersionID = nullID
	}
	return out
}

// put is one Put on its way up the ladder. Pooled: its buffers stay with it.
type put struct {
	write
	in       *PutInput
	headers  Headers
	digest   digest
	body     *buffer
	sections []byte
	one      [1]byte
	lost     bool // the commit failed: the backend may still write into meta
	runPut   func(backend.Tx) error
}

func newPut(s *Service) *put {
	p := &put{}
	p.s = s
	p.runPut = p.run
	return p
}

// release discards what no commit took over.
func (p *put) release() {
	if p.staged != nil {
		p.staged.Discard()
	}
	p.body.release()
	if p.lost && p.content.md5 != nil {
		return
	}
	s := p.s
	*p = put{
		write:    write{s: s, slot: slot{curKey: p.slot.curKey[:0], scratch: p.slot.scratch[:0]}},
		sections: p.sections[:0],
		runPut:   p.runPut,
	}
	s.puts.Put(p)
}

// admit refuses what is wrong by itself.
func (p *put) admit(in *PutInput) error {
	b, err := p.s.bucket(in.Bucket)
	if err != nil {
		return err
	}
	if err := checkKey(in.Key); err != nil {
		return err
	}
	if in.Body == nil && in.Size != 0 {
		return errIncomplete
	}
	p.headers = in.Headers
	if err := checkHeaders(&p.headers); err != nil {
		return err
	}
	if err := checkTags(in.Tags, MaxObjectTags); err != nil {
		return err
	}
	if in.Size > MaxPutSize {
		return errTooLarge
	}
	p.in, p.conditions = in, &in.Conditions
	p.begin(b, in.Key)
	return checkExpected(in.ContentMD5, &in.Checksum)
}

func (p *put) checkEarly() error { return p.s.checkWrite(p.slot.bucket, p.in.Key, p.conditions) }

// takeBody reads the body whole, into memory or into a blob.
func (p *put) takeBody(ctx context.Context) (err error) {
	inline := p.s.backend.MaxInline()
	if p.in.Size > inline {
		return p.stage(ctx, nil, p.in.Size)
	}
	if p.in.Size >= 0 {
		return p.takeInline(p.in.Size)
	}
	if err := p.gather(inline + 1); err != nil {
		return err
	}
	if int64(len(p.content.body)) > inline {
		return p.stage(ctx, p.content.body, -1)
	}
	p.digestBody()
	return nil
}

// takeInline reads a small body of known size.
func (p *put) takeInline(size int64) error {
	if size > 0 {
		p.body = getBuffer(size)
		p.content.body = p.body.b[:size]
		n, _, err := fill(p.in.Body, p.content.body)
		if err != nil {
			return err
		}
		if int64(n) < size {
			return errIncomplete
		}
	}
	if p.in.Body != nil {
		if err := expectEnd(p.in.Body, p.one[:], errExcess); err != nil {
			return err
		}
	}
	p.digestBody()
	return nil
}

// digestBody computes the sums of a body that is in memory. Its MD5 may be left to the
// commit, which computes it together with others', unless the client said what it is.
func (p *put) digestBody() {
	body, d := p.content.body, &p.digest
	d.size, d.sum.algorithm = int64(len(body)), p.in.Checksum.Algorithm
	checksum.Append(d.sum.value[:0], d.sum.algorithm, body)
	if p.in.ContentMD5 == nil && checksum.MayWait(len(body)) {
		p.content.md5 = &p.meta.md5
		return
	}
	d.md5 = checksum.MD5(body)
}

// gather reads a body of unknown size until its end, or until there are limit bytes.
func (p *put) gather(limit int64) error {
	p.body = getBuffer(smallestBuffer)
	for n := 0; ; {
		m, ended, err := fill(p.in.Body, p.body.b[n:min(int64(len(p.body.b)), limit)])
		if err != nil {
			return err
		}
		n += m
		if p.content.body = p.body.b[:n]; ended || int64(n) == limit {
			return nil
		}
		wider := getBuffer(min(int64(len(p.body.b))*4, limit))
		copy(wider.b, p.content.body)
		p.body.release()
		p.body = wider
	}
}

// stage streams the body, of which head was read already, into a blob.
func (p *put) stage(ctx context.Context, head []byte, size int64) (err error) {
	id := backend.BlobID{Group: p.s.backend.NewBlobGroup()}
	p.staged, p.digest, err = p.s.stage(ctx, id, head, p.in.Body, size, p.in.Checksum.Algorithm)
	p.content.body = nil
	p.meta.flags |= flagBlob
	p.meta.blob = id
	return err
}

// describe makes the version's metadata.
func (p *put) describe() {
	owner := p.in.Owner
	if owner == p.slot.bucket.owner {
		owner = ""
	}
	p.sections = appendSections(p.sections, &p.headers, owner, p.in.Tags)
	p.meta.sections = p.sections
	p.meta.modified = p.s.now()
	p.digest.describe(&p.meta)
}

func (p *put) commit(ctx context.Context) error { return p.update(ctx, p.runPut) }

// digest is what is known of a body after it was read once.
type digest struct {
	size int64
	md5  [md5.Size]byte
	sum  sum
}

func (d *digest) describe(m *meta) {
	m.size, m.md5 = d.size, d.md5
	m.setChecksum(d.sum)
}

// checkExpected refuses expectations that no body could meet.
func checkExpected(contentMD5 []byte, c *Checksum) error {
	if contentMD5 != nil && len(contentMD5) != md5.Size {
		return refuse(InvalidDigest, "The Content-MD5 you specified is not valid")
	}
	if !c.Algorithm.Valid() {
		return refuse(InvalidRequest, "Checksum algorithm provided is unsupported")
	}
	if len(c.Value) > 0 && len(c.Value) != c.Algorithm.Size() {
		return refuse(InvalidRequest, "Value for "+c.Algorithm.Header()+" header is invalid.")
	}
	return nil
}

// verify compares a body with what the client said of it, which a trailer says
// only after the body's end.
func verify(d *digest, contentMD5 []byte, c *Checksum, trailer func() ([]byte, error)) error {
	if contentMD5 != nil && string(contentMD5) != string(d.md5[:]) {
		return refuse(BadDigest, "The Content-MD5 you specified did not match what we received")
	}
	want := c.Value
	if trailer != nil {
		var err error
		if want, err = trailer(); err != nil {
			return err
		}
		if c.Algorithm != NoChecksum && len(want) != c.Algorithm.Size() {
			return refuse(InvalidRequest, "Value for "+c.Algorithm.Header()+" trailing header is invalid.")
		}
	}
	if len(want) > 0 && string(want) != string(d.sum.bytes()) {
		return refuse(BadDigest, "The "+c.Algorithm.String()+" you specified did not match the calculated checksum.")
	}
	return nil
}

// stage streams head and then body into a blob. MD5, which is slower than any
// drive here, runs beside the reading, the writing and the sync. The caller adopts
// or discards the blob.
func (s *Service) stage(ctx context.Context, id backend.BlobID, head []byte, body io.Reader, size int64, a ChecksumAlgorithm) (staged backend.StagedBlob, d digest, err error) {
	w, err := s.backend.StageBlob(ctx, id, size)
	if err != nil {
		return nil, d, failed("staging a body", err)
	}
	defer w.Abort() // when nothing is hashed any more
	h := startHashing(a)
	defer h.finish(&d)
	if d.size, err = pump(ctx, w, h, head, body, size); err == nil {
		if staged, err = w.Finish(); err != nil {
			err = failed("staging a body", err)
		}
	}
	return staged, d, err
}

// pump reads into the writer's memory, where one chunk is hashed while the next one comes.
func pump(ctx context.Context, w backend.BlobWriter, h *hashing, head []byte, body io.Reader, size int64) (total int64, err error) {
	limit, more := int64(MaxPutSize), error(errTooLarge)
	if size >= 0 {
		limit, more = size, errExcess
	}
	if len(head) > 0 {
		h.add(head)
		if _, err := w.Write(head); err != nil {
			return 0, failed("staging a body", err)
		}
		total = int64(len(head))
	}
	for total < limit {
		if err := ctx.Err(); err != nil {
			return total, err
		}
		room := w.Room()
		n, ended, err := fill(body, room[:min(int64(len(room)), limit-total)])
		if err != nil {
			return total, err
		}
		total += int64(n)
		h.add(room[:n])
		if err := w.Took(n); err != nil {
			return total, failed("staging a body", err)
		}
		if ended {
			if total < size {
				return total, errIncomplete
			}
			return total, nil
		}
	}
	return total, expectEnd(body, h.past[:], more)
}

// hashing computes a digest in a goroutine of its own, one chunk at a time.
type hashing struct {
	sums   *checksum.Multi
	a      ChecksumAlgorithm
	chunks chan []byte
	hashed chan struct{}
	busy   bool
	past   [1]byte // what comes past the body's end
}

func startHashing(a ChecksumAlgorithm) *hashing {
	h := &hashing{sums: checksum.GetMulti(true, a), a: a, chunks: make(chan []byte), hashed: make(chan struct{})}
	go func() {
		for c := range h.chunks {
			h.sums.Write(c)
			h.hashed <- struct{}{}
		}
	}()
	return h
}

// add borrows the chunk until the next add or finish, for the one before it has been
// hashed when add returns.
func (h *hashing) add(chunk []byte) {
	if len(chunk) == 0 {
		return
	}
	h.wait()
	h.busy = true
	h.chunks <- chunk
}

func (h *hashing) wait() {
	if h.busy {
		<-h.hashed
		h.busy = false
	}
}

func (h *hashing) finish(d *digest) {
	h.wait()
	close(h.chunks)
	h.sums.AppendMD5(d.md5[:0])
	d.sum.algorithm = h.a
	h.sums.AppendSum(d.sum.value[:0], h.a)
	h.sums.Release()
}
