package s3

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// A level is what a request's path names.
type level uint8

const (
	onService level = iota
	onBucket
	onObject
	levels
)

func (l level) String() string {
	return [levels]string{"SERVICE", "BUCKET", "OBJECT"}[l]
}

// An operation is what a request means.
type operation struct {
	name  string // S3's
	serve func(*call) error
	// versions: takes versionId. All others refuse it, so that a request about
	// one version never touches another.
	versions bool
	form     bool // authenticates by its form's fields, not by the request
}

// A route is one row of the table: what a method means at a level, beside a
// sub-resource (a query parameter that changes the meaning) or a variant.
type route struct {
	method string
	level  level
	sub    string
	variant
	operation
}

// A variant tells rows apart that a header or an ordinary parameter decides.
type variant uint8

const (
	plainly  variant = iota
	fromCopy         // x-amz-copy-source
	listV2           // list-type=2
	formData         // multipart/form-data
	withPart         // partNumber beside uploadId
)

// routes is all that the wire knows: what is built, what answers as never
// configured, and what is refused because it is not built yet. A sub-resource
// without a row for a method is MethodNotAllowed.
var routes = []route{
	{"GET", onService, "", plainly, operation{name: "ListBuckets", serve: listBuckets}},
	{"POST", onService, "", plainly, operation{name: "AssumeRole", serve: notImplemented}},
	{"GET", onService, "events", plainly, operation{name: "ListenNotification", serve: notImplemented}},

	{"PUT", onBucket, "", plainly, operation{name: "CreateBucket", serve: createBucket}},
	{"HEAD", onBucket, "", plainly, operation{name: "HeadBucket", serve: headBucket}},
	{"DELETE", onBucket, "", plainly, operation{name: "DeleteBucket", serve: deleteBucket}},
	{"GET", onBucket, "", plainly, operation{name: "ListObjects", serve: listObjects}},
	{"GET", onBucket, "", listV2, operation{name: "ListObjectsV2", serve: listObjectsV2}},
	{"POST", onBucket, "", plainly, operation{name: "PostObject", serve: postNotForm}},
	{"POST", onBucket, "", formData, operation{name: "PostObject", serve: postObject, form: true}},
	{"GET", onBucket, "versions", plainly, operation{name: "ListObjectVersions", serve: listVersions}},
	{"GET", onBucket, "uploads", plainly, operation{name: "ListMultipartUploads", serve: listUploads}},
	{"POST", onBucket, "delete", plainly, operation{name: "DeleteObjects", serve: deleteObjects}},
	{"GET", onBucket, "location", plainly, operation{name: "GetBucketLocation", serve: getLocation}},
	{"GET", onBucket, "versioning", plainly, operation{name: "GetBucketVersioning", serve: getVersioning}},
	{"PUT", onBucket, "versioning", plainly, operation{name: "PutBucketVersioning", serve: putVersioning}},
	{"GET", onBucket, "tagging", plainly, operation{name: "GetBucketTagging", serve: getBucketTags}},
	{"PUT", onBucket, "tagging", plainly, operation{name: "PutBucketTagging", serve: putBucketTags}},
	{"DELETE", onBucket, "tagging", plainly, operation{name: "DeleteBucketTagging", serve: deleteBucketTags}},
	{"GET", onBucket, "acl", plainly, operation{name: "GetBucketAcl", serve: getBucketACL}},
	{"PUT", onBucket, "acl", plainly, operation{name: "PutBucketAcl", serve: putBucketACL}},

	{"PUT", onObject, "", plainly, operation{name: "PutObject", serve: putObject}},
	{"PUT", onObject, "", fromCopy, operation{name: "CopyObject", serve: copyObject}},
	{"GET", onObject, "", plainly, operation{name: "GetObject", serve: getObject, versions: true}},
	{"HEAD", onObject, "", plainly, operation{name: "HeadObject", serve: headObject, versions: true}},
	{"DELETE", onObject, "", plainly, operation{name: "DeleteObject", serve: deleteObject, versions: true}},
	{"GET", onObject, "tagging", plainly, operation{name: "GetObjectTagging", serve: getTags, versions: true}},
	{"PUT", onObject, "tagging", plainly, operation{name: "PutObjectTagging", serve: putTags, versions: true}},
	{"DELETE", onObject, "tagging", plainly, operation{name: "DeleteObjectTagging", serve: deleteTags, versions: true}},
	{"GET", onObject, "attributes", plainly, operation{name: "GetObjectAttributes", serve: getAttributes, versions: true}},
	{"GET", onObject, "acl", plainly, operation{name: "GetObjectAcl", serve: getObjectACL, versions: true}},
	{"PUT", onObject, "acl", plainly, operation{name: "PutObjectAcl", serve: putObjectACL, versions: true}},
	{"POST", onObject, "uploads", plainly, operation{name: "CreateMultipartUpload", serve: createUpload}},
	{"PUT", onObject, "uploadId", withPart, operation{name: "UploadPart", serve: uploadPart}},
	{"PUT", onObject, "uploadId", fromCopy, operation{name: "UploadPartCopy", serve: copyPart}},
	{"GET", onObject, "uploadId", plainly, operation{name: "ListParts", serve: listParts}},
	{"POST", onObject, "uploadId", plainly, operation{name: "CompleteMultipartUpload", serve: completeUpload}},
	{"DELETE", onObject, "uploadId", plainly, operation{name: "AbortMultipartUpload", serve: abortUpload}},

	// Never configured: the documents and codes that S3 answers then.
	{"GET", onBucket, "accelerate", plainly, operation{name: "GetBucketAccelerateConfiguration", serve: unset("AccelerateConfiguration")}},
	{"GET", onBucket, "logging", plainly, operation{name: "GetBucketLogging", serve: unset("BucketLoggingStatus")}},
	{"GET", onBucket, "notification", plainly, operation{name: "GetBucketNotificationConfiguration", serve: unset("NotificationConfiguration")}},
	{"GET", onBucket, "requestPayment", plainly, operation{name: "GetBucketRequestPayment", serve: getRequestPayment}},
	{"GET", onBucket, "policy", plainly, operation{name: "GetBucketPolicy", serve: notSet(codeNoPolicy)}},
	{"GET", onBucket, "policyStatus", plainly, operation{name: "GetBucketPolicyStatus", serve: notSet(codeNoPolicy)}},
	{"GET", onBucket, "lifecycle", plainly, operation{name: "GetBucketLifecycleConfiguration", serve: notSet(codeNoLifecycle)}},
	{"GET", onBucket, "cors", plainly, operation{name: "GetBucketCors", serve: notSet(codeNoCORS)}},
	{"GET", onBucket, "website", plainly, operation{name: "GetBucketWebsite", serve: notSet(codeNoWebsite)}},
	{"GET", onBucket, "encryption", plainly, operation{name: "GetBucketEncryption", serve: notSet(codeNoEncryption)}},
	{"GET", onBucket, "object-lock", plainly, operation{name: "GetObjectLockConfiguration", serve: notSet(codeNoObjectLock)}},
	{"GET", onBucket, "replication", plainly, operation{name: "GetBucketReplication", serve: notSet(codeNoReplication)}},
	{"GET", onBucket, "publicAccessBlock", plainly, operation{name: "GetPublicAccessBlock", serve: notSet(codeNoPublicAccessBlock)}},
	{"GET", onBucket, "ownershipControls", plainly, operation{name: "GetBucketOwnershipControls", serve: notSet(codeNoOwnership)}},
	{"GET", onBucket, "analytics", plainly, operation{name: "GetBucketAnalyticsConfiguration", serve: noneOf("ListBucketAnalyticsConfigurationResult")}},
	{"GET", onBucket, "inventory", plainly, operation{name: "GetBucketInventoryConfiguration", serve: noneOf("ListInventoryConfigurationsResult")}},
	{"GET", onBucket, "metrics", plainly, operation{name: "GetBucketMetricsConfiguration", serve: noneOf("ListMetricsConfigurationsResult")}},
	{"GET", onBucket, "intelligent-tiering", plainly, operation{name: "GetBucketIntelligentTieringConfiguration", serve: noneOf("ListBucketIntelligentTieringConfigurationsOutput")}},
	{"GET", onObject, "retention", plainly, operation{name: "GetObjectRetention", serve: noObjectLock, versions: true}},
	{"GET", onObject, "legal-hold", plainly, operation{name: "GetObjectLegalHold", serve: noObjectLock, versions: true}},

	// Not built yet.
	{"PUT", onBucket, "accelerate", plainly, operation{name: "PutBucketAccelerateConfiguration", serve: notImplemented}},
	{"PUT", onBucket, "logging", plainly, operation{name: "PutBucketLogging", serve: notImplemented}},
	{"PUT", onBucket, "notification", plainly, operation{name: "PutBucketNotificationConfiguration", serve: putNotification}},
	{"PUT", onBucket, "requestPayment", plainly, operation{name: "PutBucketRequestPayment", serve: notImplemented}},
	{"PUT", onBucket, "policy", plainly, operation{name: "PutBucketPolicy", serve: notImplemented}},
	{"DELETE", onBucket, "policy", plainly, operation{name: "DeleteBucketPolicy", serve: neverSet}},
	{"PUT", onBucket, "lifecycle", plainly, operation{name: "PutBucketLifecycleConfiguration", serve: notImplemented}},
	{"DELETE", onBucket, "lifecycle", plainly, operation{name: "DeleteBucketLifecycle", serve: notImplemented}},
	{"PUT", onBucket, "cors", plainly, operation{name: "PutBucketCors", serve: notImplemented}},
	{"DELETE", onBucket, "cors", plainly, operation{name: "DeleteBucketCors", serve: notImplemented}},
	{"PUT", onBucket, "website", plainly, operation{name: "PutBucketWebsite", serve: notImplemented}},
	{"DELETE", onBucket, "website", plainly, operation{name: "DeleteBucketWebsite", serve: notImplemented}},
	{"PUT", onBucket, "encryption", plainly, operation{name: "PutBucketEncryption", serve: notImplemented}},
	{"DELETE", onBucket, "encryption", plainly, operation{name: "DeleteBucketEncryption", serve: neverSet}},
	{"PUT", onBucket, "object-lock", plainly, operation{name: "PutObjectLockConfiguration", serve: notImplemented}},
	{"PUT", onBucket, "replication", plainly, operation{name: "PutBucketReplication", serve: notImplemented}},
	{"DELETE", onBucket, "replication", plainly, operation{name: "DeleteBucketReplication", serve: notImplemented}},
	{"PUT", onBucket, "publicAccessBlock", plainly, operation{name: "PutPublicAccessBlock", serve: notImplemented}},
	{"DELETE", onBucket, "publicAccessBlock", plainly, operation{name: "DeletePublicAccessBlock", serve: notImplemented}},
	{"PUT", onBucket, "ownershipControls", plainly, operation{name: "PutBucketOwnershipControls", serve: notImplemented}},
	{"DELETE", onBucket, "ownershipControls", plainly, operation{name: "DeleteBucketOwnershipControls", serve: notImplemented}},
	{"PUT", onBucket, "analytics", plainly, operation{name: "PutBucketAnalyticsConfiguration", serve: notImplemented}},
	{"DELETE", onBucket, "analytics", plainly, operation{name: "DeleteBucketAnalyticsConfiguration", serve: notImplemented}},
	{"PUT", onBucket, "inventory", plainly, operation{name: "PutBucketInventoryConfiguration", serve: notImplemented}},
	{"DELETE", onBucket, "inventory", plainly, operation{name: "DeleteBucketInventoryConfiguration", serve: notImplemented}},
	{"PUT", onBucket, "metrics", plainly, operation{name: "PutBucketMetricsConfiguration", serve: notImplemented}},
	{"DELETE", onBucket, "metrics", plainly, operation{name: "DeleteBucketMetricsConfiguration", serve: notImplemented}},
	{"PUT", onBucket, "intelligent-tiering", plainly, operation{name: "PutBucketIntelligentTieringConfiguration", serve: notImplemented}},
	{"DELETE", onBucket, "intelligent-tiering", plainly, operation{name: "DeleteBucketIntelligentTieringConfiguration", serve: notImplemented}},
	{"GET", onBucket, "session", plainly, operation{name: "CreateSession", serve: notImplemented}},
	{"GET", onBucket, "events", plainly, operation{name: "ListenBucketNotification", serve: notImplemented}},
	{"GET", onBucket, "abac", plainly, operation{name: "GetBucketAbac", serve: notImplemented}},
	{"PUT", onBucket, "abac", plainly, operation{name: "PutBucketAbac", serve: notImplemented}},
	{"GET", onBucket, "metadataTable", plainly, operation{name: "GetBucketMetadataTableConfiguration", serve: notImplemented}},
	{"POST", onBucket, "metadataTable", plainly, operation{name: "CreateBucketMetadataTableConfiguration", serve: notImplemented}},
	{"DELETE", onBucket, "metadataTable", plainly, operation{name: "DeleteBucketMetadataTableConfiguration", serve: notImplemented}},
	{"GET", onBucket, "metadataConfiguration", plainly, operation{name: "GetBucketMetadataConfiguration", serve: notImplemented}},
	{"POST", onBucket, "metadataConfiguration", plainly, operation{name: "CreateBucketMetadataConfiguration", serve: notImplemented}},
	{"DELETE", onBucket, "metadataConfiguration", plainly, operation{name: "DeleteBucketMetadataConfiguration", serve: notImplemented}},
	{"PUT", onBucket, "metadataInventoryTable", plainly, operation{name: "UpdateBucketMetadataInventoryTableConfiguration", serve: notImplemented}},
	{"PUT", onBucket, "metadataJournalTable", plainly, operation{name: "UpdateBucketMetadataJournalTableConfiguration", serve: notImplemented}},
	{"PUT", onObject, "retention", plainly, operation{name: "PutObjectRetention", serve: notImplemented, versions: true}},
	{"PUT", onObject, "legal-hold", plainly, operation{name: "PutObjectLegalHold", serve: notImplemented, versions: true}},
	{"POST", onObject, "restore", plainly, operation{name: "RestoreObject", serve: notImplemented, versions: true}},
	{"POST", onObject, "select", plainly, operation{name: "SelectObjectContent", serve: notImplemented, versions: true}},
	{"GET", onObject, "torrent", plainly, operation{name: "GetObjectTorrent", serve: notImplemented, versions: true}},
	{"PUT", onObject, "renameObject", plainly, operation{name: "RenameObject", serve: notImplemented}},
	{"PUT", onObject, "encryption", plainly, operation{name: "UpdateObjectEncryption", serve: notImplemented, versions: true}},
	{"GET", onObject, "annotation", plainly, operation{name: "GetObjectAnnotation", serve: notImplemented, versions: true}},
	{"PUT", onObject, "annotation", plainly, operation{name: "PutObjectAnnotation", serve: notImplemented, versions: true}},
	{"DELETE", onObject, "annotation", plainly, operation{name: "DeleteObjectAnnotation", serve: notImplemented, versions: true}},
	{"PUT", onBucket, "metadataAnnotationTable", plainly, operation{name: "UpdateBucketMetadataAnnotationTableConfiguration", serve: notImplemented}},
	{"GET", onService, "max-directory-buckets", plainly, operation{name: "ListDirectoryBuckets", serve: notImplemented}},
	{"GET", onObject, "lambdaArn", plainly, operation{name: "GetObjectLambda", serve: notImplemented, versions: true}},

	// MinIO's own.
	{"GET", onBucket, "minio-inventory", plainly, operation{name: "GetMinioInventory", serve: notImplemented}},
	{"GET", onBucket, "qos", plainly, operation{name: "GetBucketQoS", serve: notImplemented}},
	{"GET", onBucket, "qos-metrics", plainly, operation{name: "GetBucketQoSMetrics", serve: notImplemented}},
	{"GET", onBucket, "replication-check", plainly, operation{name: "CheckReplication", serve: notImplemented}},
	{"GET", onBucket, "replication-metrics", plainly, operation{name: "GetReplicationMetrics", serve: notImplemented}},
	{"PUT", onBucket, "replication-reset", plainly, operation{name: "ResetReplication", serve: notImplemented}},
	{"PUT", onBucket, "replication-reset-cancel", plainly, operation{name: "CancelReplicationReset", serve: notImplemented}},
	{"GET", onBucket, "replication-reset-status", plainly, operation{name: "GetReplicationResetStatus", serve: notImplemented}},
}

type routeKey struct {
	method string
	level
	sub string
	variant
}

// table is routes as looked up; subresources is every sub-resource that any
// row has.
var table, subresources = func() (map[routeKey]*operation, map[string]bool) {
	t, subs := make(map[routeKey]*operation, len(routes)), make(map[string]bool)
	for i := range routes {
		r := &routes[i]
		t[routeKey{r.method, r.level, r.sub, r.variant}] = &r.operation
		if r.sub != "" {
			subs[r.sub] = true
		}
	}
	return t, subs
}()

// parameters are the query names that refine an operation without changing
// which it is. Names that begin with x- are the client's own, for its logs, or
// the signature's.
var parameters = func() map[string]bool {
	names := map[string]bool{
		"list-type": true, "prefix": true, "delimiter": true, "marker": true, "max-keys": true, "encoding-type": true,
		"start-after": true, "continuation-token": true, "fetch-owner": true, "key-marker": true, "version-id-marker": true,
		"upload-id-marker": true, "max-uploads": true, "max-parts": true, "part-number-marker": true, "partNumber": true,
		"versionId": true, "x-id": true, "max-buckets": true, "bucket-region": true, "id": true, "select-type": true,
		// A presigned URL of Version 2, with the headers that SDKs move into it, and
		// what SDKs let anyone presign for every method.
		"AWSAccessKeyId": true, "Signature": true, "Expires": true, "content-type": true, "content-md5": true,
	}
	for _, o := range overrides {
		names[o.param] = true
	}
	return names
}()

// unheard reports a name that is likely a sub-resource of a later day: no plain
// write is served in its place, and least of all a delete.
func (p *param) unheard(method string) bool {
	if method == http.MethodGet || method == http.MethodHead || parameters[p.name] {
		return false
	}
	if len(p.name) > 2 && (p.name[0] == 'x' || p.name[0] == 'X') && p.name[1] == '-' {
		return false
	}
	return p.value == "" || method == http.MethodDelete
}

// These never fail a look-up of nil: what has no row.
var (
	opMethodNotAllowed = &operation{name: "Unknown", serve: methodNotAllowed, versions: true}
	opPreflight        = &operation{name: "Preflight", serve: preflight, versions: true, form: true}
	opNotBuilt         = &operation{name: "Unknown", serve: notImplemented, versions: true}
)

// resolve finds the operation that the request means.
func (c *call) resolve() (*operation, error) {
	if c.r.Method == http.MethodOptions {
		return opPreflight, nil
	}
	sub := ""
	for i := range c.q.params {
		p := &c.q.params[i]
		switch {
		case subresources[p.name]:
			if sub != "" && sub != p.name {
				return opNotBuilt, refuse(codeInvalidArgument, "Conflicting query string parameters: "+sub+", "+p.name,
					field{"ArgumentName", "ResourceType"}, field{"ArgumentValue", sub})
			}
			sub = p.name
		case p.unheard(c.r.Method):
			return opNotBuilt, nil
		}
	}
	c.sub = sub
	op := table[routeKey{c.r.Method, c.level, sub, c.variant(sub)}]
	switch {
	case op == nil:
		return opMethodNotAllowed, nil
	case !op.versions && c.q.has("versionId"):
		return op, argument("versionId", c.q.get("versionId"), "This operation does not accept a version-id.")
	case sub == "" && c.q.has("partNumber") && !c.reads():
		// A part whose uploadId was lost must not replace the object.
		return op, argument("partNumber", c.q.get("partNumber"), "This operation does not accept a part number without an upload ID.")
	}
	return op, nil
}

func (c *call) variant(sub string) variant {
	switch {
	case c.level == onObject && c.r.Method == http.MethodPut && (sub == "" || sub == "uploadId"):
		switch {
		case len(c.r.Header["X-Amz-Copy-Source"]) > 0, c.presigned() && c.q.hasFold("x-amz-copy-source"):
			return fromCopy
		case sub == "uploadId":
			return withPart
		}
	case c.level == onBucket && sub == "" && c.r.Method == http.MethodGet:
		if c.q.get("list-type") == "2" {
			return listV2
		}
	case c.level == onBucket && sub == "" && c.r.Method == http.MethodPost:
		if isForm(c.r.Header) {
			return formData
		}
	}
	return plainly
}

// presigned reports whether the query carries the request's signature, and with
// it headers that count the same as those sent.
func (c *call) presigned() bool { return c.q.has("X-Amz-Signature") || c.q.has("Signature") }

// allowed are the methods that the request's path and sub-resource know (RFC
// 9110, section 15.5.6).
func (c *call) allowed() string {
	var methods []string
	for i := range routes {
		if r := &routes[i]; r.level == c.level && r.sub == c.sub && !slices.Contains(methods, r.method) {
			methods = append(methods, r.method)
		}
	}
	return strings.Join(methods, ", ")
}

// locate reads which bucket and key the request names, in path or
// virtual-host style.
//
// It works on the path as sent: decoding first would take an escaped slash in
// a bucket's place for a separator.
func (c *call) locate() error {
	path, escaped := c.r.URL.Path, false
	if c.r.URL.RawPath != "" {
		path, escaped = c.r.URL.RawPath, true
	}
	if path == "" {
		path = "/" // absolute-form without a path: RFC 9112, section 3.2.2
	}
	if path[0] != '/' {
		return refuse(codeInvalidURI, "")
	}
	rest := path[1:]
	name, hosted := HostBucket(c.h.domains, c.r.Host)
	if !hosted {
		var more bool
		name, rest, more = strings.Cut(rest, "/")
		if name == "" {
			if more {
				return refuse(codeInvalidBucketName, "")
			}
			c.level = onService
			return nil
		}
	}
	if escaped {
		var err error
		if name, err = url.PathUnescape(name); err != nil {
			return refuse(codeInvalidURI, "")
		}
		if rest, err = url.PathUnescape(rest); err != nil {
			return refuse(codeInvalidURI, "")
		}
	}
	c.bucket, c.key, c.level = name, rest, onBucket
	if rest != "" {
		c.level = onObject
	}
	return nil
}

// HostBucket returns the bucket that a virtual-host style request names, by
// base domains; a host's case and a last dot mean nothing. ok is false where the
// request is not of that style.
func HostBucket(domains []string, host string) (bucket string, ok bool) {
	if len(domains) == 0 {
		return "", false
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.IndexByte(host[i:], ']') < 0 {
		host = host[:i]
	}
	host = strings.TrimSuffix(host, ".")
	for _, d := range domains {
		n := len(host) - len(d)
		if n > 1 && host[n-1] == '.' && strings.EqualFold(host[n:], d) {
			return strings.ToLower(host[:n-1]), true
		}
	}
	return "", false
}

// reads reports whether the request's method changes nothing.
func (c *call) reads() bool {
	return c.r.Method == http.MethodGet || c.r.Method == http.MethodHead
}

func methodNotAllowed(c *call) error { return refuse(codeMethodNotAllowed, "") }
