package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/engine/cache/remote/redistest"
)

// All tiers in a real process: what it says of them, and how it is warmed.
func TestCacheCommands(t *testing.T) {
	redis := redistest.Start(t)
	dir, fast := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "fast")
	p := start(t, dir, []string{"CAIRN_REDIS_URL=" + redis.URL()},
		"--flash-cache", fast, "--flash-cache-size", "256MiB", "--flash-cache-write-rate", "off", "--cache", "16MiB", "--hot-list", "100")
	require.NotContains(t, p.out.String(), "secret@", "the log does not tell the URL's password")
	keys := p.keys()
	p.do(keys, "PUT", "/photos", nil)
	for i := range 300 {
		status, _ := p.do(keys, "PUT", fmt.Sprintf("/photos/%d/%d", i%3, i), []byte(strings.Repeat("x", 5000)))
		require.Equal(t, 200, status)
	}
	warm := func(args ...string) ran {
		return runCairn(t, append([]string{"cache", "warm", "--admin-address", p.admin}, args...)...)
	}
	r := warm("--data", dir, "--bucket", "photos", "--prefix", "1/")
	require.Zero(t, r.code, r.errOut)
	require.Contains(t, r.out, "100 objects, 100 brought in")
	r = warm("--data", dir, "--bucket", "photos", "--json")
	require.Zero(t, r.code, r.errOut)
	require.JSONEq(t, `{"objects":300,"brought":200,"bytes":1000000,"large":0,"failed":0,"full":false,"done":true}`, r.out)

	r = runCairn(t, "credentials", "show", "--data", dir, "--admin-token")
	require.Zero(t, r.code, r.errOut)
	token := strings.TrimSpace(r.out)
	require.NotContains(t, r.out, keys.SecretKey)
	cmd := cairn("cache", "warm", "--admin-address", p.admin, "--bucket", "photos")
	cmd.Env = append(cmd.Env, "CAIRN_ADMIN_TOKEN="+token)
	text, err := cmd.CombinedOutput()
	require.NoError(t, err, string(text))
	cmd = cairn("credentials", "show", "--admin-token")
	cmd.Env = append(cmd.Env, "CAIRN_ROOT_PASSWORD="+keys.SecretKey)
	text, err = cmd.Output()
	require.NoError(t, err)
	require.Equal(t, token, strings.TrimSpace(string(text)), "it follows from the password")

	require.Eventually(t, func() bool {
		return strings.Contains(runCairn(t, "cache", "stat", "--admin-address", p.admin).out, "redis")
	}, 10*time.Second, 10*time.Millisecond)
	r = runCairn(t, "cache", "stat", "--admin-address", p.admin)
	require.Zero(t, r.code, r.errOut)
	for _, word := range []string{"memory", "flash", "redis", "home", "fetched ahead", "precision", "hot list", "warmed by request"} {
		require.Contains(t, r.out, word)
	}
	r = runCairn(t, "cache", "stat", "--admin-address", p.admin, "--json")
	require.Contains(t, r.out, `"tiers":[{"name":"memory"`)
	_, metrics := p.get(url(p.admin, "/metrics"))
	for _, name := range []string{
		`cairn_tier_hits_total{tier="flash"}`, `cairn_tier_hits_total{tier="redis"}`, "cairn_tier_home_reads_total 300", `cairn_flash_dropped_total{reason="rate"}`,
		"cairn_flash_fragmentation_ratio", "cairn_redis_breaker_open", `cairn_prefetch_predicted_total{predictor="successions"}`, "cairn_hot_list_keys", `cairn_warming_done{cause="prefix"} 1`,
	} {
		require.Contains(t, metrics, name)
	}

	for _, c := range []struct {
		want int
		says string
		args []string
	}{
		{exitUsage, "no bucket", []string{"cache", "warm"}},
		{exitUsage, "no data directory", []string{"cache", "warm", "--bucket", "photos"}},
		{exitFailure, "The specified bucket does not exist", []string{"cache", "warm", "--bucket", "never", "--data", dir, "--admin-address", p.admin}},
		{exitFailure, "is the server running", []string{"cache", "stat", "--admin-address", "127.0.0.1:1"}},
		{exitUsage, "exclude each other", []string{"credentials", "show", "--data", dir, "--admin-token", "--json"}},
	} {
		r := runCairn(t, c.args...)
		require.Equal(t, c.want, r.code, r.errOut)
		require.Contains(t, r.errOut, c.says)
	}
	cmd = cairn("cache", "warm", "--admin-address", p.admin, "--bucket", "photos")
	cmd.Env = append(cmd.Env, "CAIRN_ADMIN_TOKEN=another")
	text, err = cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(text), "needs the admin token")
	p.stop()
}

// What makes no sense is refused at the start, with a sentence.
func TestCacheSettingsThatMakeNoSense(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		says string
		args []string
	}{
		{"flash-cache-size: says nothing without a directory", []string{"--flash-cache-size", "1GiB"}},
		{"flash-cache-size: \"much\": must be a size", []string{"--flash-cache", dir, "--flash-cache-size", "much"}},
		{"less than 64MiB is no cache", []string{"--flash-cache", dir, "--flash-cache-size", "1MiB"}},
		{"must be a size for each second", []string{"--flash-cache", dir, "--flash-cache-write-rate", "fast"}},
		{"would keep next to nothing", []string{"--flash-cache", dir, "--flash-cache-write-rate", "1KiB"}},
		{"needs the cache in memory", []string{"--flash-cache", dir, "--cache", "off"}},
		{"needs the cache in memory", []string{"--redis-url", "redis://x:6379", "--cache", "off"}},
		{"needs the cache in memory", []string{"--cache-write-through", "--cache", "off"}},
		{"redis-url: must be the URL of a server", []string{"--redis-url", "localhost:6379"}},
		{"redis-url: must be the URL of a server", []string{"--redis-url", "redis://:hidden@:6379/%zz"}},
		{"redis-timeout: says nothing without a server", []string{"--redis-timeout", "1ms"}},
		{"redis-timeout: must be more than nothing", []string{"--redis-url", "redis://x:6379", "--redis-timeout", "0s"}},
		{"redis-ttl: must not be negative", []string{"--redis-url", "redis://x:6379", "--redis-ttl", "-1s"}},
		{"hot-list: -1: must be 0 to 1000000", []string{"--hot-list", "-1"}},
		{"hot-list", []string{"--hot-list", "10MiB"}},
		{"prefetch", []string{"--prefetch=perhaps"}},
	} {
		r := runCairn(t, append([]string{"server", "--data", filepath.Join(dir, "data"), "--address", "127.0.0.1:0", "--admin-address", "off"}, c.args...)...)
		require.Equal(t, exitUsage, r.code, "%v: %s", c.args, r.errOut)
		require.Contains(t, r.errOut, c.says)
		require.NotContains(t, r.errOut, "hidden")
	}
	data := filepath.Join(dir, "data")
	r := runCairn(t, "server", "--data", data, "--address", "127.0.0.1:0", "--admin-address", "off", "--flash-cache", filepath.Join(data, "fast"))
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.errOut, "must lie apart from the data")
}
