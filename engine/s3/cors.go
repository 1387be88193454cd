package s3

import (
	"net/http"
	"strings"
)

// Pages of other origins. A browser lets a page read an answer only if that names the
// page's origin, and asks beforehand (OPTIONS) whether it may send what is no simple
// request. Which origins may is the operator's to say, for all buckets alike: buckets'
// own configurations (PutBucketCors) are not built. It opens nothing to anyone: a page's
// request needs a signature like any other, and none of ours comes from a cookie.

// exposed are the headers that a page may read beside the few that it always may. The
// star, which stands for all others, is not known to all browsers.
const exposed = "Accept-Ranges, Content-Encoding, Content-Length, Content-Range, Date, ETag, Last-Modified, " +
	"X-Amz-Checksum-Crc32, X-Amz-Checksum-Crc32c, X-Amz-Checksum-Crc64nvme, X-Amz-Checksum-Sha1, X-Amz-Checksum-Sha256, X-Amz-Checksum-Type, " +
	"X-Amz-Delete-Marker, X-Amz-Id-2, X-Amz-Mp-Parts-Count, X-Amz-Request-Id, X-Amz-Tagging-Count, X-Amz-Version-Id, *"

const (
	allowedMethods = "GET, PUT, POST, DELETE, HEAD"
	preflightAge   = "3600" // seconds for which a browser may keep the answer
)

// allows returns what an answer to a page of an origin says that it allows: the origin, or
// a star where all are alike; "" for nothing.
func (h *Handler) allows(origin string) string {
	for _, o := range h.origins {
		if o == "*" {
			return o
		}
		if before, after, star := strings.Cut(o, "*"); o == origin ||
			star && len(origin) > len(before)+len(after) && strings.HasPrefix(origin, before) && strings.HasSuffix(origin, after) {
			return origin
		}
	}
	return ""
}

// allowOrigin says in the answer to a page's request that the page may read it.
func (c *call) allowOrigin() {
	from := c.r.Header["Origin"]
	if len(from) == 0 || len(c.h.origins) == 0 {
		return
	}
	allowed := c.h.allows(from[0])
	if allowed != "*" {
		c.set("Vary", "Origin")
	}
	if allowed != "" {
		c.set("Access-Control-Allow-Origin", allowed)
		c.set("Access-Control-Expose-Headers", exposed)
	}
}

// ofCORS reports whether a header of an answer is said of all answers to pages.
func ofCORS(name string) bool {
	return name == "Vary" || strings.HasPrefix(name, "Access-Control-")
}

// preflight answers a browser's question before a page's request.
func preflight(c *call) error {
	origin, method := c.r.Header.Get("Origin"), c.r.Header.Get("Access-Control-Request-Method")
	switch {
	case origin == "":
		return refuse(codeBadRequest, "Insufficient information. Origin request header needed.")
	case method == "":
		return refuse(codeBadRequest, "Invalid Access-Control-Request-Method: null")
	case len(c.h.origins) == 0:
		return refuse(codeAccessForbidden, "")
	case c.h.allows(origin) == "", !isAllowedMethod(method):
		return refuse(codeAccessForbidden, "CORSResponse: This CORS request is not allowed.")
	}
	c.set("Access-Control-Allow-Methods", allowedMethods)
	if asked := c.r.Header.Get("Access-Control-Request-Headers"); asked != "" {
		c.set("Access-Control-Allow-Headers", asked)
	}
	c.set("Access-Control-Max-Age", preflightAge)
	c.set("Vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method")
	c.empty(http.StatusOK)
	return nil
}

func isAllowedMethod(method string) bool {
	for m := range strings.SplitSeq(allowedMethods, ", ") {
		if m == method {
			return true
		}
	}
	return false
}
