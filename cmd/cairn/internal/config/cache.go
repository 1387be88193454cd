package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

const maxHotList = 1_000_000

// validateCache checks what is set of the tiers below memory, as far as nothing
// has to be opened for it. The URL is never part of a message: it may hold a password.
func (s *Settings) validateCache() error {
	for _, name := range []string{"flash-cache-size", "flash-cache-write-rate"} {
		if s.Given(name) && s.FlashCache == "" {
			return fmt.Errorf("%s: says nothing without a directory: give one, as in --flash-cache /fast/cairn", name)
		}
	}
	for _, name := range []string{"redis-timeout", "redis-ttl"} {
		if s.Given(name) && s.RedisURL == "" {
			return fmt.Errorf("%s: says nothing without a server: give one, as in --redis-url redis://host:6379/0", name)
		}
	}
	if s.Cache == "off" {
		for name, given := range map[string]bool{"flash-cache": s.FlashCache != "", "redis-url": s.RedisURL != "", "cache-write-through": s.CacheWriteThrough} {
			if given {
				return fmt.Errorf("%s: needs the cache in memory, and cache is off", name)
			}
		}
	}
	if s.HotList < 0 || s.HotList > maxHotList {
		return fmt.Errorf("hot-list: %d: must be 0 to %d objects", s.HotList, maxHotList)
	}
	if s.RedisURL != "" && !ofRedis(s.RedisURL) {
		return errors.New("redis-url: must be the URL of a server, as redis://host:6379/0, or rediss:// for TLS")
	}
	return nil
}

// ofRedis reports whether a URL is of a Redis server, and of a database if it names one.
func ofRedis(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Hostname() == "" {
		return false
	}
	if _, err := net.LookupPort("tcp", u.Port()); err != nil {
		return false
	}
	db := strings.Trim(u.Path, "/")
	n, err := strconv.Atoi(db)
	return db == "" || err == nil && n >= 0
}

// RootPassword is what is set as that in the environment, or in a file that it
// names; empty where there is none.
func RootPassword(environ []string) (string, error) {
	env, err := newEnvironment(environ)
	if err != nil {
		return "", err
	}
	if p := env.take("CAIRN_ROOT_PASSWORD"); p != "" {
		return p, nil
	}
	return env.take("MINIO_ROOT_PASSWORD"), nil
}
