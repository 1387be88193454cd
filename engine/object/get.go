package object

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"

	"github.com/cairnstore/cairn/engine/backend"
)

// Get implements API: look the version up, evaluate the conditions, choose the
// bytes, open them. A body that moved in between is looked up again.
func (s *Service) Get(ctx context.Context, in *GetInput) (*GetOutput, error) {
	return s.read(ctx, in, true, nil)
}

// Head implements API.
func (s *Service) Head(ctx context.Context, in *GetInput) (*GetOutput, error) {
	return s.read(ctx, in, false, nil)
}

// read also gives the tags of the very version that it opened, if asked for.
func (s *Service) read(ctx context.Context, in *GetInput, withBody bool, tags *[]Tag) (*GetOutput, error) {
	b, err := s.bucket(in.Bucket)
	if err != nil {
		return nil, err
	}
	if err := checkKey(in.Key); err != nil {
		return nil, err
	}
	l := lookups.Get().(*lookup)
	defer l.release()
	out := &GetOutput{}
	err = s.again(ctx, func() error {
		if err := l.find(s, b, in.Key, in.VersionID); err != nil {
			return err
		}
		if err := in.Conditions.forRead(&l.meta); err != nil {
			return withVersion(err, b.versionID(&l.meta))
		}
		if tags != nil {
			*tags = l.meta.sections.tags()
		}
		return s.open(l, b, in, withBody, out)
	})
	if err != nil {
		return nil, failed("getting an object", err)
	}
	return out, nil
}

// again repeats what found that something had changed since it was looked up.
func (s *Service) again(ctx context.Context, do func() error) error {
	for try := 0; ; try++ {
		err := ctx.Err()
		if err == nil {
			err = do()
		}
		if err == nil || try >= retries || !errors.Is(err, backend.ErrMoved) && !errors.Is(err, errChanged) {
			return err
		}
	}
}

func withVersion(err error, id string) error {
	if e, ok := err.(*Error); ok {
		e.VersionID = id
	}
	return err
}

// A lookup is one version as found, with the buffers for finding it. Pooled.
type lookup struct {
	meta  meta
	entry backend.Entry // whose body is the version's
	key   []byte
	buf   []byte
}

var lookups = sync.Pool{New: func() any { return new(lookup) }}

func (l *lookup) release() {
	l.meta, l.entry = meta{}, backend.Entry{}
	lookups.Put(l)
}

// get reads the record under l.key.
func (l *lookup) get(s *Service) (ok bool, err error) {
	l.entry, ok, err = s.backend.Get(l.key, l.buf[:0])
	if n := len(l.entry.Key) + len(l.entry.Value); ok && n > cap(l.buf) {
		l.buf = make([]byte, 0, 2*n)
	}
	return ok, err
}

// find looks a version up, the latest where id is empty.
func (l *lookup) find(s *Service, b *bucket, key, id string) error {
	switch id {
	case "":
		return l.findLatest(s, b, key)
	case nullID:
		return l.findNull(s, b, key)
	}
	seq, err := parseVersionID(id)
	if err != nil {
		return err
	}
	if err := l.findSeq(s, b, key, seq); err != nil {
		return err
	}
	if l.meta.is(flagNull) { // which goes by that name alone
		return errNoSuchVersion
	}
	return l.refuseMarker(id)
}

func (l *lookup) findCurrent(s *Service, b *bucket, key string) (bool, error) {
	l.key = appendCurrentKey(l.key[:0], b.id, key)
	ok, err := l.get(s)
	if err != nil || !ok {
		return false, err
	}
	return true, decodeCurrent(&l.meta, &l.entry)
}

func (l *lookup) findLatest(s *Service, b *bucket, key string) error {
	ok, err := l.findCurrent(s, b, key)
	if err != nil || ok {
		return err
	}
	if !b.versioned() {
		return errNoSuchKey
	}
	return hiddenBy(s, b, key)
}

// hiddenBy is the refusal for a key without a current version: there may be a
// delete marker to tell of.
func hiddenBy(s *Service, b *bucket, key string) error {
	lower := appendVersionsOf(nil, b.id, key)
	it, err := s.backend.Iter(lower, prefixEnd(bytes.Clone(lower)))
	if err != nil {
		return err
	}
	defer it.Close()
	if !it.Next() {
		if err := it.Err(); err != nil {
			return err
		}
		return errNoSuchKey
	}
	_, seq, err := splitVersionKey(it.Entry().Key, nil)
	if err != nil {
		return err
	}
	var m meta
	if err := decodeMeta(&m, it.Entry().Value, seq); err != nil {
		return err
	}
	if !m.is(flagMarker) {
		return errChanged
	}
	return &Error{Kind: NoSuchKey, Message: "The specified key does not exist.", DeleteMarker: true, VersionID: b.versionID(&m), LastModified: m.time()}
}

// findSeq looks among the versions.
func (l *lookup) findSeq(s *Service, b *bucket, key string, seq uint64) error {
	l.key = appendVersionKey(l.key[:0], b.id, key, seq)
	ok, err := l.get(s)
	if err != nil {
		return err
	}
	if !ok {
		return errNoSuchVersion
	}
	return decodeMeta(&l.meta, l.entry.Value, seq)
}

// findNull looks in the null version's two places. It may have moved from the
// second to the first meanwhile, so that not finding it counts only if the
// current record is still the same.
func (l *lookup) findNull(s *Service, b *bucket, key string) error {
	ok, err := l.findCurrent(s, b, key)
	if err != nil || ok && !l.meta.is(flagPointer) {
		return err
	}
	seqBefore := l.entry.Seq
	l.key = appendNullKey(l.key[:0], b.id, key)
	there, err := l.get(s)
	if err != nil {
		return err
	}
	if there {
		seq, err := decodeNull(&l.entry)
		if err != nil {
			return err
		}
		if err := l.findSeq(s, b, key, seq); errors.Is(err, errNoSuchVersion) {
			return errChanged
		} else if err != nil {
			return err
		}
		return l.refuseMarker(nullID)
	}
	if still, err := l.findCurrent(s, b, key); err != nil {
		return err
	} else if still != ok || still && l.entry.Seq != seqBefore {
		return errChanged
	}
	return errNoSuchVersion
}

// refuseMarker: a delete marker has no bytes and no metadata to give.
func (l *lookup) refuseMarker(id string) error {
	if !l.meta.is(flagMarker) {
		return nil
	}
	return &Error{Kind: MethodNotAllowed, Message: "The specified method is not allowed against this resource.",
		DeleteMarker: true, VersionID: id, LastModified: l.meta.time()}
}

// owner makes l.entry the record that owns the body, where that is another one.
func (l *lookup) owner(s *Service, b *bucket, key string) error {
	if !l.meta.is(flagPointer) || l.meta.is(flagBlob) {
		return nil
	}
	if err := l.findSeq(s, b, key, l.meta.seq); errors.Is(err, errNoSuchVersion) {
		return errChanged
	} else if err != nil {
		return err
	}
	return nil
}

func (m *meta) info(b *bucket, key string) Info {
	i := m.listed(b, key)
	i.Headers = m.sections.headers()
	i.Tags, _ = pairs(m.sections.get(sectionTags), nil)
	return i
}

// listed is info without what no list shows: of the headers only the storage class.
func (m *meta) listed(b *bucket, key string) Info {
	i := Info{
		Bucket: b.name, Key: key, Size: m.size, Modified: m.time(), VersionID: b.versionID(m),
		DeleteMarker: m.is(flagMarker), Parts: m.parts, Owner: b.owner, Checksum: m.checksum(),
	}
	if !m.is(flagMarker) {
		i.ETag = m.etag()
	}
	if owner := m.sections.get(sectionOwner); len(owner) > 0 {
		i.Owner = string(owner)
	}
	i.Headers.StorageClass = string(m.sections.get(sectionStorageClass))
	return i
}

// open chooses the bytes and opens them.
func (s *Service) open(l *lookup, b *bucket, in *GetInput, withBody bool, out *GetOutput) (err error) {
	size := l.meta.size
	*out = GetOutput{Info: l.meta.info(b, in.Key), Length: size}
	var parts *manifest
	if l.meta.is(flagMultipart) && (in.PartNumber > 0 || withBody) {
		if parts, err = s.manifest(l, b, in.Key); err != nil {
			return err
		}
	}
	switch {
	case in.PartNumber != 0:
		out.Partial = true
		err = out.choosePart(parts, in.PartNumber)
	case in.Range.Set && in.IfRange.holds(&l.meta):
		out.Partial = true
		out.Offset, out.Length, err = in.Range.resolve(size)
	}
	if err != nil || !withBody {
		return err
	}
	out.Body, err = s.openBody(l, b, in.Key, parts, out.Offset, out.Length)
	return err
}

// resolve returns which of size bytes are meant (RFC 9110, section 14.1.2).
func (r Range) resolve(size int64) (off, n int64, err error) {
	unsatisfiable := &Error{Kind: InvalidRange, Message: "The requested range is not satisfiable", Size: size}
	if r.First < 0 {
		if r.Last <= 0 || size == 0 {
			return 0, 0, unsatisfiable
		}
		n = min(r.Last, size)
		return size - n, n, nil
	}
	last := r.Last
	if last < 0 || last >= size {
		last = size - 1
	}
	if r.First >= size || last < r.First {
		return 0, 0, unsatisfiable
	}
	return r.First, last - r.First + 1, nil
}

// choosePart counts an object that is not multipart as one part.
func (out *GetOutput) choosePart(parts *manifest, number int) error {
	if parts == nil {
		if number != 1 {
			return errNoSuchPart
		}
		return nil
	}
	if number < 1 || number > len(parts.parts) {
		return errNoSuchPart
	}
	for i := range parts.parts[:number-1] {
		out.Offset += parts.parts[i].size
	}
	out.Length = parts.parts[number-1].size
	out.PartsCount = len(parts.parts)
	out.PartChecksum = parts.info(number - 1).Checksum
	return nil
}

// manifest reads that of a multipart object.
func (s *Service) manifest(l *lookup, b *bucket, key string) (*manifest, error) {
	body, err := s.openManifest(l, b, key)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	data := make([]byte, l.meta.manifest)
	if _, err := io.ReadFull(body, data); err != nil {
		return nil, err
	}
	m, err := decodeManifest(data, l.meta.blob.Group)
	if err == nil && (len(m.parts) != l.meta.parts || m.size() != l.meta.size) {
		err = errBadRecord
	}
	return m, err
}

func (s *Service) openManifest(l *lookup, b *bucket, key string) (backend.Body, error) {
	if l.meta.is(flagBlob) {
		return s.backend.OpenBlob(l.meta.blob, 0, l.meta.manifest)
	}
	if err := l.owner(s, b, key); err != nil {
		return nil, err
	}
	return s.backend.OpenBody(&l.entry, 0, l.meta.manifest)
}

func (s *Service) openBody(l *lookup, b *bucket, key string, parts *manifest, off, n int64) (io.ReadCloser, error) {
	switch {
	case n == 0:
		return noBody{}, nil
	case parts != nil:
		return openPieces(s.backend, parts.pieces(off, n))
	case l.meta.is(flagBlob):
		return s.backend.OpenBlob(l.meta.blob, off, n)
	}
	if err := l.owner(s, b, key); err != nil {
		return nil, err
	}
	return s.backend.OpenBody(&l.entry, off, n)
}

// noBody is the body of nothing.
type noBody struct{}

func (noBody) Read([]byte) (int, error)         { return 0, io.EOF }
func (noBody) WriteTo(io.Writer) (int64, error) { return 0, nil }
func (noBody) Close() error                     { return nil }

// pieceBody streams one blob of a group after the other. It holds the group, so that
// the object can be read to its end although it is overwritten or deleted meanwhile.
type pieceBody struct {
	backend backend.Backend
	release func()
	open    backend.Body // nil: none is
	rest    []piece      // not yet open
}

func openPieces(be backend.Backend, pieces []piece) (_ *pieceBody, err error) {
	release, err := be.HoldGroup(pieces[0].id.Group)
	if err != nil {
		return nil, err
	}
	p := &pieceBody{backend: be, release: release, rest: pieces}
	if err := p.openNext(); err != nil { // whoever asks too late is told before the first byte
		release()
		return nil, err
	}
	return p, nil
}

func (p *pieceBody) openNext() error {
	next := p.rest[0]
	body, err := p.backend.OpenBlob(next.id, next.off, next.n)
	if err != nil {
		return err
	}
	p.open, p.rest = body, p.rest[1:]
	return nil
}

// current returns the blob to read from, or io.EOF after the last.
func (p *pieceBody) current() (backend.Body, error) {
	if p.open == nil {
		if len(p.rest) == 0 {
			return nil, io.EOF
		}
		if err := p.openNext(); err != nil {
			return nil, failed("reading a part", err)
		}
	}
	return p.open, nil
}

func (p *pieceBody) finish() error {
	done := p.open
	p.open = nil
	return done.Close()
}

func (p *pieceBody) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		body, err := p.current()
		if err != nil {
			return 0, err
		}
		n, err := body.Read(b)
		if err == io.EOF {
			err = p.finish()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// WriteTo implements io.WriterTo by those of the blobs.
func (p *pieceBody) WriteTo(w io.Writer) (int64, error) {
	return p.each(func(b backend.Body) (int64, error) { return b.WriteTo(w) })
}

// each does the same with what is left of every blob, in order, and sums what it returns.
func (p *pieceBody) each(do func(backend.Body) (int64, error)) (total int64, err error) {
	for {
		body, err := p.current()
		if err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
		n, err := do(body)
		total += n
		if err == nil {
			err = p.finish()
		}
		if err != nil {
			return total, err
		}
	}
}

func (p *pieceBody) Close() (err error) {
	if p.open != nil {
		err = p.finish()
	}
	p.rest = nil
	p.release()
	return err
}

// Ahead has the backend bring in what a body would give, for another reader, and
// returns how many bytes that were. A body that can't, or is at hand anyway, is none.
// There is nothing to read from it afterwards.
func Ahead(ctx context.Context, body io.Reader) (int64, error) {
	if b, ok := body.(aheader); ok {
		return b.Ahead(ctx)
	}
	return 0, nil
}

// ReadsAhead reports whether Ahead can do something for a body.
func ReadsAhead(body io.Reader) bool { _, ok := body.(aheader); return ok }

// An aheader is a body that the backend can keep nearer.
type aheader interface {
	Ahead(ctx context.Context) (int64, error)
}

// Ahead implements aheader by those of the blobs.
func (p *pieceBody) Ahead(ctx context.Context) (int64, error) {
	return p.each(func(b backend.Body) (int64, error) { return Ahead(ctx, b) })
}
