package object

import (
	"context"
	"encoding/binary"

	"github.com/cairnstore/cairn/engine/backend"
)

// An upload is an open multipart upload. Its group is that of all its blobs,
// and, written as text, its ID.
type upload struct {
	group     uint64
	key       string
	initiated int64 // milliseconds
	active    int64 // when it last was known to be: its place in the idle family
	algorithm ChecksumAlgorithm
	kind      ChecksumType
	// conditions are Complete's: those of a write, which know no times.
	conditions Conditions
	sections   sections
}

// uploadConditions is a bit of the kind's byte: conditions follow the times.
const uploadConditions = 1 << 7

func (u *upload) encode() []byte {
	v := []byte{metaVersion, byte(u.algorithm), byte(u.kind)}
	v = binary.AppendVarint(binary.AppendVarint(v, u.initiated), u.active)
	if u.conditions.forWrites() {
		v[2] |= uploadConditions
		v = appendStrings(appendStrings(v, u.conditions.IfMatch), u.conditions.IfNoneMatch)
	}
	return append(v, u.sections...)
}

func appendStrings(v []byte, all []string) []byte {
	v = binary.AppendUvarint(v, uint64(len(all)))
	for _, s := range all {
		v = appendString(v, s)
	}
	return v
}

func (r *reader) strings() (all []string) {
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		all = append(all, string(r.bytes()))
	}
	return all
}

func decodeUpload(key string, group uint64, value []byte) (*upload, error) {
	r := reader{b: value}
	if r.byte() != metaVersion {
		return nil, errBadRecord
	}
	u := &upload{group: group, key: key, algorithm: r.algorithm()}
	kind := r.byte()
	u.kind = ChecksumType(kind &^ uploadConditions)
	u.initiated, u.active = r.varint(), r.varint()
	if kind&uploadConditions != 0 {
		u.conditions.IfMatch, u.conditions.IfNoneMatch = r.strings(), r.strings()
	}
	if u.sections = r.b; r.bad || u.kind > Composite || !u.sections.valid() {
		return nil, errBadRecord
	}
	return u, nil
}

func (u *upload) info(b *bucket) UploadInfo {
	i := UploadInfo{Key: u.key, UploadID: formatID(u.group), Owner: b.owner, Initiated: fromMillis(u.initiated),
		StorageClass: string(u.sections.get(sectionStorageClass)), Checksum: u.algorithm, ChecksumType: u.kind}
	if owner := u.sections.get(sectionOwner); len(owner) > 0 {
		i.Owner = string(owner)
	}
	return i
}

// An idle record says of which upload it is.
func encodeIdle(bucket uint64, key string) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{metaVersion}, bucket), key...)
}

func decodeIdle(value []byte) (bucket uint64, key string, err error) {
	if len(value) < 9 || value[0] != metaVersion {
		return 0, "", errBadRecord
	}
	return binary.BigEndian.Uint64(value[1:]), string(value[9:]), nil
}

// A part is one part of an open upload; its blob is the one of this attempt.
type part struct {
	number   int
	attempt  uint32
	modified int64
	size     int64
	md5      [16]byte
	sum      sum
}

func (p *part) encode() []byte {
	v := binary.BigEndian.AppendUint32([]byte{metaVersion}, p.attempt)
	v = binary.AppendUvarint(binary.AppendVarint(v, p.modified), uint64(p.size))
	v = append(append(v, p.md5[:]...), byte(p.sum.algorithm))
	return append(v, p.sum.bytes()...)
}

func decodePart(p *part, number int, value []byte) error {
	r := reader{b: value}
	if r.byte() != metaVersion {
		return errBadRecord
	}
	*p = part{number: number}
	if b := r.take(4); b != nil {
		p.attempt = binary.BigEndian.Uint32(b)
	}
	p.modified, p.size = r.varint(), r.size()
	r.copy(p.md5[:])
	p.sum.algorithm = r.algorithm()
	if r.copy(p.sum.value[:p.sum.algorithm.Size()]); r.bad || len(r.b) > 0 {
		return errBadRecord
	}
	return nil
}

func (p *part) info() PartInfo {
	m := meta{md5: p.md5}
	i := PartInfo{Number: p.number, Size: p.size, ETag: m.etag(), Modified: fromMillis(p.modified)}
	if p.sum.algorithm != NoChecksum {
		i.Checksum = Checksum{Algorithm: p.sum.algorithm, Value: append([]byte(nil), p.sum.bytes()...)}
	}
	return i
}

// CreateUpload implements API.
func (s *Service) CreateUpload(ctx context.Context, in *CreateUploadInput) (uploadID string, err error) {
	b, err := s.bucket(in.Bucket)
	if err != nil {
		return "", err
	}
	if err := checkKey(in.Key); err != nil {
		return "", err
	}
	headers := in.Headers
	if err := checkHeaders(&headers); err != nil {
		return "", err
	}
	if err := checkTags(in.Tags, MaxObjectTags); err != nil {
		return "", err
	}
	if err := checkUploadChecksum(in.Checksum, in.ChecksumType); err != nil {
		return "", err
	}
	if err := s.checkWrite(b, in.Key, &in.Conditions); err != nil {
		return "", err
	}
	owner := in.Owner
	if owner == b.owner {
		owner = ""
	}
	now := s.now()
	u := &upload{conditions: in.Conditions,
		group: s.backend.NewBlobGroup(), key: in.Key, initiated: now, active: now, algorithm: in.Checksum,
		kind: in.ChecksumType, sections: appendSections(nil, &headers, owner, in.Tags)}
	err = s.backend.Update(ctx, backend.Locks{Shared: b.lock}, func(tx backend.Tx) error {
		if _, err := b.current(tx); err != nil {
			return err
		}
		u.put(tx, b.id)
		return nil
	})
	if err != nil {
		return "", failed("creating an upload", err)
	}
	return formatID(u.group), nil
}

// put writes the upload and its place among the idle.
func (u *upload) put(tx backend.Tx, bucket uint64) {
	tx.Put(backend.Put{Key: appendUploadKey(nil, bucket, u.key, u.group), Value: u.encode()})
	tx.Put(backend.Put{Key: appendTimeKey(nil, familyIdle, u.active, u.group), Value: encodeIdle(bucket, u.key)})
}

// delete removes both.
func (u *upload) delete(tx backend.Tx, bucket uint64) {
	tx.Delete(appendUploadKey(nil, bucket, u.key, u.group))
	tx.Delete(appendTimeKey(nil, familyIdle, u.active, u.group))
}

func checkUploadChecksum(a ChecksumAlgorithm, t ChecksumType) error {
	switch {
	case !a.Valid() || t > Composite:
		return refuse(InvalidRequest, "Checksum algorithm provided is unsupported")
	case a == NoChecksum:
		return nil
	case t == FullObject && !a.Combines():
		return refuse(InvalidRequest, "The FULL_OBJECT checksum type cannot be used with the "+a.String()+" checksum algorithm.")
	case t == Composite && a == CRC64NVME:
		return refuse(InvalidRequest, "The COMPOSITE checksum type cannot be used with the CRC64NVME checksum algorithm.")
	}
	return nil
}

// upload finds an open upload.
func (s *Service) upload(bucket, key, uploadID string) (*bucket, *upload, error) {
	b, group, err := s.uploadGroup(bucket, key, uploadID)
	if err != nil {
		return nil, nil, err
	}
	e, ok, err := s.backend.Get(appendUploadKey(nil, b.id, key, group), nil)
	if err != nil {
		return nil, nil, failed("reading an upload", err)
	}
	if !ok {
		return nil, nil, errNoSuchUpload
	}
	u, err := decodeUpload(key, group, e.Value)
	return b, u, failed("reading an upload", err)
}

func (s *Service) uploadGroup(bucket, key, uploadID string) (*bucket, uint64, error) {
	b, err := s.bucket(bucket)
	if err != nil {
		return nil, 0, err
	}
	if err := checkKey(key); err != nil {
		return nil, 0, err
	}
	group, ok := parseID(uploadID)
	if !ok {
		return nil, 0, errNoSuchUpload
	}
	return b, group, nil
}

// getUpload is upload inside a transaction.
func getUpload(tx backend.Tx, bucket uint64, key string, group uint64) (*upload, error) {
	e, ok, err := tx.Get(appendUploadKey(nil, bucket, key, group))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errNoSuchUpload
	}
	return decodeUpload(key, group, e.Value)
}

// CheckUpload implements API.
func (s *Service) CheckUpload(ctx context.Context, bucket, key, uploadID string) (UploadInfo, error) {
	b, u, err := s.upload(bucket, key, uploadID)
	if err != nil {
		return UploadInfo{}, err
	}
	return u.info(b), nil
}

// AbortUpload implements API.
func (s *Service) AbortUpload(ctx context.Context, bucket, key, uploadID string) error {
	b, group, err := s.uploadGroup(bucket, key, uploadID)
	if err != nil {
		return err
	}
	return failed("aborting an upload", s.abort(ctx, b.id, key, group, nil))
}

// abort frees an upload if allowed, asked inside the transaction, has nothing against it.
func (s *Service) abort(ctx context.Context, bucket uint64, key string, group uint64, allowed func(backend.Tx, *upload) error) error {
	locks := backend.Locks{Exclusive: [][]byte{appendUploadKey(nil, bucket, key, group)}}
	return s.backend.Update(ctx, locks, func(tx backend.Tx) error {
		u, err := getUpload(tx, bucket, key, group)
		if err != nil {
			return err
		}
		if allowed != nil {
			if err := allowed(tx, u); err != nil {
				return err
			}
		}
		u.delete(tx, bucket)
		tx.DropBlobs(group)
		return eachPart(tx, group, func(e *backend.Entry) error {
			tx.Delete(e.Key)
			return nil
		})
	})
}

// eachPart walks an upload's parts inside a transaction.
func eachPart(tx backend.Tx, group uint64, do func(*backend.Entry) error) error {
	lower := appendPartsOf(nil, group)
	upper := prefixEnd(appendPartsOf(nil, group))
	for {
		e, ok, err := tx.First(lower, upper)
		if err != nil || !ok {
			return err
		}
		if err := do(&e); err != nil {
			return err
		}
		lower = append(append(lower[:0], e.Key...), 0)
	}
}

// UploadPart implements API.
func (s *Service) UploadPart(ctx context.Context, in *UploadPartInput) (PartInfo, error) {
	b, u, err := s.upload(in.Bucket, in.Key, in.UploadID)
	if err != nil {
		return PartInfo{}, err
	}
	sum, err := u.checkPart(in)
	if err != nil {
		return PartInfo{}, err
	}
	p := &part{number: in.PartNumber, attempt: uint32(s.backend.NewBlobGroup())} // a group is a number never used before
	staged, d, err := s.stage(ctx, partBlob(u.group, p.number, p.attempt), nil, in.Body, in.Size, sum.Algorithm)
	if err != nil {
		return PartInfo{}, err
	}
	defer staged.Discard()
	if err := verify(&d, in.ContentMD5, &sum, in.ChecksumTrailer); err != nil {
		return PartInfo{}, err
	}
	p.size, p.md5, p.sum, p.modified = d.size, d.md5, d.sum, s.now()
	if err := s.commitPart(ctx, b, u, p, staged); err != nil {
		return PartInfo{}, failed("uploading a part", err)
	}
	return p.info(), nil
}

// checkPart returns the checksum to compute, the upload's where the part names none.
func (u *upload) checkPart(in *UploadPartInput) (Checksum, error) {
	sum := in.Checksum
	switch {
	case in.PartNumber < 1 || in.PartNumber > MaxParts:
		return sum, refuse(InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive")
	case in.Size > MaxPutSize:
		return sum, errTooLarge
	case in.Body == nil && in.Size != 0:
		return sum, errIncomplete
	case sum.Algorithm == NoChecksum:
		sum.Algorithm = u.algorithm
	case u.algorithm != NoChecksum && sum.Algorithm != u.algorithm:
		return sum, refuse(InvalidRequest, "Checksum Type mismatch occurred, expected checksum Type: "+u.algorithm.String()+", actual checksum Type: "+sum.Algorithm.String())
	}
	return sum, checkExpected(in.ContentMD5, &sum)
}

// commitPart adds the part to its upload, in place of an earlier attempt.
func (s *Service) commitPart(ctx context.Context, b *bucket, u *upload, p *part, staged backend.StagedBlob) error {
	key, value := appendPartKey(nil, u.group, p.number), p.encode()
	locks := backend.Locks{Shared: appendUploadKey(nil, b.id, u.key, u.group), Exclusive: [][]byte{key}}
	return s.backend.Update(ctx, locks, func(tx backend.Tx) error {
		if _, err := getUpload(tx, b.id, u.key, u.group); err != nil {
			return err
		}
		old, ok, err := tx.Get(key)
		if err != nil {
			return err
		}
		if ok {
			var before part
			if err := decodePart(&before, p.number, old.Value); err != nil {
				return err
			}
			tx.DropBlob(partBlob(u.group, before.number, before.attempt))
		}
		tx.AdoptBlob(staged)
		tx.Put(backend.Put{Key: key, Value: value})
		return nil
	})
}

// CopyPart implements API.
func (s *Service) CopyPart(ctx context.Context, in *CopyPartInput) (info PartInfo, sourceVersion string, err error) {
	if err := checkKey(in.SourceKey); err != nil {
		return info, "", err
	}
	if _, _, err := s.upload(in.Bucket, in.Key, in.UploadID); err != nil {
		return info, "", err
	}
	err = s.again(ctx, func() error {
		src, err := s.Get(ctx, &GetInput{Bucket: in.SourceBucket, Key: in.SourceKey, VersionID: in.SourceVersionID, Range: in.SourceRange, Conditions: in.SourceConditions})
		if err != nil {
			return copySource(err)
		}
		defer src.Body.Close()
		sourceVersion = src.VersionID
		if in.SourceRange.Set && in.SourceRange.Last >= src.Size {
			return noSuchRange(src.Size)
		}
		info, err = s.UploadPart(ctx, &UploadPartInput{Bucket: in.Bucket, Key: in.Key, UploadID: in.UploadID,
			PartNumber: in.PartNumber, Body: src.Body, Size: src.Length})
		return err
	})
	return info, sourceVersion, failed("copying a part", err)
}

// ListParts implements API.
func (s *Service) ListParts(ctx context.Context, in *ListPartsInput) (out ListPartsOutput, err error) {
	b, u, err := s.upload(in.Bucket, in.Key, in.UploadID)
	if err != nil {
		return out, err
	}
	l, err := newListing("", "", in.MaxParts)
	if err != nil {
		return out, err
	}
	out.Upload = u.info(b)
	if l.max == 0 || in.After >= MaxParts {
		return out, nil
	}
	err = s.parts(ctx, u.group, max(in.After, 0)+1, func(p *part) bool {
		if out.Truncated = len(out.Parts) == l.max; out.Truncated {
			return false
		}
		out.Parts = append(out.Parts, p.info())
		return true
	})
	if out.Truncated {
		out.Next = out.Parts[len(out.Parts)-1].Number
	}
	return out, failed("listing parts", err)
}

// parts walks an upload's durable parts from a number on, while each says so.
func (s *Service) parts(ctx context.Context, group uint64, from int, each func(*part) bool) error {
	it, err := s.backend.Iter(appendPartKey(nil, group, from), prefixEnd(appendPartsOf(nil, group)))
	if err != nil {
		return err
	}
	defer it.Close()
	for it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		number, err := splitPartKey(it.Entry().Key)
		if err != nil {
			return err
		}
		var p part
		if err := decodePart(&p, number, it.Entry().Value); err != nil {
			return err
		}
		if !each(&p) {
			break
		}
	}
	return it.Err()
}

// ListUploads implements API.
func (s *Service) ListUploads(ctx context.Context, in *ListUploadsInput) (out ListUploadsOutput, err error) {
	b, err := s.bucket(in.Bucket)
	if err != nil {
		return out, err
	}
	l, err := newListing(in.Prefix, in.Delimiter, in.MaxUploads)
	if err != nil {
		return out, err
	}
	after := uint64(0)
	if in.KeyMarker != "" && in.UploadIDMarker != "" {
		var ok bool
		if after, ok = parseID(in.UploadIDMarker); !ok {
			return out, refuse(InvalidArgument, "Invalid uploadId marker")
		}
	}
	if l.max == 0 {
		return out, nil
	}
	seek := l.seekUploads(b, in.KeyMarker, after)
	if err := s.listUploads(ctx, b, &l, seek, &out); err != nil {
		return ListUploadsOutput{}, failed("listing uploads", err)
	}
	return out, nil
}

// seekUploads returns the first key after a marker; after 0 is after all uploads of its key.
func (l *listing) seekUploads(b *bucket, key string, after uint64) []byte {
	switch skip := l.skipped(key); {
	case key == "" || key < l.prefix:
		return appendEscaped(appendFamily(nil, familyUpload, b.id), l.prefix)
	case skip != "":
		return prefixEnd(appendEscaped(appendFamily(nil, familyUpload, b.id), skip))
	case after != 0:
		return append(appendUploadKey(nil, b.id, key, after), 0)
	}
	return prefixEnd(appendUploadsOf(nil, b.id, key))
}

func (s *Service) listUploads(ctx context.Context, b *bucket, l *listing, seek []byte, out *ListUploadsOutput) error {
	lower := appendEscaped(appendFamily(nil, familyUpload, b.id), l.prefix)
	it, err := s.backend.Iter(lower, prefixEnd(append([]byte(nil), lower...)))
	if err != nil {
		return err
	}
	defer it.Close()
	var key []byte
	for ok := it.SeekGE(seek); ok; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(out.Uploads)+len(out.Prefixes) == l.max {
			out.Truncated = true
			return nil
		}
		var group uint64
		if key, group, err = splitEscaped(it.Entry().Key, key); err != nil {
			return err
		}
		if n := common(l, key); n > 0 {
			prefix := string(key[:n])
			out.Prefixes = append(out.Prefixes, prefix)
			out.NextKeyMarker, out.NextUploadIDMarker = prefix, ""
			ok = it.SeekGE(prefixEnd(appendEscaped(appendFamily(nil, familyUpload, b.id), prefix)))
			continue
		}
		u, err := decodeUpload(string(key), group, it.Entry().Value)
		if err != nil {
			return err
		}
		info := u.info(b)
		out.Uploads = append(out.Uploads, info)
		out.NextKeyMarker, out.NextUploadIDMarker = info.Key, info.UploadID
		ok = it.Next()
	}
	out.NextKeyMarker, out.NextUploadIDMarker = "", ""
	return it.Err()
}
