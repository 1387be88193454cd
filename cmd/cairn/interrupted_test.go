package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// restart starts a server on a killed one's data, and tells the clients where it is.
func (s *shop) restart() {
	s.t.Helper()
	s.process = start(s.t, s.dir, nil)
	s.env = append(s.env, "ENDPOINT=http://"+s.address, "RCLONE_CONFIG_CAIRN_ENDPOINT=http://"+s.address)
}

// interrupt runs a client and kills the server when the client has said of
// `after` files that they are there. It returns all files that it said it of.
func (s *shop) interrupt(said *regexp.Regexp, after int, program string, args ...string) (files []string) {
	s.t.Helper()
	var out output
	cmd := exec.Command(program, args...)
	cmd.Env, cmd.Dir, cmd.WaitDelay = s.env, s.home, time.Second
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(s.t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	require.Eventually(s.t, func() bool {
		return len(said.FindAllString(out.String(), after)) >= after
	}, time.Minute, time.Millisecond, "%s", &out)
	s.kill()
	select {
	case err := <-ended:
		require.Error(s.t, err, "the client was done before the kill:\n%s", &out)
	case <-time.After(300 * time.Millisecond): // enough to say what it has heard; it may try again for minutes
		_ = cmd.Process.Kill()
		require.Error(s.t, <-ended)
	}
	for _, m := range said.FindAllStringSubmatch(out.String(), -1) {
		files = append(files, m[1])
	}
	return files
}

// requireThere reads objects and compares them with the files of the same names.
func (s *shop) requireThere(root, bucket string, files []string) {
	s.t.Helper()
	k := s.keys()
	for _, name := range files {
		want, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(s.t, err)
		status, got := s.do(k, "GET", "/"+bucket+"/"+name, nil)
		require.Equal(s.t, 200, status, "%s was acknowledged", name)
		require.Equal(s.t, len(want), len(got), name)
		require.True(s.t, string(want) == got, "%s differs", name)
	}
}

// The plug is pulled on a copy half-way, and again when it goes on: each file
// that rclone said was copied is there, byte for byte, and in the end all are.
func TestRcloneInterrupted(t *testing.T) {
	rclone := client(t, "rclone")
	s := openShop(t)
	source := filepath.Join(goroot(t), "src", "runtime")
	s.run(rclone, "mkdir", "cairn:tree")
	copied := regexp.MustCompile(`INFO  : (\S+): Copied \(new\)`)
	copyTree := []string{"copy", "-v", "--transfers", "8", "--retries", "1", "--low-level-retries", "1", source, "cairn:tree"}
	for range 3 {
		files := s.interrupt(copied, 60, rclone, copyTree...)
		s.restart()
		s.requireThere(source, "tree", files)
		t.Logf("%d files were acknowledged before the kill", len(files))
	}
	s.run(rclone, copyTree...)
	s.run(rclone, "check", "--download", source, "cairn:tree")
}

// The same with the AWS command line, and with a large file on its way as multipart.
func TestAWSInterrupted(t *testing.T) {
	aws := client(t, "aws")
	s := openShop(t)
	s.env = append(s.env, "AWS_MAX_ATTEMPTS=1")
	s.run(aws, "--endpoint-url", "http://"+s.address, "s3", "mb", "s3://tree")
	source := filepath.Join(goroot(t), "src", "net", "http")
	uploaded := regexp.MustCompile(`upload: \S+ to s3://tree/(\S+)`)
	sync := func() []string {
		return []string{"--endpoint-url", "http://" + s.address, "s3", "sync", "--no-progress", source, "s3://tree"}
	}
	files := s.interrupt(uploaded, 30, aws, sync()...)
	s.restart()
	s.requireThere(source, "tree", files)
	s.run(aws, sync()...)
	require.NotEmpty(t, files)
	s.run(aws, "--endpoint-url", "http://"+s.address, "s3", "sync", "--no-progress", "s3://tree", s.home+"/back")
	require.Greater(t, s.sameTrees(source, s.home+"/back"), len(files))

	// A part was acknowledged, the upload was not completed: nothing is there,
	// and the upload is, until somebody ends it.
	large := s.file("large", 64<<20)
	progress := regexp.MustCompile(`Completed (\d+)\.\d+ MiB`)
	s.interrupt(progress, 10, aws, "--endpoint-url", "http://"+s.address, "s3", "cp", large, "s3://tree/large")
	s.restart()
	status, _ := s.do(s.keys(), "GET", "/tree/large", nil)
	require.Equal(t, 404, status)
	status, uploads := s.do(s.keys(), "GET", "/tree?uploads", nil)
	require.Equal(t, 200, status)
	require.Equal(t, 1, strings.Count(uploads, "<UploadId>"), uploads)
	s.run(aws, "--endpoint-url", "http://"+s.address, "s3", "cp", "--quiet", large, "s3://tree/large")
	s.run(aws, "--endpoint-url", "http://"+s.address, "s3", "cp", "--quiet", "s3://tree/large", s.home+"/large2")
	s.same(large, s.home+"/large2")
}
