package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The clients that people have, unchanged, against a real server. ci/setup
// installs them; with CI=true one that is missing is a failure.

// client finds a program, in the repository's .tools first, then where the
// distribution puts it: other copies in PATH may be of any version.
func client(t *testing.T, name string) string {
	t.Helper()
	tools, err := filepath.Abs(filepath.Join("..", "..", ".tools", name))
	require.NoError(t, err)
	for _, path := range []string{tools, "/usr/bin/" + name} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	missing(t, name+" is not installed; ci/setup installs it")
	return ""
}

func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip("SKIPPED: " + what)
}

// A shop runs clients against one server, with a home of their own.
type shop struct {
	*process
	home string
	env  []string
}

func openShop(t *testing.T, flags ...string) *shop {
	t.Helper()
	p := start(t, t.TempDir(), nil, flags...)
	k := p.keys()
	s := &shop{process: p, home: t.TempDir()}
	s.env = []string{
		"HOME=" + s.home, "PATH=/usr/bin:/bin",
		"AWS_ACCESS_KEY_ID=" + k.AccessKey, "AWS_SECRET_ACCESS_KEY=" + k.SecretKey, "AWS_DEFAULT_REGION=us-east-1",
		"AWS_EC2_METADATA_DISABLED=true", "ENDPOINT=http://" + p.address,
		"RCLONE_CONFIG=" + write(t, s.home, "rclone.conf", ""),
		"RCLONE_CONFIG_CAIRN_TYPE=s3", "RCLONE_CONFIG_CAIRN_PROVIDER=Other", "RCLONE_CONFIG_CAIRN_ENV_AUTH=true", "RCLONE_CONFIG_CAIRN_ENDPOINT=http://" + p.address,
	}
	return s
}

// run runs a client and returns what it said; it must succeed.
func (s *shop) run(program string, args ...string) string {
	s.t.Helper()
	out, err := s.try(program, args...)
	require.NoError(s.t, err, "%s %s\n%s", filepath.Base(program), strings.Join(args, " "), out)
	return out
}

func (s *shop) try(program string, args ...string) (string, error) {
	cmd := exec.Command(program, args...)
	cmd.Env = s.env
	cmd.Dir = s.home
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// file writes a file of random bytes and returns its path.
func (s *shop) file(name string, size int) string {
	s.t.Helper()
	b := make([]byte, size)
	_, _ = rand.Read(b)
	return write(s.t, s.home, name, string(b))
}

func (s *shop) same(a, b string) {
	s.t.Helper()
	x, err := os.ReadFile(a)
	require.NoError(s.t, err)
	y, err := os.ReadFile(b)
	require.NoError(s.t, err)
	require.True(s.t, bytes.Equal(x, y), "%s and %s differ", a, b)
}

// sameTrees compares all regular files below two directories, and returns how many there are.
func (s *shop) sameTrees(a, b string) (files int) {
	s.t.Helper()
	list := func(root string) map[string]bool {
		m := make(map[string]bool)
		require.NoError(s.t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				rel, _ := filepath.Rel(root, path)
				m[rel] = true
			}
			return err
		}))
		return m
	}
	names := list(a)
	require.Equal(s.t, names, list(b))
	for name := range names {
		s.same(filepath.Join(a, name), filepath.Join(b, name))
	}
	return len(names)
}

// goroot holds the source of Go, a real tree that every machine here has.
func goroot(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

func TestAWSCommandLine(t *testing.T) {
	aws := client(t, "aws")
	s := openShop(t)
	s3 := func(args ...string) string {
		t.Helper()
		return s.run(aws, append([]string{"--endpoint-url", "http://" + s.address}, args...)...)
	}
	small, large := s.file("small", 1000), s.file("large", 20<<20) // the large one goes as multipart
	s3("s3", "mb", "s3://photos")
	s3("s3", "cp", small, "s3://photos/a b/ü+&.bin")
	s3("s3", "cp", large, "s3://photos/large")
	s3("s3", "cp", "s3://photos/a b/ü+&.bin", s.home+"/small2")
	s3("s3", "cp", "s3://photos/large", s.home+"/large2")
	s.same(small, s.home+"/small2")
	s.same(large, s.home+"/large2")
	require.Contains(t, s3("s3", "ls", "s3://photos"), "PRE a b/")
	s3("s3", "mv", "s3://photos/large", "s3://photos/moved") // a copy by parts, then a delete
	require.NotContains(t, s3("s3", "ls", "s3://photos"), "large")

	var head struct {
		ContentLength int
		Metadata      map[string]string
	}
	s3("s3api", "put-object", "--bucket", "photos", "--key", "k", "--body", small, "--metadata", "colour=red", "--checksum-algorithm", "SHA256")
	require.NoError(t, json.Unmarshal([]byte(s3("s3api", "head-object", "--bucket", "photos", "--key", "k")), &head))
	require.Equal(t, 1000, head.ContentLength)
	require.Equal(t, "red", head.Metadata["colour"])
	s3("s3api", "put-object-tagging", "--bucket", "photos", "--key", "k", "--tagging", "TagSet=[{Key=a,Value=b}]")
	require.Contains(t, s3("s3api", "get-object-tagging", "--bucket", "photos", "--key", "k"), `"Value": "b"`)
	out, err := s.try(aws, "--endpoint-url", "http://"+s.address, "s3api", "get-bucket-policy", "--bucket", "photos")
	require.Error(t, err)
	require.Contains(t, out, "NoSuchBucketPolicy")

	status, body := s.get(strings.TrimSpace(s3("s3", "presign", "--expires-in", "60", "s3://photos/k")))
	require.Equal(t, 200, status)
	require.Len(t, body, 1000)

	source := filepath.Join(goroot(t), "src", "net", "url")
	s3("s3", "sync", source, "s3://photos/url")
	require.Empty(t, s3("s3", "sync", source, "s3://photos/url"), "nothing has changed")
	s3("s3", "sync", "s3://photos/url", s.home+"/url")
	require.Greater(t, s.sameTrees(source, s.home+"/url"), 3)
	require.NoError(t, os.Remove(s.home+"/url/url.go"))
	require.Contains(t, s3("s3", "sync", "--delete", s.home+"/url", "s3://photos/url"), "delete: s3://photos/url/url.go")

	var versions struct {
		Versions      []struct{ Key, VersionId string }
		DeleteMarkers []struct{ Key, VersionId string }
	}
	s3("s3api", "put-bucket-versioning", "--bucket", "photos", "--versioning-configuration", "Status=Enabled")
	s3("s3", "cp", small, "s3://photos/versioned")
	s3("s3", "cp", s.file("other", 10), "s3://photos/versioned")
	s3("s3", "rm", "s3://photos/versioned")
	require.NoError(t, json.Unmarshal([]byte(s3("s3api", "list-object-versions", "--bucket", "photos", "--prefix", "versioned")), &versions))
	require.Len(t, versions.Versions, 2)
	require.Len(t, versions.DeleteMarkers, 1)
	s3("s3api", "get-object", "--bucket", "photos", "--key", "versioned", "--version-id", versions.Versions[1].VersionId, s.home+"/first")
	s.same(small, s.home+"/first")
	s3("s3api", "delete-object", "--bucket", "photos", "--key", "versioned", "--version-id", versions.DeleteMarkers[0].VersionId)
	s3("s3", "cp", "s3://photos/versioned", s.home+"/second")
	s.same(s.home+"/other", s.home+"/second")

	s3("s3", "rm", "--recursive", "s3://photos")
	out, err = s.try(aws, "--endpoint-url", "http://"+s.address, "s3", "rb", "s3://photos")
	require.Error(t, err, "its versions are still there")
	require.Contains(t, out, "BucketNotEmpty")
}

const boto = `
import base64, hashlib, io, json, os, ssl, sys, urllib.error, urllib.request, zlib
import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

s3 = boto3.client("s3", endpoint_url=os.environ["ENDPOINT"])
s3.create_bucket(Bucket="photos")
s3.put_object(Bucket="photos", Key="hello", Body=b"world", ContentType="text/plain", Metadata={"a": "b"})
got = s3.get_object(Bucket="photos", Key="hello")
assert got["Body"].read() == b"world" and got["ContentType"] == "text/plain" and got["Metadata"] == {"a": "b"}, got
assert s3.get_object(Bucket="photos", Key="hello", Range="bytes=1-3")["Body"].read() == b"orl"

large = os.urandom(12 << 20)
s3.upload_fileobj(io.BytesIO(large), "photos", "large", Config=TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20))
back = io.BytesIO()
s3.download_fileobj("photos", "large", back)
assert back.getvalue() == large
assert s3.head_object(Bucket="photos", Key="large")["ETag"].endswith('-3"')

# This boto3 presigns with Signature Version 2 unless told otherwise.
url = s3.generate_presigned_url("get_object", Params={"Bucket": "photos", "Key": "hello"}, ExpiresIn=60)
assert "AWSAccessKeyId=" in url and urllib.request.urlopen(url).read() == b"world"
v4 = boto3.client("s3", endpoint_url=os.environ["ENDPOINT"], config=Config(signature_version="s3v4"))
url = v4.generate_presigned_url("get_object", Params={"Bucket": "photos", "Key": "hello"}, ExpiresIn=60)
assert urllib.request.urlopen(url).read() == b"world"
url = v4.generate_presigned_url("put_object", Params={"Bucket": "photos", "Key": "presigned"}, ExpiresIn=60)
assert urllib.request.urlopen(urllib.request.Request(url, data=b"put", method="PUT")).status == 200
assert s3.get_object(Bucket="photos", Key="presigned")["Body"].read() == b"put"

s3.put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": "Enabled"})
v1 = s3.put_object(Bucket="photos", Key="v", Body=b"1")["VersionId"]
v2 = s3.put_object(Bucket="photos", Key="v", Body=b"2")["VersionId"]
s3.delete_object(Bucket="photos", Key="v")
try:
    s3.get_object(Bucket="photos", Key="v")
    sys.exit("a deleted key was read")
except ClientError as e:
    assert e.response["Error"]["Code"] == "NoSuchKey", e
assert s3.get_object(Bucket="photos", Key="v", VersionId=v1)["Body"].read() == b"1"
listed = s3.list_object_versions(Bucket="photos", Prefix="v")
assert [v["VersionId"] for v in listed["Versions"]] == [v2, v1] and len(listed["DeleteMarkers"]) == 1, listed

for i in range(25):
    s3.put_object(Bucket="photos", Key="page/%02d" % i, Body=b"x")
pages = s3.get_paginator("list_objects_v2").paginate(Bucket="photos", Prefix="page/", PaginationConfig={"PageSize": 10})
keys = [o["Key"] for p in pages for o in p["Contents"]]
assert keys == ["page/%02d" % i for i in range(25)], keys
gone = s3.delete_objects(Bucket="photos", Delete={"Objects": [{"Key": k} for k in keys]})
assert len(gone["Deleted"]) == 25 and "Errors" not in gone, gone
assert s3.list_objects_v2(Bucket="photos", Prefix="page/")["KeyCount"] == 0

# Pages of versions and of uploads and parts, whatever their size.
seen = [(v["Key"], v["VersionId"]) for p in s3.get_paginator("list_object_versions").paginate(Bucket="photos", Prefix="page/", PaginationConfig={"PageSize": 7})
        for v in p.get("Versions", []) + p.get("DeleteMarkers", [])]
assert len(seen) == len(set(seen)) == 50, len(seen)
upload = s3.create_multipart_upload(Bucket="photos", Key="parts")["UploadId"]
more = [s3.create_multipart_upload(Bucket="photos", Key="more/%d" % i)["UploadId"] for i in range(5)]
assert len([u for p in s3.get_paginator("list_multipart_uploads").paginate(Bucket="photos", PaginationConfig={"PageSize": 2}) for u in p["Uploads"]]) == 6
etags = [s3.upload_part(Bucket="photos", Key="parts", UploadId=upload, PartNumber=n, Body=b"p" * (5 << 20 if n < 4 else 10))["ETag"] for n in range(1, 5)]
parts = [p for page in s3.get_paginator("list_parts").paginate(Bucket="photos", Key="parts", UploadId=upload, PaginationConfig={"PageSize": 3}) for p in page["Parts"]]
assert [p["ETag"] for p in parts] == etags, parts
s3.complete_multipart_upload(Bucket="photos", Key="parts", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": p["PartNumber"], "ETag": p["ETag"]} for p in parts]})
assert s3.head_object(Bucket="photos", Key="parts", PartNumber=4)["ContentLength"] == 10
for i, u in enumerate(more):
    s3.abort_multipart_upload(Bucket="photos", Key="more/%d" % i, UploadId=u)

# Checksums: sent by the client, kept, given back, and refused where they are wrong.
data = b"checked " * 1000
b64 = lambda b: base64.b64encode(b).decode()
want = {"CRC32": b64(zlib.crc32(data).to_bytes(4, "big")), "SHA1": b64(hashlib.sha1(data).digest()), "SHA256": b64(hashlib.sha256(data).digest())}
once = boto3.client("s3", endpoint_url=os.environ["ENDPOINT"], config=Config(retries={"max_attempts": 0}))
for name, value in want.items():
    field = "Checksum" + name
    s3.put_object(Bucket="photos", Key="sum", Body=data, ChecksumAlgorithm=name)
    got = s3.get_object(Bucket="photos", Key="sum", ChecksumMode="ENABLED")
    assert got["Body"].read() == data and got[field] == value, got
    assert s3.get_object_attributes(Bucket="photos", Key="sum", ObjectAttributes=["Checksum"])["Checksum"][field] == value
    try:
        once.put_object(Bucket="photos", Key="bad", Body=b"something else", **{field: value})
        sys.exit("a wrong checksum was taken")
    except ClientError as e:
        assert e.response["Error"]["Code"] in ("BadDigest", "InvalidRequest"), e

# Over TLS, this client sends the checksum of a stream after it, as a trailer.
tls = boto3.client("s3", endpoint_url=os.environ["TLS_ENDPOINT"], verify=os.environ["TLS_CERT"])
sent = []
tls.meta.events.register("before-send.s3.PutObject", lambda request, **kw: sent.append(dict(request.headers)))
tls.create_bucket(Bucket="trailers")
tls.put_object(Bucket="trailers", Key="t", Body=io.BytesIO(data), ChecksumAlgorithm="SHA256")
assert any(str(v).lower().find("x-amz-checksum-sha256") >= 0 for h in sent for k, v in h.items() if k.lower() == "x-amz-trailer"), sent
assert tls.head_object(Bucket="trailers", Key="t", ChecksumMode="ENABLED")["ChecksumSHA256"] == want["SHA256"]

# After an empty body, for which this client waits for a 100 Continue too, the connection is as good as new: nothing is sent twice.
s3.put_object(Bucket="photos", Key="dir/", Body=b"")
once.put_object(Bucket="photos", Key="dir/", Body=b"")
once.put_object(Bucket="photos", Key="dir/f", Body=b"hello")
s3.put_object(Bucket="photos", Key="dir/f", Body=b"hello")
assert len(s3.list_object_versions(Bucket="photos", Prefix="dir/")["Versions"]) == 4
try:
    s3.put_object_tagging(Bucket="photos", Key="dir/f", Tagging={"TagSet": [{"Key": str(i), "Value": ""} for i in range(11)]})
    sys.exit("eleven tags were taken")
except ClientError as e:
    assert e.response["Error"]["Code"] == "BadRequest", e

# A form that a browser would post, with a policy.
def post(form, file):
    lines = []
    for k, v in list(form["fields"].items()) + [("file", file)]:
        lines += [b"--limit", ('Content-Disposition: form-data; name="%s"%s' % (k, '; filename="f"' if k == "file" else "")).encode(), b"", v if isinstance(v, bytes) else v.encode()]
    body = b"\r\n".join(lines + [b"--limit--", b""])
    try:
        return urllib.request.urlopen(urllib.request.Request(form["url"], data=body, headers={"Content-Type": "multipart/form-data; boundary=limit"})).status
    except urllib.error.HTTPError as e:
        return e.code
form = v4.generate_presigned_post("photos", "posted/${filename}", Fields={"acl": "private"}, Conditions=[{"acl": "private"}, ["content-length-range", 1, 100]], ExpiresIn=60)
assert post(form, b"from a form") == 204
assert s3.get_object(Bucket="photos", Key="posted/f")["Body"].read() == b"from a form"
assert post(form, b"x" * 101) == 400
form["fields"]["acl"] = "public-read"
assert post(form, b"from a form") == 403
tagged = v4.generate_presigned_post("photos", "tagged", Fields={"x-amz-tagging": "a=b&c=d"}, Conditions=[{"x-amz-tagging": "a=b&c=d"}], ExpiresIn=60)
assert post(tagged, b"x") == 204
assert len(s3.get_object_tagging(Bucket="photos", Key="tagged")["TagSet"]) == 2

# Tabs and Unicode's spaces, which this client signs as spaces and sends as they are.
s3.put_object(Bucket="photos", Key="spaces", Body=b"x", Metadata={"x": "a\tb"}, ContentDisposition='attachment; filename="a\u202fb.png"')
head = s3.head_object(Bucket="photos", Key="spaces")
assert head["Metadata"]["x"] == "a\tb", head
s3.create_bucket(Bucket="enforced", ObjectOwnership="BucketOwnerEnforced")
s3.delete_bucket(Bucket="enforced")
print("done")
`

func TestBoto3(t *testing.T) {
	python := client(t, "python3")
	if err := exec.Command(python, "-c", "import boto3").Run(); err != nil {
		missing(t, "boto3 is not installed; ci/setup installs it")
	}
	s := openShop(t)
	cert, key := filepath.Join(s.home, "cert.pem"), filepath.Join(s.home, "key.pem")
	certificate(t, cert, key, 1)
	k := s.keys()
	tls := start(t, t.TempDir(), []string{"CAIRN_ROOT_USER=" + k.AccessKey, "CAIRN_ROOT_PASSWORD=" + k.SecretKey}, "--tls-cert", cert, "--tls-key", key)
	s.env = append(s.env, "TLS_ENDPOINT=https://"+tls.address, "TLS_CERT="+cert)
	require.Contains(t, s.run(python, write(t, s.home, "test.py", boto)), "done")
}

const botoVersion2 = `
import io, json, os, sys, urllib.error, urllib.parse, urllib.request
import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

# Some versions sign the sub-resource of their templates twice, and a bucket without its slash, which no server understands.
def once(request, **kw):
    if getattr(request, "auth_path", None):
        path = request.auth_path.split("?")[0]
        request.auth_path = path if path.count("/") > 1 else path + "/"

def client(**kw):
    c = boto3.client("s3", endpoint_url=os.environ["ENDPOINT"], config=Config(signature_version="s3", retries={"max_attempts": 0}, s3={"addressing_style": "path"}), **kw)
    c.meta.events.register("before-sign.s3", once)
    return c

def code(call, *args, **kw):
    try:
        call(*args, **kw)
    except ClientError as e:
        return e.response["Error"]["Code"]

sent = []
s3 = client()
s3.meta.events.register("before-send.s3", lambda request, **kw: sent.append(request.headers["Authorization"]))
s3.create_bucket(Bucket="photos")
for key in ["hello", "a b+c", "ü/ß", "q?x=1&y", "tilde~!*'()", "plus%2B"]:
    s3.put_object(Bucket="photos", Key=key, Body=b"world", ContentType="text/plain", Metadata={"b": "x", "a": "y z"}, ContentDisposition="inline")
    got = s3.get_object(Bucket="photos", Key=key)
    assert got["Body"].read() == b"world" and got["Metadata"] == {"b": "x", "a": "y z"}, got
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "photos", "Key": key, "ResponseContentType": "text/x; a=b"}, ExpiresIn=60)
    answer = urllib.request.urlopen(url)
    assert answer.read() == b"world" and answer.headers["Content-Type"] == "text/x; a=b", answer.headers
    assert any(k["Key"] == key for k in s3.list_objects_v2(Bucket="photos", Prefix=key[:1])["Contents"])
large = os.urandom(12 << 20)
s3.upload_fileobj(io.BytesIO(large), "photos", "large", Config=TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20))
back = io.BytesIO()
s3.download_fileobj("photos", "large", back)
assert back.getvalue() == large
s3.copy_object(Bucket="photos", Key="copy", CopySource={"Bucket": "photos", "Key": "hello"}, MetadataDirective="REPLACE", Metadata={"c": "d"})
s3.put_object_tagging(Bucket="photos", Key="copy", Tagging={"TagSet": [{"Key": "k", "Value": "v"}]})
assert s3.get_object_tagging(Bucket="photos", Key="copy")["TagSet"] == [{"Key": "k", "Value": "v"}]
s3.put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": "Enabled"})
v1 = s3.put_object(Bucket="photos", Key="v", Body=b"1")["VersionId"]
s3.put_object(Bucket="photos", Key="v", Body=b"2")
assert s3.get_object(Bucket="photos", Key="v", VersionId=v1)["Body"].read() == b"1"
assert len(s3.list_object_versions(Bucket="photos", Prefix="v")["Versions"]) == 2
gone = s3.delete_objects(Bucket="photos", Delete={"Objects": [{"Key": "copy"}]})
assert [d["Key"] for d in gone["Deleted"]] == ["copy"], gone
assert sent and all((h if isinstance(h, str) else h.decode()).startswith("AWS ") for h in sent), sent

assert code(client(aws_secret_access_key="wrong", aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"]).list_buckets) == "SignatureDoesNotMatch"
assert code(client(aws_secret_access_key="wrong", aws_access_key_id="nobody").list_buckets) == "InvalidAccessKeyId"

def status(url, **kw):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, **kw)) as r:
            return r.status, r.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()

url = s3.generate_presigned_url("put_object", Params={"Bucket": "photos", "Key": "presigned", "ContentType": "text/x", "Metadata": {"m": "1"}}, ExpiresIn=60)
assert status(url, data=b"put", method="PUT", headers={"Content-Type": "text/x"})[0] == 200
head = s3.head_object(Bucket="photos", Key="presigned")
assert head["ContentType"] == "text/x" and head["Metadata"] == {"m": "1"}, head
assert status(url, data=b"put", method="PUT", headers={"Content-Type": "text/y"})[0] == 403
assert status(url.replace("x-amz-meta-m=1", "x-amz-meta-m=2"), data=b"put", method="PUT", headers={"Content-Type": "text/x"})[0] == 403
url = s3.generate_presigned_url("get_object", Params={"Bucket": "photos", "Key": "hello"}, ExpiresIn=-10)
got = status(url)
assert got[0] == 403 and "<Code>AccessDenied</Code>" in got[1] and "Request has expired" in got[1], got
assert status(s3.generate_presigned_url("get_object", Params={"Bucket": "photos", "Key": "hello"}) + "&versionId=" + v1)[0] == 403
part = s3.create_multipart_upload(Bucket="photos", Key="parts")["UploadId"]
url = s3.generate_presigned_url("upload_part", Params={"Bucket": "photos", "Key": "parts", "UploadId": part, "PartNumber": 1}, ExpiresIn=60)
assert status(url, data=b"p", method="PUT", headers={"Content-Type": ""})[0] == 200 # or urllib says that it is a form
for name, params in (("abort_multipart_upload", {"Key": "parts", "UploadId": part}), ("delete_object_tagging", {"Key": "presigned"})):
    got = status(s3.generate_presigned_url(name, Params=dict(params, Bucket="photos"), ExpiresIn=60), method="DELETE")
    assert got[0] == 204, (name, got)
url = s3.generate_presigned_url("copy_object", Params={"Bucket": "photos", "Key": "presigned", "CopySource": "photos/hello"}, ExpiresIn=60)
got = status(url, method="PUT")
assert got[0] == 200 and "<CopyObjectResult" in got[1], got
assert s3.get_object(Bucket="photos", Key="presigned")["Body"].read() == s3.get_object(Bucket="photos", Key="hello")["Body"].read()
assert status(s3.generate_presigned_url("delete_object", Params={"Bucket": "photos", "Key": "presigned"}, ExpiresIn=60), method="DELETE")[0] == 204

form = s3.generate_presigned_post("photos", "posted/${filename}", Conditions=[["content-length-range", 1, 100]], ExpiresIn=60)
assert "signature" in form["fields"] and "AWSAccessKeyId" in form["fields"], form
def post(form, file):
    lines = []
    for k, v in list(form["fields"].items()) + [("file", file)]:
        lines += [b"--limit", ('Content-Disposition: form-data; name="%s"%s' % (k, '; filename="f"' if k == "file" else "")).encode(), b"", v if isinstance(v, bytes) else v.encode()]
    return status(form["url"], data=b"\r\n".join(lines + [b"--limit--", b""]), headers={"Content-Type": "multipart/form-data; boundary=limit"})[0]
assert post(form, b"from a form") == 204
assert s3.get_object(Bucket="photos", Key="posted/f")["Body"].read() == b"from a form"
assert post(form, b"x" * 101) == 400
form["fields"]["acl"] = "public-read"
assert post(form, b"from a form") == 403

# Virtual-host style: the bucket is in the host alone, and is signed. No name server knows the host.
at = urllib.parse.urlsplit(os.environ["ENDPOINT"]).netloc
hosted = boto3.client("s3", endpoint_url="http://s3.example.com", config=Config(signature_version="s3", s3={"addressing_style": "virtual"}))
def to_server(request, **kw):
    parts = urllib.parse.urlsplit(request.url)
    request.headers["Host"] = parts.netloc
    request.url = parts._replace(netloc=at).geturl()
hosted.meta.events.register("before-send.s3", to_server)
hosted.meta.events.register("before-sign.s3", once)
hosted.put_object(Bucket="photos", Key="a b", Body=b"hosted")
assert s3.get_object(Bucket="photos", Key="a b")["Body"].read() == b"hosted"
assert any(k["Key"] == "a b" for k in hosted.list_objects_v2(Bucket="photos")["Contents"])
assert hosted.get_bucket_versioning(Bucket="photos")["Status"] == "Enabled"
url = urllib.parse.urlsplit(hosted.generate_presigned_url("get_object", Params={"Bucket": "photos", "Key": "a b"}))
assert url.netloc == "photos.s3.example.com", url
assert status(url._replace(netloc=at).geturl(), headers={"Host": url.netloc}) == (200, "hosted")
assert status(url._replace(netloc=at).geturl(), headers={"Host": "other.s3.example.com"})[0] == 403
print("done")
`

func TestBoto3Version2(t *testing.T) {
	python := client(t, "python3")
	if err := exec.Command(python, "-c", "import boto3").Run(); err != nil {
		missing(t, "boto3 is not installed; ci/setup installs it")
	}
	s := openShop(t, "--domain", "s3.example.com")
	require.Contains(t, s.run(python, write(t, s.home, "test.py", botoVersion2)), "done")
}

func TestMC(t *testing.T) {
	mc := client(t, "mc")
	s := openShop(t)
	k := s.keys()
	run := func(args ...string) string { t.Helper(); return s.run(mc, append([]string{"--no-color"}, args...)...) }
	run("alias", "set", "cairn", "http://"+s.address, k.AccessKey, k.SecretKey)
	run("ready", "cairn")
	run("mb", "cairn/photos")
	large := s.file("large", 20<<20)
	run("cp", large, "cairn/photos/dir/large")
	run("cp", "cairn/photos/dir/large", s.home+"/large2")
	s.same(large, s.home+"/large2")
	require.Contains(t, run("ls", "--recursive", "cairn/photos"), "dir/large")
	require.Contains(t, run("stat", "cairn/photos/dir/large"), "20 MiB")
	write(t, s.home, "text", "a line\n")
	run("cp", s.home+"/text", "cairn/photos/text")
	require.Equal(t, "a line\n", run("cat", "cairn/photos/text"))
	run("tag", "set", "cairn/photos/text", "colour=red")
	require.Contains(t, run("tag", "list", "cairn/photos/text"), "red")

	run("version", "enable", "cairn/photos")
	write(t, s.home, "text", "another\n")
	run("cp", s.home+"/text", "cairn/photos/text")
	require.Equal(t, 2, strings.Count(run("ls", "--versions", "cairn/photos/text"), "PUT"))
	run("rm", "cairn/photos/text")
	require.NotContains(t, run("ls", "cairn/photos"), "text")
	require.Contains(t, run("ls", "--versions", "cairn/photos"), "DEL")

	source := filepath.Join(goroot(t), "src", "net")
	run("mirror", "--quiet", source, "cairn/photos/net")
	run("mirror", "--quiet", "cairn/photos/net", s.home+"/net")
	require.Greater(t, s.sameTrees(source, s.home+"/net"), 100)
	require.Equal(t, "cairn/photos/net/url/url.go\n", run("find", "cairn/photos/net", "--name", "url.go"))
	require.Contains(t, run("du", "cairn/photos/dir"), "20MiB\t1 object")
	run("mv", "cairn/photos/dir/large", "cairn/photos/moved")
	require.NotContains(t, run("ls", "--recursive", "cairn/photos"), "dir/large")
	run("cp", "cairn/photos/moved", s.home+"/large3")
	s.same(large, s.home+"/large3")
	run("mb", "cairn/more")
	run("cp", "cairn/photos/moved", "cairn/more/copy")
	run("rb", "--force", "cairn/more")
	require.NotContains(t, run("ls", "cairn"), "more")
	out, err := s.try(mc, "--no-color", "rb", "cairn/photos")
	require.Error(t, err)
	require.Contains(t, out, "not empty")
	run("rm", "--recursive", "--force", "--versions", "cairn/photos")
	run("rb", "cairn/photos")
}

// Go's own source, more than 10,000 files, in and out again; with -short a part of it.
func TestRcloneCopiesARealTree(t *testing.T) {
	rclone := client(t, "rclone")
	s := openShop(t)
	source, least := filepath.Join(goroot(t), "src"), 10_000
	if testing.Short() {
		source, least = filepath.Join(source, "net"), 100
	}
	fast := []string{"--transfers", "16", "--checkers", "16"}
	s.run(rclone, append(fast, "copy", source, "cairn:tree/src")...)
	s.run(rclone, append(fast, "check", source, "cairn:tree/src")...)
	s.run(rclone, append(fast, "copy", "cairn:tree/src", s.home+"/src")...)
	require.GreaterOrEqual(t, s.sameTrees(source, s.home+"/src"), least)
	s.run(rclone, append(fast, "purge", "cairn:tree")...)
	require.Empty(t, s.run(rclone, "lsd", "cairn:"))
}

func TestS3fs(t *testing.T) {
	s3fs, umount := client(t, "s3fs"), client(t, "fusermount3")
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		// A machine without FUSE cannot be given it by installing something.
		t.Skipf("SKIPPED: no FUSE here: %v", err)
	} else {
		_ = f.Close()
	}
	s := openShop(t)
	k := s.keys()
	status, _ := s.do(k, "PUT", "/photos", nil)
	require.Equal(t, 200, status)
	passwd := write(t, s.home, "passwd", k.AccessKey+":"+k.SecretKey)
	mount := filepath.Join(s.home, "mount")
	require.NoError(t, os.Mkdir(mount, 0o700))
	s.run(s3fs, "photos", mount, "-o", "url=http://"+s.address+",use_path_request_style,passwd_file="+passwd+",tmpdir="+s.home)
	unmount := func() { _, _ = s.try(umount, "-u", mount) }
	defer unmount()
	require.Eventually(t, func() bool {
		mounts, _ := os.ReadFile("/proc/mounts")
		return strings.Contains(string(mounts), mount)
	}, 10*time.Second, 20*time.Millisecond)

	require.NoError(t, os.MkdirAll(filepath.Join(mount, "a", "b"), 0o755))
	for i := range 10 {
		require.NoError(t, os.WriteFile(filepath.Join(mount, "a", "b", fmt.Sprint(i)), []byte(fmt.Sprint("file ", i)), 0o644))
	}
	large := s.file("large", 30<<20)
	text, err := os.ReadFile(large)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(mount, "large"), text, 0o644))
	require.NoError(t, os.Rename(filepath.Join(mount, "a", "b", "0"), filepath.Join(mount, "a", "renamed")))
	require.NoError(t, os.Remove(filepath.Join(mount, "a", "b", "1")))
	unmount()

	// What the file system wrote is there as objects, and a new mount sees it.
	status, body := s.do(k, "GET", "/photos/a/renamed", nil)
	require.Equal(t, 200, status)
	require.Equal(t, "file 0", body)
	s.run(s3fs, "photos", mount, "-o", "url=http://"+s.address+",use_path_request_style,passwd_file="+passwd+",tmpdir="+s.home)
	entries, err := os.ReadDir(filepath.Join(mount, "a", "b"))
	require.NoError(t, err)
	require.Len(t, entries, 8)
	s.same(large, filepath.Join(mount, "large"))
}
