package object

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/cairnstore/cairn/engine/backend"
	"github.com/cairnstore/cairn/engine/internal/checksum"
)

// Complete implements API. It copies no bytes: the parts' blobs pass to the
// object's record, whose body names them. The upload's end, the object and the
// answer for those who ask again are one transaction.
func (s *Service) Complete(ctx context.Context, in *CompleteInput) (PutOutput, error) {
	b, group, err := s.uploadGroup(in.Bucket, in.Key, in.UploadID)
	if err != nil {
		return PutOutput{}, err
	}
	if err := checkPartList(in.Parts); err != nil {
		return PutOutput{}, err
	}
	var out PutOutput
	err = s.again(ctx, func() (err error) {
		out, err = s.complete(ctx, b, group, in)
		return err
	})
	if errors.Is(err, errNoSuchUpload) {
		return s.firstAnswer(b, group, in.Key)
	}
	return out, failed("completing an upload", err)
}

func checkPartList(parts []PartInfo) error {
	if len(parts) == 0 {
		return refuse(InvalidRequest, "You must specify at least one part")
	}
	if len(parts) > MaxParts {
		return refuse(InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive")
	}
	last := 0
	for i := range parts {
		n := parts[i].Number
		if n < 1 || n > MaxParts {
			return refuse(InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive")
		}
		if n <= last {
			return refuse(InvalidPartOrder, "The list of parts was not in ascending order. The parts list must be specified in order by part number.")
		}
		last = n
	}
	return nil
}

// complete tries once. What it reads outside the transaction, to build the
// manifest, the transaction finds unchanged or gives back errChanged.
func (s *Service) complete(ctx context.Context, b *bucket, group uint64, in *CompleteInput) (PutOutput, error) {
	_, u, err := s.upload(in.Bucket, in.Key, in.UploadID)
	if err != nil {
		return PutOutput{}, err
	}
	var parts []part
	if err := s.parts(ctx, group, 1, func(p *part) bool { parts = append(parts, *p); return true }); err != nil {
		return PutOutput{}, err
	}
	m, sums, err := u.assemble(parts, in, s.o.MinPartSize)
	if err != nil {
		// Another Complete may have taken the parts since the upload was read.
		if _, _, gone := s.upload(in.Bucket, in.Key, in.UploadID); gone != nil {
			return PutOutput{}, gone
		}
		return PutOutput{}, err
	}
	conditions := &in.Conditions
	if !conditions.forWrites() {
		conditions = &u.conditions
	}
	w := &write{s: s, conditions: conditions, alsoLocks: appendUploadKey(nil, b.id, in.Key, group)}
	w.begin(b, in.Key)
	w.meta = meta{flags: flagMultipart, modified: s.now(), size: m.size(), parts: len(m.parts), md5: sums.md5,
		blob: backend.BlobID{Group: group}, sections: u.sections}
	if w.meta.setChecksum(sums.sum); sums.sum.algorithm != NoChecksum && sums.kind == Composite {
		w.meta.flags |= flagComposite
	}
	if err := w.holdManifest(ctx, m); err != nil {
		return PutOutput{}, err
	}
	if w.staged != nil {
		defer w.staged.Discard()
	}
	w.also = func(k *slot) error { return w.finishUpload(k, group, parts, m) }
	if err := w.update(ctx, w.run); err != nil {
		return PutOutput{}, err
	}
	return w.output(), nil
}

// holdManifest puts the manifest where a body would be.
func (w *write) holdManifest(ctx context.Context, m *manifest) error {
	data := appendManifest(nil, m)
	w.meta.manifest = int64(len(data))
	if w.meta.manifest <= w.s.backend.MaxInline() {
		w.content.body = data
		return nil
	}
	w.meta.flags |= flagBlob
	w.meta.blob = partBlob(m.group, 0, uint32(w.s.backend.NewBlobGroup()))
	blob, err := w.s.backend.StageBlob(ctx, w.meta.blob, w.meta.manifest)
	if err != nil {
		return err
	}
	defer blob.Abort()
	if _, err := blob.Write(data); err != nil {
		return err
	}
	w.staged, err = blob.Finish()
	return err
}

// completeSums are the ETag and the checksum of the whole.
type completeSums struct {
	md5  [md5.Size]byte
	sum  sum
	kind ChecksumType
}

// assemble builds the manifest from the parts that are listed, or refuses the list.
func (u *upload) assemble(parts []part, in *CompleteInput, minPartSize int64) (*manifest, completeSums, error) {
	m := &manifest{group: u.group, algorithm: u.algorithm}
	sums := completeSums{kind: u.kind}
	switch {
	case m.algorithm == NoChecksum && in.Checksum.Algorithm != NoChecksum:
		m.algorithm, sums.kind = in.Checksum.Algorithm, in.Checksum.Type
	case m.algorithm != NoChecksum && in.TypeGiven && in.Checksum.Type != u.kind:
		return nil, sums, refuse(BadDigest, "The checksum type you specified is not the one that the upload was created with.")
	}
	etags := md5.New()
	at := 0
	for i := range in.Parts {
		want := &in.Parts[i]
		for at < len(parts) && parts[at].number < want.Number {
			at++
		}
		if at == len(parts) || !parts[at].matches(want) {
			return nil, sums, refuse(InvalidPart, "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.")
		}
		p := &parts[at]
		if u.algorithm != NoChecksum && u.kind == Composite && len(want.Checksum.Value) == 0 {
			return nil, sums, refuse(InvalidRequest, fmt.Sprintf("The upload was created using a %s checksum. The complete request must include the checksum for each part. It was missing for part %d in the request.", strings.ToLower(u.algorithm.String()), want.Number))
		}
		if i < len(in.Parts)-1 && p.size < minPartSize {
			return nil, sums, refuse(EntityTooSmall, "Your proposed upload is smaller than the minimum allowed size")
		}
		etags.Write(p.md5[:])
		m.parts = append(m.parts, manifestPart{number: p.number, attempt: p.attempt, size: p.size, sum: p.sum.bytes()})
		if p.sum.algorithm != m.algorithm {
			if in.Checksum.Algorithm != NoChecksum {
				return nil, sums, refuse(InvalidRequest, "The upload was created without a checksum of the type that was specified.")
			}
			m.algorithm = NoChecksum
		}
	}
	etags.Sum(sums.md5[:0])
	if err := m.checkSize(in.Size); err != nil {
		return nil, sums, err
	}
	return m, sums, m.checksum(&sums, &in.Checksum)
}

func (p *part) matches(want *PartInfo) bool {
	etag, err := hex.DecodeString(strings.Trim(want.ETag, `"`))
	return err == nil && p.number == want.Number && bytes.Equal(etag, p.md5[:]) &&
		(len(want.Checksum.Value) == 0 || want.Checksum.Algorithm == p.sum.algorithm && bytes.Equal(want.Checksum.Value, p.sum.bytes()))
}

func (m *manifest) checkSize(announced int64) error {
	size := m.size()
	if size > MaxObjectSize {
		return errTooLarge
	}
	if announced >= 0 && announced != size {
		return refuse(InvalidRequest, "The provided 'x-amz-mp-object-size' header does not match what was computed.")
	}
	return nil
}

// checksum computes that of the whole from those of the parts, and compares it
// with what the client says.
func (m *manifest) checksum(sums *completeSums, want *Checksum) error {
	if m.algorithm == NoChecksum {
		for i := range m.parts { // some of them have one, of whatever kind
			m.parts[i].sum = nil
		}
		return nil
	}
	if want.Algorithm != NoChecksum && want.Algorithm != m.algorithm {
		return refuse(InvalidRequest, "Checksum Type mismatch occurred, expected checksum Type: "+m.algorithm.String()+", actual checksum Type: "+want.Algorithm.String())
	}
	if err := checkUploadChecksum(m.algorithm, sums.kind); err != nil {
		return err
	}
	value, err := m.wholeSum(sums.kind)
	if err != nil {
		return err
	}
	if want.Parts > 0 && (sums.kind != Composite || want.Parts != len(m.parts)) || len(want.Value) > 0 && !bytes.Equal(want.Value, value) {
		return refuse(BadDigest, "The "+m.algorithm.String()+" you specified did not match the calculated checksum.")
	}
	sums.sum = newSum(m.algorithm, value)
	return nil
}

func (m *manifest) wholeSum(kind ChecksumType) (value []byte, err error) {
	if kind == Composite {
		values := make([][]byte, len(m.parts))
		for i := range m.parts {
			values[i] = m.parts[i].sum
		}
		return checksum.Composite(m.algorithm, values), nil
	}
	value = m.parts[0].sum
	for i := range m.parts[1:] {
		p := &m.parts[1+i]
		if value, err = checksum.Combine(m.algorithm, value, p.sum, p.size); err != nil {
			return nil, err
		}
	}
	return value, nil
}

// finishUpload is Complete's share of the transaction: the parts are still
// those, so they, the upload and what was not listed go, and the answer is kept.
func (w *write) finishUpload(k *slot, group uint64, parts []part, m *manifest) error {
	u, err := getUpload(k.tx, k.bucket.id, k.key, group)
	if err != nil {
		return err
	}
	seen, listed := 0, 0
	err = eachPart(k.tx, group, func(e *backend.Entry) error {
		number, err := splitPartKey(e.Key)
		if err != nil {
			return err
		}
		var p part
		if err := decodePart(&p, number, e.Value); err != nil {
			return err
		}
		if seen == len(parts) || parts[seen] != p {
			return errChanged
		}
		seen++
		if listed < len(m.parts) && m.parts[listed].number == number {
			listed++
		} else {
			k.tx.DropBlob(partBlob(group, number, p.attempt))
		}
		k.tx.Delete(e.Key)
		return nil
	})
	if err != nil {
		return err
	}
	if seen != len(parts) {
		return errChanged
	}
	u.delete(k.tx, k.bucket.id)
	w.seq, w.state = k.tx.Seq(), k.state.versioning
	k.tx.Put(backend.Put{Key: appendDoneKey(nil, group), Value: encodeDone(k, &w.meta, w.output().VersionID)})
	k.tx.Put(backend.Put{Key: appendTimeKey(nil, familyDoneTime, w.meta.modified, group), Value: []byte{metaVersion}})
	return nil
}

// encodeDone is what a repeated Complete is answered from.
func encodeDone(k *slot, m *meta, versionID string) []byte {
	v := binary.AppendUvarint([]byte{metaVersion}, k.bucket.id)
	v = appendString(appendString(v, k.key), versionID)
	bare := *m
	bare.sections = nil
	return appendMeta(v, &bare)
}

func decodeDone(value []byte) (bucket uint64, key string, out PutOutput, err error) {
	r := reader{b: value}
	if r.byte() != metaVersion {
		return 0, "", out, errBadRecord
	}
	bucket, key = r.uvarint(), r.string()
	version := r.string()
	var w write
	if r.bad {
		return 0, "", out, errBadRecord
	}
	if err := decodeMeta(&w.meta, r.b, 0); err != nil {
		return 0, "", out, err
	}
	out = w.output()
	out.VersionID = version
	return bucket, key, out, nil
}

// firstAnswer repeats what the Complete that succeeded was told.
func (s *Service) firstAnswer(b *bucket, group uint64, key string) (PutOutput, error) {
	e, ok, err := s.backend.Get(appendDoneKey(nil, group), nil)
	if err != nil {
		return PutOutput{}, failed("completing an upload", err)
	}
	if !ok {
		return PutOutput{}, errNoSuchUpload
	}
	bucket, of, out, err := decodeDone(e.Value)
	if err != nil {
		return PutOutput{}, failed("completing an upload", err)
	}
	if bucket != b.id || of != key {
		return PutOutput{}, errNoSuchUpload
	}
	return out, nil
}
