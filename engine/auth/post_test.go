package auth

import (
	"encoding/base64"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// form signs a policy with these conditions (JSON, without brackets) besides
// those for the bucket and the signature's own fields, and returns the form.
func form(conditions string, fields map[string]string) map[string]string {
	own := exampleSigner.Fields(exampleTime)
	text := `{"expiration": "2013-05-24T01:00:00Z", "conditions": [{"bucket": "bucket"}`
	for name, value := range own {
		text += fmt.Sprintf(`, {%q: %q}`, name, value)
	}
	if conditions != "" {
		text += ", " + conditions
	}
	all := exampleSigner.Post([]byte(text+"]}"), exampleTime)
	maps.Copy(all, fields)
	return all
}

func TestPostConditions(t *testing.T) {
	v := verifierAt(t, exampleTime)
	const none = 255
	for _, c := range []struct {
		conditions string
		fields     map[string]string
		want       Kind
	}{
		{``, nil, none},
		{`{"key": "a"}`, map[string]string{"key": "a"}, none},
		{`{"key": "a"}`, map[string]string{"key": "b"}, PolicyViolated},
		{`{"key": "a"}`, nil, PolicyViolated},
		{`{"KEY": "a"}`, map[string]string{"key": "a"}, none},
		{`{"key": "a", "acl": "private"}`, map[string]string{"key": "a", "acl": "private"}, none},
		{`["eq", "$key", "a"]`, map[string]string{"key": "a"}, none},
		{`["EQ", "$Key", "a"]`, map[string]string{"key": "a"}, none},
		{`["eq", "$key", "a"]`, map[string]string{"key": "ab"}, PolicyViolated},
		{`["starts-with", "$key", "user/"]`, map[string]string{"key": "user/photo"}, none},
		{`["starts-with", "$key", "user/"]`, map[string]string{"key": "other/photo"}, PolicyViolated},
		{`["starts-with", "$key", "user/"]`, nil, PolicyViolated},
		{`["starts-with", "$key", ""]`, map[string]string{"key": "anything"}, none},
		{`["starts-with", "$key", "a"], ["starts-with", "$key", "ab"]`, map[string]string{"key": "ac"}, PolicyViolated},
		{`["starts-with", "$Content-Type", "image/"]`, map[string]string{"content-type": "image/jpeg"}, none},
		{`["starts-with", "$Content-Type", "image/"]`, map[string]string{"content-type": "image/jpeg, image/png"}, none},
		{`["starts-with", "$Content-Type", "image/"]`, map[string]string{"content-type": "image/jpeg,text/html"}, PolicyViolated},
		{`["starts-with", "$key", "a"]`, map[string]string{"key": "a,b"}, none},
		{``, map[string]string{"acl": "public-read"}, PolicyViolated},
		{``, map[string]string{"x-amz-meta-a": "1"}, PolicyViolated},
		{``, map[string]string{"x-ignore-this": "1"}, none},
		{``, map[string]string{"file": "1"}, none},
		{``, map[string]string{"bucket": "bucket"}, none},
		{``, map[string]string{"bucket": "other"}, PolicyViolated},
		{`["eq", "$key", 1]`, nil, MalformedPolicy},
		{`["eq", "key", "a"]`, nil, MalformedPolicy},
		{`["eq", "$", "a"]`, nil, MalformedPolicy},
		{`["ends-with", "$key", "a"]`, nil, MalformedPolicy},
		{`["eq", "$key"]`, nil, MalformedPolicy},
		{`["eq", "$key", "a", "b"]`, nil, MalformedPolicy},
		{`{"key": ["a"]}`, nil, MalformedPolicy},
		{`"key"`, nil, MalformedPolicy},
		{`null`, nil, MalformedPolicy},
		{`["content-length-range", 10, 1]`, nil, MalformedPolicy},
		{`["content-length-range", -1, 1]`, nil, MalformedPolicy},
		{`["content-length-range", 1.5, 2]`, nil, MalformedPolicy},
		{`["content-length-range", 1, null]`, nil, MalformedPolicy},
		{`["content-length-range", 1, 99999999999999999999]`, nil, MalformedPolicy},
	} {
		_, err := v.VerifyPost(form(c.conditions, c.fields), "bucket")
		if c.want == none {
			require.NoError(t, err, "%s %v", c.conditions, c.fields)
			continue
		}
		requireKind(t, c.want, err, c.conditions, c.fields)
	}
}

func TestPostBucket(t *testing.T) {
	v := verifierAt(t, exampleTime)
	_, err := v.VerifyPost(form("", nil), "other")
	requireKind(t, PolicyViolated, err)
	fields := exampleSigner.Post([]byte(`{"expiration": "2013-05-24T01:00:00Z", "conditions": [["starts-with", "$x-amz-algorithm", ""], ["starts-with", "$x-amz-credential", ""], ["starts-with", "$x-amz-date", ""]]}`), exampleTime)
	_, err = v.VerifyPost(fields, "bucket")
	requireKind(t, PolicyViolated, err)
	require.Contains(t, err.Error(), "bucket")
}

func TestPostLength(t *testing.T) {
	v := verifierAt(t, exampleTime)
	post, err := v.VerifyPost(form(`["content-length-range", 5, 10]`, nil), "bucket")
	require.NoError(t, err)
	require.Equal(t, &Post{AccessKey: exampleKey, MinLength: 5, MaxLength: 10}, post)
	requireKind(t, EntityTooSmall, post.CheckLength(4))
	require.NoError(t, post.CheckLength(5))
	require.NoError(t, post.CheckLength(10))
	requireKind(t, EntityTooLarge, post.CheckLength(11))
	post, err = v.VerifyPost(form(`["content-length-range", "1", "10"], ["content-length-range", 5, 100]`, nil), "bucket")
	require.NoError(t, err)
	require.Equal(t, &Post{AccessKey: exampleKey, MinLength: 5, MaxLength: 10}, post)
	post, err = v.VerifyPost(form("", nil), "bucket")
	require.NoError(t, err)
	require.NoError(t, post.CheckLength(0))
	require.NoError(t, post.CheckLength(1<<50))
}

func TestPostCredentials(t *testing.T) {
	with := func(name, value string) map[string]string {
		f := form("", nil)
		f[name] = value
		return f
	}
	without := func(name string) map[string]string {
		f := form("", nil)
		delete(f, name)
		return f
	}
	v := verifierAt(t, exampleTime)
	for name, c := range map[string]struct {
		fields map[string]string
		want   Kind
	}{
		"anonymous":         {map[string]string{"key": "a"}, AccessDenied},
		"no policy":         {without("policy"), AccessDenied},
		"no algorithm":      {without("x-amz-algorithm"), UnsupportedSignature},
		"other algorithm":   {with("x-amz-algorithm", "AWS4-ECDSA-P256-SHA256"), UnsupportedSignature},
		"no credential":     {without("x-amz-credential"), MalformedQuery},
		"no date":           {without("x-amz-date"), MalformedQuery},
		"other date":        {with("x-amz-date", "20130525T000000Z"), MalformedQuery},
		"other region":      {with("x-amz-credential", exampleKey+"/20130524/eu-west-1/s3/aws4_request"), MalformedQuery},
		"unknown key":       {with("x-amz-credential", "K/20130524/us-east-1/s3/aws4_request"), InvalidAccessKey},
		"session token":     {with("x-amz-security-token", "t"), InvalidToken},
		"no signature":      {without("x-amz-signature"), SignatureMismatch},
		"wrong signature":   {with("x-amz-signature", strings.Repeat("0", 64)), SignatureMismatch},
		"policy was edited": {with("policy", base64.StdEncoding.EncodeToString([]byte(`{"expiration":"2100-01-01T00:00:00Z","conditions":[]}`))), SignatureMismatch},
	} {
		_, err := v.VerifyPost(c.fields, "bucket")
		requireKind(t, c.want, err, name)
	}
}

func TestPolicyDocument(t *testing.T) {
	v := verifierAt(t, exampleTime)
	for _, document := range []string{
		``, `{`, `[]`, `null`, `{}`,
		`{"expiration": "2013-05-24T01:00:00Z"}`,
		`{"conditions": []}`,
		`{"expiration": "tomorrow", "conditions": []}`,
		`{"expiration": 1, "conditions": []}`,
		`{"expiration": "2013-05-24T01:00:00Z", "conditions": {}}`,
		`{"expiration": "2013-05-24T01:00:00Z", "conditions": [], "more": 1}`,
		`{"expiration": "2013-05-24T01:00:00Z", "conditions": []} {}`,
		`{"expiration": "2013-05-24T01:00:00Z", "conditions": []}` + strings.Repeat(" ", maxPolicy),
	} {
		_, err := v.VerifyPost(exampleSigner.Post([]byte(document), exampleTime), "bucket")
		requireKind(t, MalformedPolicy, err, fmt.Sprintf("%.80s", document))
	}
	fields := exampleSigner.Post(nil, exampleTime)
	fields["policy"] = "not base64!"
	_, err := v.VerifyPost(fields, "bucket")
	requireKind(t, SignatureMismatch, err, "the signature is looked at first")
	_, err = parsePolicy("not base64!")
	require.Error(t, err)
}

func TestPostExpires(t *testing.T) {
	for at, ok := range map[time.Duration]bool{0: true, time.Hour - time.Nanosecond: true, time.Hour: false, 48 * time.Hour: false} {
		_, err := verifierAt(t, exampleTime.Add(at)).VerifyPost(form("", nil), "bucket")
		if ok {
			require.NoError(t, err, at)
			continue
		}
		requireKind(t, RequestExpired, err, at)
	}
}

func TestExampleTampered(t *testing.T) {
	v := verifierAt(t, time.Date(2015, 12, 29, 12, 0, 0, 0, time.UTC))
	for name, value := range examplePost() {
		fields := examplePost()
		fields[name] = value + "x"
		_, err := v.VerifyPost(fields, "sigv4examplebucket")
		switch name {
		case "key", "x-amz-meta-tag", "content-type": // starts-with leaves them open
			require.NoError(t, err, name)
		default:
			require.Error(t, err, name)
		}
	}
}
