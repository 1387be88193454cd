package object

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cairnstore/cairn/engine/backend"
)

// Copy implements API. The bytes are read and written again, for a blob belongs
// to one record; only a change of an object's own metadata, where no versions
// are kept, leaves the body where it is.
func (s *Service) Copy(ctx context.Context, in *CopyInput) (CopyOutput, error) {
	if err := checkCopy(in); err != nil {
		return CopyOutput{}, err
	}
	if err := s.CheckPut(ctx, in.Bucket, in.Key, in.Conditions); err != nil {
		return CopyOutput{}, err
	}
	var out CopyOutput
	err := s.again(ctx, func() error {
		var tags []Tag
		src, err := s.read(ctx, &GetInput{Bucket: in.SourceBucket, Key: in.SourceKey, VersionID: in.SourceVersionID, Conditions: in.SourceConditions}, true, &tags)
		if err != nil {
			return copySource(err)
		}
		defer src.Body.Close()
		out.SourceVersionID = src.VersionID
		if src.Size > MaxPutSize {
			return refuse(InvalidRequest, "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120")
		}
		put, err := copyAsPut(in, src, tags)
		if err != nil {
			return err
		}
		if done, err := s.copyInPlace(ctx, in, src, put); done || err != nil {
			if err == nil {
				out.PutOutput = put.out
			}
			return err
		}
		if put.Checksum.Algorithm == NoChecksum {
			// S3 gives one to every copy; without it, the bytes pass by unchecked end to end.
			put.Checksum.Algorithm = CRC64NVME
		}
		out.PutOutput, err = s.Put(ctx, &put.PutInput)
		return err
	})
	if err != nil {
		return CopyOutput{}, failed("copying an object", err)
	}
	return out, nil
}

// toItself reports a copy of the latest version onto its own key.
func (in *CopyInput) toItself() bool {
	return in.SourceBucket == in.Bucket && in.SourceKey == in.Key && in.SourceVersionID == ""
}

// changesNothing reports a copy onto itself that asks for no change. That it asks counts, and
// not whether it makes one: a storage class that the object has already is enough, and one
// that the request leaves out is not, though the copy would lose it.
func (in *CopyInput) changesNothing() bool {
	return in.toItself() && !in.ReplaceMetadata && !in.ReplaceTags && in.Headers.StorageClass == "" && in.Headers.WebsiteRedirect == ""
}

func checkCopy(in *CopyInput) error {
	if err := checkKey(in.SourceKey); err != nil {
		return err
	}
	if !in.Checksum.Valid() {
		return refuse(InvalidRequest, "Checksum algorithm provided is unsupported")
	}
	h := in.Headers
	if err := checkHeaders(&h); err != nil {
		return err
	}
	if in.ReplaceTags {
		return checkTags(in.Tags, MaxObjectTags)
	}
	return nil
}

// copySource says of a source that can't be read what S3 says there, where nothing
// answers 304, 405 or 416.
func copySource(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Kind {
	case MethodNotAllowed:
		return refuse(InvalidRequest, "The source of a copy request may not specifically refer to a delete marker by version id.")
	case PreconditionFailed, NotModified:
		return preconditionFailed("x-amz-copy-source-" + strings.ToLower(e.Condition))
	case InvalidRange:
		return noSuchRange(e.Size)
	case NoSuchBucket, NoSuchKey, NoSuchVersion:
		missing := *e
		missing.Source = true
		return &missing
	}
	return err
}

// noSuchRange refuses a range of a part's source that is not in it: an argument,
// where a GET's range is one that cannot be satisfied.
func noSuchRange(size int64) error {
	return refuse(InvalidArgument, fmt.Sprintf("Range specified is not valid for source object of size: %d", size))
}

// A copyPut is the upload that a copy amounts to.
type copyPut struct {
	PutInput
	out PutOutput
}

// copyAsPut takes from the source what the request does not replace.
func copyAsPut(in *CopyInput, src *GetOutput, tags []Tag) (*copyPut, error) {
	if in.ReplaceTags {
		tags = in.Tags
	}
	p := &copyPut{PutInput: PutInput{Bucket: in.Bucket, Key: in.Key, Body: src.Body, Size: src.Size,
		Headers: src.Headers, Tags: tags, Conditions: in.Conditions, Owner: in.Owner}}
	if in.ReplaceMetadata {
		p.Headers = in.Headers
	}
	// S3 never copies these two: the copy has what its own request says.
	p.Headers.StorageClass, p.Headers.WebsiteRedirect = in.Headers.StorageClass, in.Headers.WebsiteRedirect
	if err := checkHeaders(&p.Headers); err != nil {
		return nil, err
	}
	if in.changesNothing() {
		return nil, refuse(InvalidRequest, "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.")
	}
	p.Checksum.Algorithm = in.Checksum
	if in.Checksum == NoChecksum {
		p.Checksum.Algorithm = src.Checksum.Algorithm
	}
	return p, nil
}

// copyInPlace writes new metadata over an object's own and keeps its body. It
// does so only where that is all there is to do: no version is kept, and the
// checksum stays. Who names an algorithm wants one of the whole, not of parts.
func (s *Service) copyInPlace(ctx context.Context, in *CopyInput, src *GetOutput, p *copyPut) (done bool, err error) {
	b, err := s.bucket(in.Bucket)
	if err != nil {
		return false, err
	}
	if !in.toItself() || b.latest.Load().versioning == Enabled || p.Checksum.Algorithm != src.Checksum.Algorithm ||
		in.Checksum != NoChecksum && src.Checksum.Type == Composite {
		return false, nil
	}
	k := &slot{bucket: b, key: in.Key, curKey: appendCurrentKey(nil, b.id, in.Key)}
	owner := in.Owner
	if owner == b.owner {
		owner = ""
	}
	now := s.now()
	err = s.backend.Update(ctx, backend.Locks{Shared: b.lock, Exclusive: [][]byte{k.curKey}}, func(tx backend.Tx) error {
		done = false
		if err := k.open(tx); err != nil {
			return err
		}
		if err := in.Conditions.forWrite(&k.cur, k.has); err != nil {
			return err
		}
		if !k.own() || k.state.versioning == Enabled {
			return nil
		}
		if k.cur.etag() != src.ETag || !k.cur.time().Equal(src.Modified) {
			return fmt.Errorf("the source: %w", errChanged)
		}
		tags := p.Tags
		if !in.ReplaceTags { // they may have been set since
			tags = k.cur.sections.tags()
		}
		m := k.cur
		m.modified, m.sections = now, appendSections(nil, &p.Headers, owner, tags)
		// The body is known by the sequence that it came with: see Alias.
		m.flags |= flagSeq
		done = true
		p.out = PutOutput{ETag: m.etag(), Size: m.size, Checksum: m.checksum(), Modified: m.time()}
		if k.state.versioning == Suspended {
			p.out.VersionID = nullID
		}
		return k.publish(&m, content{keep: k.entry.Body})
	})
	return done, err
}
