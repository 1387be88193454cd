package object

import (
	"slices"
	"time"
)

// none reports whether there is nothing to check.
func (c *Conditions) none() bool {
	return len(c.IfMatch) == 0 && len(c.IfNoneMatch) == 0 && c.IfModifiedSince.IsZero() && c.IfUnmodifiedSince.IsZero()
}

func etagIn(list []string, etag string) bool {
	return slices.ContainsFunc(list, func(want string) bool { return want == "*" || want == etag })
}

func preconditionFailed(header string) error {
	return &Error{Kind: PreconditionFailed, Message: "At least one of the pre-conditions you specified did not hold", Condition: header}
}

// forRead evaluates in the order of RFC 9110, section 13.2.2, which is S3's
// too: a tag outweighs a date of the same sense. Dates have whole seconds.
func (c *Conditions) forRead(m *meta) error {
	if c.none() {
		return nil
	}
	err := c.evaluate(m.etag(), m.time())
	if e, ok := err.(*Error); ok && e.Kind == NotModified {
		e.CacheControl, e.Expires = string(m.sections.get(sectionCacheControl)), string(m.sections.get(sectionExpires))
	}
	return err
}

// holds reports whether the range is of this version.
func (r *IfRange) holds(m *meta) bool {
	switch {
	case !r.Set:
		return true
	case !r.Modified.IsZero():
		return m.time().Truncate(time.Second).Equal(r.Modified)
	}
	return r.ETag != "" && r.ETag == m.etag()
}

func (c *Conditions) evaluate(etag string, lastModified time.Time) error {
	modified := lastModified.Truncate(time.Second)
	switch {
	case len(c.IfMatch) > 0:
		if !etagIn(c.IfMatch, etag) {
			return preconditionFailed("If-Match")
		}
	case !c.IfUnmodifiedSince.IsZero() && modified.After(c.IfUnmodifiedSince):
		return preconditionFailed("If-Unmodified-Since")
	}
	switch {
	case len(c.IfNoneMatch) > 0:
		if etagIn(c.IfNoneMatch, etag) {
			return notModified("If-None-Match", etag, lastModified)
		}
	case !c.IfModifiedSince.IsZero() && !modified.After(c.IfModifiedSince):
		return notModified("If-Modified-Since", etag, lastModified)
	}
	return nil
}

func notModified(header, etag string, modified time.Time) error {
	return &Error{Kind: NotModified, Message: "Not Modified", Condition: header, ETag: etag, LastModified: modified}
}

// forWrite evaluates against the current version; exists is false where there
// is none, or a delete marker. S3 knows only tags here.
func (c *Conditions) forWrite(m *meta, exists bool) error {
	if len(c.IfMatch) > 0 {
		if !exists {
			return errNoSuchKey
		}
		if !etagIn(c.IfMatch, m.etag()) {
			return preconditionFailed("If-Match")
		}
	}
	if len(c.IfNoneMatch) > 0 && exists && etagIn(c.IfNoneMatch, m.etag()) {
		return preconditionFailed("If-None-Match")
	}
	return nil
}

// forWrites reports whether forWrite has anything to check.
func (c *Conditions) forWrites() bool { return len(c.IfMatch) > 0 || len(c.IfNoneMatch) > 0 }
