// Package config gathers what an operator has set: by flags, by CAIRN_*
// variables and in a YAML file, in that order of weight.
//
// A setting has one name everywhere: --log-level, CAIRN_LOG_LEVEL, and
// log-level in the file. The flag set is the only table of them.
package config

import (
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/cairnstore/cairn/engine"
	"github.com/cairnstore/cairn/engine/telemetry"
)

// Settings are the server's, each with its default from Flags on.
type Settings struct {
	Data         []string
	Address      string
	AdminAddress string
	Region       string
	Domains      []string
	Origins      []string

	RootUser, RootPassword string // both or neither

	TLSCert, TLSKey string

	ShutdownTimeout, ShutdownDelay              time.Duration
	HeaderTimeout, IdleTimeout, ProgressTimeout time.Duration
	MaxConnections, MaxRequests                 int
	MemoryLimit, Cache                          string
	UploadExpiry                                time.Duration

	FlashCache, FlashCacheSize, FlashCacheWriteRate string
	RedisURL                                        string
	RedisTimeout, RedisTTL                          time.Duration
	CacheWriteThrough, Prefetch                     bool
	HotList                                         int

	LogLevel      string
	AccessLog     bool
	SlowRequest   time.Duration
	MetricsPublic bool
	MetricsToken  string

	file    string
	secrets *pflag.FlagSet
	flags   *pflag.FlagSet
}

// DefaultRegion is told to clients where none is set.
const DefaultRegion = "us-east-1"

// OriginsOff is the value of Origins that lets no page of another origin in.
const OriginsOff = "off"

// origin reports whether a text is what a browser may call a page's origin, with a * at most.
func origin(o string) bool {
	scheme, host, ok := strings.Cut(o, "://")
	return o == "*" || ok && scheme != "" && host != "" && strings.Count(o, "*") <= 1 && !strings.ContainsAny(o, " \t\r\n,") && !strings.Contains(host, "/")
}

// AdminOff is the value of AdminAddress that opens no second port.
const AdminOff = "off"

// Flags adds every setting to fs but the secrets, which a process list would
// show: those are set by variables, by files that variables name, or in the YAML file.
func (s *Settings) Flags(fs *pflag.FlagSet) {
	fs.StringVar(&s.file, "config", "", "YAML `file` of settings, under the names of these flags")

	fs.StringArrayVar(&s.Data, "data", nil, "`directory` that holds the data; made if it is not there")
	fs.StringVar(&s.Address, "address", ":9000", "`host:port` for S3")
	fs.StringVar(&s.AdminAddress, "admin-address", "127.0.0.1:9001", "`host:port` for health and metrics without a token, or off")
	fs.StringVar(&s.Region, "region", "", "`region` that clients must sign for (default: any; us-east-1 is told)")
	fs.StringSliceVar(&s.Domains, "domain", nil, "`domain` under which buckets are host names too (bucket.domain); may be repeated")

	fs.StringSliceVar(&s.Origins, "cors-allow-origin", []string{"*"}, "`origin` whose pages may send requests from browsers, as https://app.example.com or https://*.example.com; * for all, off for none; may be repeated")

	fs.StringVar(&s.TLSCert, "tls-cert", "", "PEM `file` of the certificate chain; read again when it changes")
	fs.StringVar(&s.TLSKey, "tls-key", "", "PEM `file` of its private key; read again when it changes")

	fs.DurationVar(&s.ShutdownTimeout, "shutdown-timeout", 30*time.Second, "how long requests may take to finish at a stop")
	fs.DurationVar(&s.ShutdownDelay, "shutdown-delay", 0, "how long to go on serving at a stop while /health/ready already says 503")
	fs.DurationVar(&s.HeaderTimeout, "header-timeout", 30*time.Second, "for the head of a request")
	fs.DurationVar(&s.IdleTimeout, "idle-timeout", 2*time.Minute, "for a connection between requests")
	fs.DurationVar(&s.ProgressTimeout, "progress-timeout", time.Minute, "for a body that stands still, in either direction")
	fs.Var(decimal(&s.MaxConnections, 16384), "max-connections", "connections open at once; for others, those that ask nothing are closed, or else they wait")
	fs.Var(decimal(&s.MaxRequests, 1024), "max-requests", "S3 requests served at once; others get 503 SlowDown")
	fs.StringVar(&s.MemoryLimit, "memory-limit", "", "soft `limit` for memory: 2GiB, 60% (of what this process may use), or off (default: GOMEMLIMIT, else 75%)")
	fs.StringVar(&s.Cache, "cache", "", "`size` of the cache of metadata and small objects: 4GiB, 10%, or off (default: a third of the memory limit, out of it; taken as it fills)")
	fs.StringVar(&s.FlashCache, "flash-cache", "", "`directory` on a fast local drive, for small objects that the cache in memory has no room for")
	fs.StringVar(&s.FlashCacheSize, "flash-cache-size", "10GiB", "`size` of all that is kept there")
	fs.StringVar(&s.FlashCacheWriteRate, "flash-cache-write-rate", "42MiB", "`size` that may be written there each second, or off for no bound; what is over it is not kept")
	fs.StringVar(&s.RedisURL, "redis-url", "", "`URL` of a Redis server that shares the cache: redis://host:6379/0, or rediss:// for TLS; with a password in it, set the variable instead")
	fs.DurationVar(&s.RedisTimeout, "redis-timeout", 5*time.Millisecond, "the longest that a read waits for Redis")
	fs.DurationVar(&s.RedisTTL, "redis-ttl", 0, "after which Redis forgets an object (0: when it needs the room)")
	fs.BoolVar(&s.CacheWriteThrough, "cache-write-through", false, "keep small objects in the cache when they are written, not only when they are read")
	fs.Var(decimal(&s.HotList, 10_000), "hot-list", "how many of the objects that are asked for most are remembered, and brought into the cache at the next start (0: none)")
	fs.BoolVar(&s.Prefetch, "prefetch", true, "bring into the cache what is likely to be asked for next")
	fs.DurationVar(&s.UploadExpiry, "upload-expiry", 7*24*time.Hour, "after which an idle multipart upload is aborted")

	fs.StringVar(&s.LogLevel, "log-level", "info", "debug, info, warn or error")
	fs.BoolVar(&s.AccessLog, "access-log", false, "log every request, not only failed and slow ones")
	fs.DurationVar(&s.SlowRequest, "slow-request", 10*time.Second, "from which a request is logged as slow (0: never)")
	fs.BoolVar(&s.MetricsPublic, "metrics-public", false, "serve /metrics on the S3 port to anyone")

	s.flags = fs
	s.secrets = pflag.NewFlagSet("secrets", pflag.ContinueOnError)
	s.secrets.StringVar(&s.RootUser, "root-user", "", "")
	s.secrets.StringVar(&s.RootPassword, "root-password", "", "")
	s.secrets.StringVar(&s.MetricsToken, "metrics-token", "", "")
}

// A number is a flag's value in decimal, also with zeros in front, which pflag's own takes for
// octal: 010 is ten here, as it is in sizes and durations.
type number int

func decimal(n *int, preset int) *number {
	*n = preset
	return (*number)(n)
}

func (n *number) String() string { return strconv.Itoa(int(*n)) }
func (n *number) Type() string   { return "int" }

func (n *number) Set(text string) error {
	v, err := strconv.Atoi(text)
	if err != nil {
		return errors.New("must be a whole number, in decimal digits")
	}
	*n = number(v)
	return nil
}

// lookup finds a setting by its name.
func (s *Settings) lookup(name string) *pflag.Flag {
	if f := s.flags.Lookup(name); f != nil && name != "config" && name != "help" {
		return f
	}
	return s.secrets.Lookup(name)
}

// Given reports whether somebody has set a setting, rather than left its default.
func (s *Settings) Given(name string) bool {
	f := s.lookup(name)
	return f != nil && f.Changed
}

// Load completes what the command line has set from the environment and the
// file, and checks the whole. unknown names variables that mean nothing: CAIRN_* that are
// likely misspelt, and MinIO's that somebody may count on.
func (s *Settings) Load(environ []string) (unknown []string, err error) {
	env, err := newEnvironment(environ)
	if err != nil {
		return nil, err
	}
	if s.file == "" {
		s.file = env.take("CAIRN_CONFIG")
	} else {
		env.take("CAIRN_CONFIG")
	}
	// The weightier source goes first, and what has been set is left alone.
	if err := s.fromEnvironment(env); err != nil {
		return nil, err
	}
	if s.file != "" {
		text, err := os.ReadFile(s.file)
		if err != nil {
			return nil, fmt.Errorf("configuration: %w", err)
		}
		if err := s.fromYAML(s.file, text); err != nil {
			return nil, err
		}
	}
	return env.rest(), s.validate()
}

func (s *Settings) fromEnvironment(env *environment) error {
	err := env.wholePair()
	each := func(f *pflag.Flag) {
		name := "CAIRN_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		for _, name := range append([]string{name}, minioNames[f.Name]...) {
			value := env.take(name)
			if value == "" || f.Changed || err != nil {
				continue
			}
			err = s.set(f, value, name)
		}
	}
	s.flags.VisitAll(func(f *pflag.Flag) {
		if s.lookup(f.Name) != nil {
			each(f)
		}
	})
	s.secrets.VisitAll(each)
	return err
}

// set gives a flag its value from a place that is named if it does not fit.
// A secret is never part of the message.
func (s *Settings) set(f *pflag.Flag, value, place string) error {
	set := s.flags
	if s.secrets.Lookup(f.Name) == f {
		set = s.secrets
	}
	if err := set.Set(f.Name, value); err != nil {
		// pflag's own message names the flag, which is not where the value is.
		if inner := errors.Unwrap(err); inner != nil {
			err = inner
		}
		return fmt.Errorf("%s: %q is no %s: %w", place, value, f.Value.Type(), err)
	}
	return nil
}

// overlap reports whether two domains are one, or one lies within the other.
func overlap(a, b string) bool {
	return strings.EqualFold(a, b) || engine.NamesBucket([]string{a}, b) || engine.NamesBucket([]string{b}, a)
}

// address checks the form of one to listen on.
func address(name, value string) error {
	_, port, err := net.SplitHostPort(value)
	if err == nil {
		_, err = net.LookupPort("tcp", port) // a number or a service's name
	}
	if err != nil {
		return fmt.Errorf("%s: %q: must be host:port or :port, with a port of 0 to 65535, as in :9000", name, value)
	}
	return nil
}

// oneDrive is what is said to who names several.
const oneDrive = "this version keeps its data on one drive; spreading it over several needs erasure coding, which is not built yet"

// ellipses are how MinIO's command line names several directories in one word.
var ellipses = regexp.MustCompile(`\{[0-9A-Za-z]+\.\.\.[0-9A-Za-z]+\}`)

func (s *Settings) validate() error {
	switch {
	case len(s.Data) == 0:
		return errors.New("no data directory: say where the data goes, as in --data ./data")
	case len(s.Data) > 1:
		return fmt.Errorf("%d data directories: %s", len(s.Data), oneDrive)
	case ellipses.MatchString(s.Data[0]):
		return fmt.Errorf("data: %q stands for several directories: %s", s.Data[0], oneDrive)
	case s.Data[0] == "":
		return errors.New("data: the directory's name is empty")
	case (s.TLSCert == "") != (s.TLSKey == ""):
		return errors.New("tls-cert and tls-key belong together: give both or neither")
	case s.RootUser != "" && s.RootPassword == "":
		return errors.New("root-user is set and root-password is not: they belong together; set CAIRN_ROOT_PASSWORD too")
	case s.RootUser == "" && s.RootPassword != "":
		return errors.New("root-password is set and root-user is not: they belong together; set CAIRN_ROOT_USER too")
	case s.MetricsToken != "" && len(s.MetricsToken) < 16:
		return errors.New("metrics-token: must have at least 16 characters")
	case s.MaxConnections < 1:
		return errors.New("max-connections: must be at least 1")
	case s.MaxRequests < 1:
		return errors.New("max-requests: must be at least 1")
	case strings.ContainsAny(s.Region, "/ \t\r\n,"):
		return fmt.Errorf("region: %q: must be a name, as in us-east-1; clients sign with it", s.Region)
	}
	for _, o := range s.Origins {
		if !origin(o) && !(o == OriginsOff && len(s.Origins) == 1) {
			return fmt.Errorf("cors-allow-origin: %q: must be as https://app.example.com, https://*.example.com, * for all, or off for none", o)
		}
	}
	for i, d := range s.Domains {
		s.Domains[i] = strings.TrimSuffix(strings.TrimSpace(d), ".")
		if d = s.Domains[i]; strings.ContainsAny(d, "/: \t") || slices.Contains(strings.Split(d, "."), "") {
			return fmt.Errorf("domain: %q: must be a host's name alone, as in s3.example.com", d)
		}
		for _, other := range s.Domains[:i] {
			if overlap(d, other) {
				return fmt.Errorf("domain: %s and %s: one lies within the other, and a host's name would be read in two ways; name one of them", other, d)
			}
		}
	}
	if err := address("address", s.Address); err != nil {
		return err
	}
	if s.AdminAddress != AdminOff {
		if err := address("admin-address", s.AdminAddress); err != nil {
			return err
		}
	}
	for name, d := range map[string]time.Duration{
		"shutdown-timeout": s.ShutdownTimeout, "header-timeout": s.HeaderTimeout, "idle-timeout": s.IdleTimeout,
		"progress-timeout": s.ProgressTimeout, "upload-expiry": s.UploadExpiry, "redis-timeout": s.RedisTimeout,
	} {
		if d <= 0 {
			return fmt.Errorf("%s: must be more than nothing, as in 30s", name)
		}
	}
	if err := s.validateCache(); err != nil {
		return err
	}
	for name, d := range map[string]time.Duration{"shutdown-delay": s.ShutdownDelay, "slow-request": s.SlowRequest, "redis-ttl": s.RedisTTL} {
		if d < 0 {
			return fmt.Errorf("%s: must not be negative", name)
		}
	}
	if _, err := telemetry.ParseLevel(s.LogLevel); err != nil {
		return err
	}
	return nil
}
