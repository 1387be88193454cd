package s3

// Header values that never change are shared: net/http only reads them.
var (
	valueServer    = []string{"Cairn"}
	valueXML       = []string{"application/xml"}
	valueBytes     = []string{"bytes"}
	valueTrue      = []string{"true"}
	valueZero      = []string{"0"}
	valueOctets    = []string{"binary/octet-stream"} // what S3 answers where no type was stored
	valueFull      = []string{typeFullObject}
	valueComposite = []string{typeComposite}
	valueClose     = []string{"close"}
	retryAfter     = []string{"1"}
)

const (
	xmlProlog    = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"
	xmlNamespace = "http://s3.amazonaws.com/doc/2006-03-01/"

	typeFullObject = "FULL_OBJECT"
	typeComposite  = "COMPOSITE"

	standardClass = "STANDARD"
	nullVersion   = "null"
	defaultRegion = "us-east-1"
)

// Limits of the S3 API ("Amazon S3 multipart upload limits" and each operation's page).
const (
	maxPutSize      = 5 << 30
	maxPageKeys     = 1000
	maxDeleteKeys   = 1000
	maxParts        = 10_000
	maxBuckets      = 10_000
	maxHeaderBytes  = 8 << 10
	maxFormBytes    = 20 << 10
	maxDocument     = 256 << 10 // small configuration documents; 50 tags of the longest kind fit
	maxLongDocument = 4 << 20   // CompleteMultipartUpload of 10,000 parts with checksums, DeleteObjects of 1,000 long keys
)
