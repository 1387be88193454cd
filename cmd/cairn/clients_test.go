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

func openShop(t *testing.T) *shop {
	t.Helper()
	p := start(t, t.TempDir(), nil)
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

	s3("s3", "rm", "--recursive", "s3://photos")
	s3("s3", "rb", "s3://photos")
}

const boto = `
import io, os, sys, urllib.request
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

# This boto3 presigns with Signature Version 2 unless told otherwise, which AWS's newer regions refuse too.
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
s3.put_object(Bucket="photos", Key="once", Body=b"1")
print("done")
`

func TestBoto3(t *testing.T) {
	python := client(t, "python3")
	if err := exec.Command(python, "-c", "import boto3").Run(); err != nil {
		missing(t, "boto3 is not installed; ci/setup installs it")
	}
	s := openShop(t)
	require.Contains(t, s.run(python, write(t, s.home, "test.py", boto)), "done")
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
