package object

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cairnstore/cairn/engine/internal/checksum"
)

// A Kind is a family of the caller's errors; package s3 maps each to its code once.
type Kind uint8

// Kinds of refusal. The name is the meaning; the S3 code of the same or a
// similar name is in the S3 reference, "Error responses".
const (
	KindInternal Kind = iota
	NoSuchBucket
	NoSuchKey
	NoSuchVersion
	NoSuchUpload
	NoSuchTagSet
	BucketExists // S3: BucketAlreadyOwnedByYou
	BucketNotEmpty
	InvalidBucketName
	KeyTooLong
	InvalidKey       // empty or not UTF-8
	MethodNotAllowed // the version named is a delete marker
	PreconditionFailed
	NotModified
	InvalidRange // RangeError has the size
	InvalidPart
	InvalidPartNumber
	InvalidPartOrder
	EntityTooSmall
	EntityTooLarge
	BadDigest // Content-MD5 or a checksum did not match
	InvalidDigest
	InvalidRequest
	InvalidArgument
	InvalidTag
	TooManyTags
	MetadataTooLarge
	IncompleteBody
	InvalidStorageClass
	StorageFull
	SlowDown
	Unavailable
	Corrupt
	TooManyBuckets
	InvalidVersionID
	InvalidBucketState
)

// Error is a refusal: a kind, and what the caller may read about it.
type Error struct {
	Kind    Kind
	Message string // for the caller; empty: the kind's own words
	// DeleteMarker and VersionID are set where S3 tells them beside the error.
	DeleteMarker bool
	VersionID    string
	LastModified time.Time
	// Size is the object's size with InvalidRange. ETag is the current one with
	// NotModified, and so are the headers that a cache needs beside it.
	Size                  int64
	ETag                  string
	CacheControl, Expires string
	// Condition names the header that failed with PreconditionFailed.
	Condition string
	// Source: what is missing is the source of a copy.
	Source bool
	Err    error // the cause, if any
}

func (e *Error) Error() string {
	switch {
	case e.Message != "" && e.Err != nil:
		return fmt.Sprintf("%s: %v", e.Message, e.Err)
	case e.Message != "":
		return e.Message
	case e.Err != nil:
		return e.Err.Error()
	}
	return fmt.Sprintf("object: refusal of kind %d", e.Kind)
}

func (e *Error) Unwrap() error { return e.Err }

// KindOf returns err's kind, KindInternal where it has none.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return KindInternal
}

// Versioning is a bucket's state.
type Versioning uint8

const (
	Unversioned Versioning = iota
	Enabled
	Suspended
)

// Tag is one key and value, in the order given.
type Tag struct{ Key, Value string }

// BucketInfo is a bucket as its owner sees it.
type BucketInfo struct {
	Name       string
	Created    time.Time
	Versioning Versioning
	Region     string
	Owner      string
}

// Usage counts every stored version; parts of open uploads count for none. Exact
// after any crash.
type Usage struct {
	Objects, Bytes int64
}

// ChecksumAlgorithm is one of S3's.
type ChecksumAlgorithm = checksum.Algorithm

const (
	NoChecksum = checksum.None
	CRC32      = checksum.CRC32
	CRC32C     = checksum.CRC32C
	CRC64NVME  = checksum.CRC64NVME
	SHA1       = checksum.SHA1
	SHA256     = checksum.SHA256
)

// ChecksumType says what a multipart object's checksum is of.
type ChecksumType uint8

const (
	FullObject ChecksumType = iota
	Composite               // checksum of the parts' checksums
)

// Checksum is a value in raw bytes (the wire has it in base64).
type Checksum struct {
	Algorithm ChecksumAlgorithm
	Type      ChecksumType
	Value     []byte
	Parts     int // parts behind a composite one
}

// Headers are what a client may store with an object and gets back unchanged.
type Headers struct {
	ContentType        string
	ContentEncoding    string
	ContentLanguage    string
	ContentDisposition string
	CacheControl       string
	Expires            string
	WebsiteRedirect    string
	StorageClass       string // empty is STANDARD
	// User metadata, names in lower case without x-amz-meta-.
	User map[string]string
}

// Conditions are RFC 9110's and S3's. ETags are without quotes and compared as
// they are; "*" stands for any. Zero means no condition.
type Conditions struct {
	IfMatch, IfNoneMatch               []string
	IfModifiedSince, IfUnmodifiedSince time.Time
}

// Info is one version of an object, or a delete marker.
type Info struct {
	Bucket, Key  string
	Size         int64
	ETag         string // without quotes
	Modified     time.Time
	VersionID    string // "null" for the null version, "" in a bucket never versioned
	DeleteMarker bool
	Latest       bool
	Headers      Headers
	Tags         int   // how many; GetTags reads them
	TagSet       []Tag // them, where a list was asked for Details
	Checksum     Checksum
	Parts        int // of a multipart object; 0 for a plain one
	Owner        string
}

// PutInput is one upload.
type PutInput struct {
	Bucket, Key string
	Body        io.Reader // an error from it, short or late, refuses the upload
	Size        int64     // -1: unknown; else Body must have exactly this many
	Headers     Headers
	Tags        []Tag
	ContentMD5  []byte // expected, if not nil
	// Checksum to compute. With a Value it is checked; with ChecksumTrailer the
	// value to check is asked for after Body's end; with neither it is stored.
	Checksum        Checksum
	ChecksumTrailer func() ([]byte, error)
	Conditions      Conditions
	Owner           string
}

// PutOutput is what a write made.
type PutOutput struct {
	ETag      string
	VersionID string // "" in a bucket never versioned
	Size      int64
	Checksum  Checksum
	Modified  time.Time
}

// Range is what a client asks for. Zero value: the whole object.
type Range struct {
	Set bool
	// First and Last are inclusive. Last -1: to the end. First -1: the last Last bytes.
	First, Last int64
}

// GetInput names one version, or the latest, and what part of it.
type GetInput struct {
	Bucket, Key string
	VersionID   string
	Range       Range
	IfRange     IfRange
	PartNumber  int // 0: none; exclusive with Range
	Conditions  Conditions
}

// IfRange says of which version Range is: any other is the answer whole (RFC
// 9110, section 13.1.5). Set with neither, no version is meant.
type IfRange struct {
	Set      bool
	ETag     string    // without quotes
	Modified time.Time // exactly, in whole seconds
}

// GetOutput is one whole version at one moment. Close Body.
type GetOutput struct {
	Info
	// Offset and Length say which bytes Body holds.
	Offset, Length int64
	Partial        bool          // 206: a range or a part was asked for
	PartsCount     int           // with PartNumber of a multipart object
	PartChecksum   Checksum      // with PartNumber, where the part has one of its own
	Body           io.ReadCloser // also an io.WriterTo; nil from Head
}

// DeleteInput names a version to remove for ever, or the latest to hide.
type DeleteInput struct {
	Bucket, Key, VersionID string
	Conditions             Conditions // IfMatch alone
}

// DeleteOutput says what came of it. Deleting what is not there is no error.
type DeleteOutput struct {
	VersionID    string // removed, or of the marker made
	DeleteMarker bool   // a marker was made, or removed
}

// CopyInput copies one version to a key, its own included.
type CopyInput struct {
	SourceBucket, SourceKey, SourceVersionID string
	SourceConditions                         Conditions
	Bucket, Key                              string
	Conditions                               Conditions
	ReplaceMetadata                          bool
	Headers                                  Headers // with ReplaceMetadata; StorageClass always
	ReplaceTags                              bool
	Tags                                     []Tag
	Checksum                                 ChecksumAlgorithm // to compute; NoChecksum keeps the source's, or CRC64NVME where that has none and bytes are copied
	Owner                                    string
}

// CopyOutput adds the version that was copied.
type CopyOutput struct {
	PutOutput
	SourceVersionID string
}

// ListInput pages through keys in order of their bytes.
type ListInput struct {
	Bucket, Prefix, Delimiter string
	After                     string // keys strictly after this one, and after every key it prefixes where it is a common prefix of the page before
	MaxKeys                   int
	Details                   bool // all Headers and tags
}

// ListOutput is one page. Next goes into After for the page after it. Of an
// object's Headers a list has the storage class alone, and it counts no Tags,
// but with Details.
type ListOutput struct {
	Objects   []Info
	Prefixes  []string
	Truncated bool
	Next      string
}

// ListVersionsInput pages through versions: keys ascending, newest first.
type ListVersionsInput struct {
	Bucket, Prefix, Delimiter  string
	KeyMarker, VersionIDMarker string
	MaxKeys                    int
	Details                    bool // as ListInput's
}

// ListVersionsOutput is one page.
type ListVersionsOutput struct {
	Versions                           []Info // delete markers among them
	Prefixes                           []string
	Truncated                          bool
	NextKeyMarker, NextVersionIDMarker string
}

// CreateUploadInput begins a multipart upload.
type CreateUploadInput struct {
	Bucket, Key  string
	Headers      Headers
	Tags         []Tag
	Checksum     ChecksumAlgorithm
	ChecksumType ChecksumType
	Owner        string
	// Conditions are checked at once, and at Complete, where that has none of its own:
	// MinIO's clients send those of a multipart upload here, and not with Complete.
	Conditions Conditions
}

// UploadPartInput is one part's bytes.
type UploadPartInput struct {
	Bucket, Key, UploadID string
	PartNumber            int
	Body                  io.Reader
	Size                  int64
	ContentMD5            []byte
	Checksum              Checksum
	ChecksumTrailer       func() ([]byte, error)
}

// CopyPartInput makes a part from a range of an object.
type CopyPartInput struct {
	SourceBucket, SourceKey, SourceVersionID string
	SourceConditions                         Conditions
	SourceRange                              Range // must lie within the source
	Bucket, Key, UploadID                    string
	PartNumber                               int
}

// PartInfo is one part as listed or named in a Complete.
type PartInfo struct {
	Number   int
	Size     int64
	ETag     string
	Modified time.Time
	Checksum Checksum // per part
}

// CompleteInput finishes an upload.
type CompleteInput struct {
	Bucket, Key, UploadID string
	Parts                 []PartInfo // Number, ETag, and Checksum where given
	Checksum              Checksum   // of the whole object, where given
	TypeGiven             bool       // Checksum.Type must be the upload's, with a value or without
	Size                  int64      // x-amz-mp-object-size; -1 when not given
	Conditions            Conditions
}

// UploadInfo is an upload still open.
type UploadInfo struct {
	Key, UploadID, Owner string
	Initiated            time.Time
	StorageClass         string
	Checksum             ChecksumAlgorithm
	ChecksumType         ChecksumType
}

// ListPartsInput pages through an upload's parts.
type ListPartsInput struct {
	Bucket, Key, UploadID string
	After, MaxParts       int
}

// ListPartsOutput is one page.
type ListPartsOutput struct {
	Upload    UploadInfo
	Parts     []PartInfo
	Truncated bool
	Next      int
}

// ListUploadsInput pages through open uploads by key, then by upload ID.
type ListUploadsInput struct {
	Bucket, Prefix, Delimiter string
	KeyMarker, UploadIDMarker string
	MaxUploads                int
}

// ListUploadsOutput is one page.
type ListUploadsOutput struct {
	Uploads                           []UploadInfo
	Prefixes                          []string
	Truncated                         bool
	NextKeyMarker, NextUploadIDMarker string
}

// AttributesInput asks for GetObjectAttributes.
type AttributesInput struct {
	Bucket, Key, VersionID string
	Conditions             Conditions
	PartsAfter, MaxParts   int // paging of Parts
}

// AttributesOutput is what they are.
type AttributesOutput struct {
	Info
	PartList       []PartInfo // where the object is multipart
	PartsTotal     int
	PartsTruncated bool
	PartsNext      int
}

// API is everything an object store does, whoever asks: the S3 wire, or a
// program in process. Service implements it. All errors that are the caller's
// are *Error. Safe for concurrent use.
type API interface {
	CreateBucket(ctx context.Context, name, region, owner string) error
	Bucket(ctx context.Context, name string) (BucketInfo, error)
	DeleteBucket(ctx context.Context, name string) error
	// Usage has every write that was acknowledged before the call, and so it waits until
	// the index has them.
	Usage(ctx context.Context, bucket string) (Usage, error)
	// ListBuckets returns at most max buckets whose names are after `after` and begin with prefix; more says that others follow.
	ListBuckets(ctx context.Context, prefix, after string, max int) (buckets []BucketInfo, more bool, err error)
	SetVersioning(ctx context.Context, bucket string, v Versioning) error
	// BucketTags fails with NoSuchTagSet where none was set. SetBucketTags with nil deletes them.
	BucketTags(ctx context.Context, bucket string) ([]Tag, error)
	SetBucketTags(ctx context.Context, bucket string, tags []Tag) error

	// CheckPut refuses early what Put would refuse before it reads the body:
	// a missing bucket, a bad key, a failed condition.
	CheckPut(ctx context.Context, bucket, key string, c Conditions) error
	Put(ctx context.Context, in *PutInput) (PutOutput, error)
	Get(ctx context.Context, in *GetInput) (*GetOutput, error)
	Head(ctx context.Context, in *GetInput) (*GetOutput, error)
	Delete(ctx context.Context, in *DeleteInput) (DeleteOutput, error)
	Copy(ctx context.Context, in *CopyInput) (CopyOutput, error)
	Attributes(ctx context.Context, in *AttributesInput) (AttributesOutput, error)
	// Tags returns the version they are of beside them.
	Tags(ctx context.Context, bucket, key, versionID string) (tags []Tag, version string, err error)
	SetTags(ctx context.Context, bucket, key, versionID string, tags []Tag) (version string, err error)

	List(ctx context.Context, in *ListInput) (ListOutput, error)
	ListVersions(ctx context.Context, in *ListVersionsInput) (ListVersionsOutput, error)

	CreateUpload(ctx context.Context, in *CreateUploadInput) (uploadID string, err error)
	// CheckUpload refuses early what UploadPart would refuse before it reads the
	// body, and returns the upload for its checksum algorithm.
	CheckUpload(ctx context.Context, bucket, key, uploadID string) (UploadInfo, error)
	UploadPart(ctx context.Context, in *UploadPartInput) (PartInfo, error)
	CopyPart(ctx context.Context, in *CopyPartInput) (part PartInfo, sourceVersion string, err error)
	Complete(ctx context.Context, in *CompleteInput) (PutOutput, error)
	AbortUpload(ctx context.Context, bucket, key, uploadID string) error
	ListParts(ctx context.Context, in *ListPartsInput) (ListPartsOutput, error)
	ListUploads(ctx context.Context, in *ListUploadsInput) (ListUploadsOutput, error)
}
