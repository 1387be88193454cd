package auth

import (
	"strings"
	"time"

	"github.com/cairnstore/cairn/engine/auth/internal/sigv4"
)

// A Post is an authenticated form upload.
type Post struct {
	AccessKey string
	// MinLength and MaxLength bound the file by the policy's
	// content-length-range; MaxLength is -1 where there is none.
	MinLength, MaxLength int64
}

// CheckLength refuses a file of n bytes that breaks the bounds. While a file is
// still streaming, only EntityTooLarge is final.
func (p *Post) CheckLength(n int64) error {
	switch {
	case p.MaxLength >= 0 && n > p.MaxLength:
		return refuse(EntityTooLarge, "the file is larger than the policy's content-length-range allows")
	case n < p.MinLength:
		return refuse(EntityTooSmall, "the file is smaller than the policy's content-length-range asks for")
	}
	return nil
}

// VerifyPost checks a POST form upload to bucket: the signature over its policy,
// and its fields against that policy. fields are those that came before the
// file, names in lower case, with ${filename} already replaced: conditions
// are held against what will be stored. The file is not a field.
func (v *Verifier) VerifyPost(fields map[string]string, bucket string) (*Post, error) {
	policy, signed := fields["policy"]
	if !signed {
		return nil, refuse(AccessDenied, "the form has no policy, and anonymous uploads are not allowed")
	}
	if _, old := fields["awsaccesskeyid"]; old && fields["x-amz-algorithm"] == "" {
		return v.verifyPost2(fields, bucket)
	}
	c, flaw := v.postCredential(fields)
	if flaw != nil {
		return nil, flaw
	}
	if fields["x-amz-security-token"] != "" {
		return nil, &Error{Kind: InvalidToken, AccessKey: c.accessKey, Message: "the form has a session token, and this server has issued none"}
	}
	secret, ok := v.o.Secret(c.accessKey)
	if !ok {
		return nil, &Error{Kind: InvalidAccessKey, AccessKey: c.accessKey, Message: "the access key does not exist"}
	}
	key := v.keys.get(c, secret)
	w := works.Get().(*work)
	defer w.release()
	if !matches(w.hasher.Sign(key.Key, []byte(policy)), fields["x-amz-signature"]) {
		return nil, &Error{
			Kind:         SignatureMismatch,
			Message:      "the signature is not the one that this policy and the access key's secret give",
			StringToSign: policy,
			AccessKey:    c.accessKey,
		}
	}
	return v.checkPolicy(policy, fields, bucket, key.accessKey)
}

func (v *Verifier) postCredential(fields map[string]string) (credential, *Error) {
	if fields["x-amz-algorithm"] != sigv4.Algorithm {
		return credential{}, refuse(UnsupportedSignature, "the form's x-amz-algorithm must be AWS4-HMAC-SHA256")
	}
	c, ok := parseCredential(fields["x-amz-credential"])
	if !ok {
		return c, refuse(MalformedQuery, "the form's x-amz-credential must be ACCESS-KEY/DATE/REGION/s3/aws4_request")
	}
	date := fields["x-amz-date"]
	if _, ok := sigv4.ParseDateTime(date); !ok {
		return c, refuse(MalformedQuery, "the form's x-amz-date must have the form 20060102T150405Z")
	}
	if flaw := c.flaw(v.o.Region, date, false); flaw != "" {
		return c, refuse(MalformedQuery, "the form's x-amz-credential is wrong: "+flaw)
	}
	return c, nil
}

// checkPolicy holds the fields against a policy whose signature was right.
func (v *Verifier) checkPolicy(text string, fields map[string]string, bucket, accessKey string) (*Post, error) {
	p, err := parsePolicy(text)
	if err != nil {
		return nil, &Error{Kind: MalformedPolicy, Message: "the policy cannot be read: " + err.Error(), Err: err}
	}
	if !v.o.Now().Before(p.expiration) {
		return nil, refuse(RequestExpired, "the policy has expired")
	}
	if given, ok := fields["bucket"]; ok && given != bucket {
		return nil, refuse(PolicyViolated, "the form's bucket is not the one that it is sent to")
	}
	covered := map[string]bool{}
	for _, c := range p.conditions {
		value := fields[c.field]
		if c.field == "bucket" {
			value = bucket
		}
		if !c.holds(value) {
			return nil, refuse(PolicyViolated, "Invalid according to Policy: Policy Condition failed: "+c.String())
		}
		covered[c.field] = true
	}
	if !covered["bucket"] {
		return nil, refuse(PolicyViolated, "Invalid according to Policy: the policy has no condition for the bucket")
	}
	for name := range fields {
		if !covered[name] && mustCover(name) {
			return nil, refuse(PolicyViolated, "Invalid according to Policy: Extra input fields: "+name)
		}
	}
	return &Post{AccessKey: accessKey, MinLength: p.minLength, MaxLength: p.maxLength}, nil
}

// mustCover: these fields alone need no condition (S3 API reference, "POST
// policy").
func mustCover(name string) bool {
	switch name {
	case "x-amz-signature", "awsaccesskeyid", "signature", "file", "policy", "bucket":
		return false
	}
	return !strings.HasPrefix(name, "x-ignore-")
}

// policy is a POST policy, read.
type policy struct {
	expiration           time.Time
	conditions           []condition
	minLength, maxLength int64
}
