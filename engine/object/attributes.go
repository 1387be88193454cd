package object

import "context"

// Attributes implements API.
func (s *Service) Attributes(ctx context.Context, in *AttributesInput) (out AttributesOutput, err error) {
	b, err := s.bucket(in.Bucket)
	if err != nil {
		return out, err
	}
	if err := checkKey(in.Key); err != nil {
		return out, err
	}
	l := lookups.Get().(*lookup)
	defer l.release()
	var parts *manifest
	err = s.again(ctx, func() (err error) {
		if err := l.find(s, b, in.Key, in.VersionID); err != nil {
			return err
		}
		if err := in.Conditions.forRead(&l.meta); err != nil {
			return withVersion(err, b.versionID(&l.meta))
		}
		if parts = nil; l.meta.is(flagMultipart) {
			parts, err = s.manifest(l, b, in.Key)
		}
		return err
	})
	if err != nil {
		return out, failed("reading attributes", err)
	}
	out.Info = l.meta.info(b, in.Key)
	if parts != nil {
		out.page(parts, max(in.PartsAfter, 0), min(max(in.MaxParts, 0), MaxPage))
	}
	return out, nil
}

// page fills in the parts after a number.
func (out *AttributesOutput) page(m *manifest, after, limit int) {
	out.PartsTotal = len(m.parts)
	end := min(after+limit, len(m.parts))
	for i := after; i < end; i++ {
		out.PartList = append(out.PartList, m.info(i))
		out.PartsNext = i + 1
	}
	out.PartsTruncated = limit > 0 && end < len(m.parts)
}
