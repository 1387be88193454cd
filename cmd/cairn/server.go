package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/cmd/cairn/internal/config"
	"github.com/cairnstore/cairn/cmd/cairn/internal/credentials"
	"github.com/cairnstore/cairn/cmd/cairn/internal/memory"
	"github.com/cairnstore/cairn/engine"
	"github.com/cairnstore/cairn/engine/disk"
	"github.com/cairnstore/cairn/engine/listen"
	"github.com/cairnstore/cairn/engine/procs"
	"github.com/cairnstore/cairn/engine/telemetry"
)

func newServer(environ []string) *cobra.Command {
	settings := new(config.Settings)
	cmd := &cobra.Command{
		Use:   "server --data DIR",
		Short: "Serve a data directory over the S3 API",
		Long: `Serve a data directory over the S3 API, until SIGTERM or SIGINT; then finish
what has begun. A second signal exits at once, and loses nothing acknowledged.

Every flag is also a variable (--log-level: CAIRN_LOG_LEVEL) and a line of the
YAML file that --config names (log-level: debug). Flags weigh more than
variables, variables more than the file.

Root credentials come from CAIRN_ROOT_USER and CAIRN_ROOT_PASSWORD, from
MINIO_ROOT_USER and MINIO_ROOT_PASSWORD (both, and neither of ours), or from
root-user and root-password in the file; a variable's name with _FILE added names
a file that holds the value. With none of these they are made once and kept in
the data directory.

CAIRN_METRICS_TOKEN (or metrics-token) is the bearer token for /metrics on the
S3 port. The admin address serves it without one.`,
		Example: `  cairn server --data ./data
  cairn server --data /var/lib/cairn --address :443 --tls-cert cert.pem --tls-key key.pem
  CAIRN_ROOT_USER=admin CAIRN_ROOT_PASSWORD_FILE=/run/secrets/root cairn server --config /etc/cairn.yaml`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			unknown, err := settings.Load(environ)
			if err != nil {
				return usageError{err}
			}
			return serve(cmd.Context(), settings, unknown, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	settings.Flags(cmd.Flags())
	return cmd
}

// A server is the process: sockets, an engine behind them, and how both end.
type server struct {
	settings *config.Settings
	log      *slog.Logger
	lines    *telemetry.Lines // the log's, written behind everyone's back

	gate      gate
	public    *listen.Server
	adminGate gate
	admin     *listen.Server // nil: off
	failed    chan error     // a socket stopped serving by itself
	cache     int64          // engine.Options.CacheBytes
	flash     int64          // FlashBytes
	rate      int64          // FlashWriteRate
}

// serve runs until a signal or a failure.
func serve(ctx context.Context, settings *config.Settings, unknown []string, stdout, stderr io.Writer) (err error) {
	level, err := telemetry.ParseLevel(settings.LogLevel)
	if err != nil {
		return usageError{err}
	}
	signal.Ignore(syscall.SIGPIPE) // a log that nobody reads any more ends no server
	lines := telemetry.NewLines(stdout)
	s := &server{settings: settings, log: telemetry.NewLogger(lines, level), lines: lines, failed: make(chan error, 2)}
	slog.SetDefault(s.log)
	defer func() {
		if err != nil { // standard error has it too, and who keeps the log has that alone
			s.log.Error("the server ends", "error", err)
		}
		lines.Flush(lastLines)
	}()
	s.tellUnknown(unknown)
	if err := s.limitMemory(); err != nil {
		return usageError{err}
	}
	if err := enough(disk.Descriptors()); err != nil {
		return err
	}
	procs.Spare()
	keys, made, err := s.credentials()
	if err != nil {
		return engine.NoRoom(settings.Data[0], err)
	}
	s.tellOfMinIO()

	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	signal.Ignore(syscall.SIGHUP) // certificates are read again without being told

	opened := s.whileOpening(signals)
	defer s.close()
	e, err := s.open(ctx, keys)
	opened()
	if err != nil {
		return err
	}
	refuse := refusal(e.Refusal)
	s.gate.refusal.Store(&refuse)
	s.gate.open(e.Handler())
	s.adminGate.open(e.AdminHandler())
	s.log.Info("serving", "address", s.public.Addr().String(), "data", settings.Data[0], "version", build().Version)
	s.greet(stderr, keys, made)
	reason := s.wait(ctx, signals)
	return errors.Join(reason, s.stop(e))
}

// tellUnknown tells of variables that mean nothing.
func (s *server) tellUnknown(names []string) {
	for _, name := range names {
		about := []any{"variable", name}
		if instead := config.Instead(name); instead != "" {
			about = append(about, "instead", instead)
		}
		s.log.Warn("no setting has this variable's name", about...)
	}
}

// tellOfMinIO tells who has given a directory of MinIO's that what is in it is not served.
func (s *server) tellOfMinIO() {
	if _, err := os.Stat(filepath.Join(s.settings.Data[0], ".minio.sys")); err == nil {
		s.log.Warn("MinIO's own files are in the data directory, and are not read: to have its objects here, run MinIO on that directory and Cairn on another one, and copy from server to server with mc mirror or rclone sync",
			"data", s.settings.Data[0])
	}
}

// lastLines is how long the log's last lines are waited for at an orderly end, and lastLinesAtOnce
// at one that nothing may hold up.
const (
	lastLines       = time.Second
	lastLinesAtOnce = 100 * time.Millisecond
)

// greet tells a person of the server, behind what the log says, where both are shown together.
// Standard error may be held up as the log may.
func (s *server) greet(stderr io.Writer, keys credentials.Pair, made bool) {
	s.lines.Flush(lastLinesAtOnce)
	text := telemetry.NewLines(stderr)
	greet(text, os.Args[0], s.url(), s.settings, keys, made, isTerminal(stderr))
	text.Flush(lastLinesAtOnce)
}

// wait waits for a reason to stop. From then on a signal ends the process at once.
func (s *server) wait(ctx context.Context, signals <-chan os.Signal) error {
	select {
	case sig := <-signals:
		go s.exitAtOnce(signals, time.Now())
		s.log.Info("stopping", "signal", sig.String())
	case err := <-s.failed:
		go s.exitAtOnce(signals, time.Time{})
		s.log.Error("stopping", "error", err)
		return err
	case <-ctx.Done():
		go s.exitAtOnce(signals, time.Time{})
		s.log.Info("stopping")
	}
	return nil
}

// whileOpening ends the process at a signal that comes before the store is open,
// which after a crash may take long: nothing was acknowledged yet, and recovery may
// be killed at any point. The function that it returns ends that.
func (s *server) whileOpening(signals <-chan os.Signal) (opened func()) {
	open, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-open:
		case sig := <-signals:
			s.log.Info("stopped before the store was open", "signal", sig.String())
			s.lines.Flush(lastLines)
			os.Exit(0)
		}
	}()
	return func() { close(open); <-ended }
}

// sameStop is how long after a signal another one says the same: who signals a process
// and then its group, as timeout(1) does, sends two.
const sameStop = 200 * time.Millisecond

// exitAtOnce ends the process at one more signal than the first, if there was one. The
// store is made to be killed: only the requests under way are lost, none of them acknowledged.
func (s *server) exitAtOnce(signals <-chan os.Signal, first time.Time) {
	sig := <-signals
	for time.Since(first) < sameStop {
		sig = <-signals
	}
	s.log.Warn("exiting at once", "signal", sig.String())
	s.lines.Flush(lastLinesAtOnce)
	os.Exit(exitFailure)
}

func (s *server) limitMemory() error {
	limit, err := memory.Limit(s.settings.MemoryLimit, os.Getenv("GOMEMLIMIT"))
	if err != nil {
		return err
	}
	if s.cache, err = memory.Cache(s.settings.Cache); err != nil {
		return err
	}
	if s.flash, err = memory.Flash(s.settings.FlashCacheSize); err != nil {
		return err
	}
	if s.rate, err = memory.Rate("flash-cache-write-rate", s.settings.FlashCacheWriteRate); err != nil {
		return err
	}
	said := s.settings.MemoryLimit != "" || limit == 0
	if now := debug.SetMemoryLimit(-1); limit == 0 && now != math.MaxInt64 {
		limit = now
		if err := memory.InReason("GOMEMLIMIT", os.Getenv("GOMEMLIMIT"), now); err != nil {
			return err
		}
	}
	if limit, s.cache = memory.Divide(limit, said, s.cache); limit > 0 {
		debug.SetMemoryLimit(limit)
	}
	if now := debug.SetMemoryLimit(-1); now != math.MaxInt64 {
		s.log.Info("memory limit", "bytes", now, "cache", max(s.cache, 0))
	}
	return nil
}

// credentials are those given, else those kept in the data directory, made if need be.
func (s *server) credentials() (p credentials.Pair, made bool, err error) {
	if dir := s.settings.Data[0]; s.settings.RootUser == "" {
		// The directory is made by the hands that sync the way to it, or a
		// power cut could lose it with all that it holds.
		if _, err := disk.OpenReal(dir); err != nil {
			return p, false, err
		}
		if p, err = credentials.Load(dir); !errors.Is(err, credentials.ErrNone) {
			return p, false, err
		}
		// The server that has it was given others, and who asks for those that are kept
		// would be told of ones that it does not know.
		if err := engine.InUse(dir); err != nil {
			return p, false, err
		}
		return credentials.LoadOrMake(dir)
	}
	p = credentials.Pair{AccessKey: s.settings.RootUser, SecretKey: s.settings.RootPassword}
	if err := p.Validate(); err != nil {
		return p, false, usageError{err}
	}
	return p, false, nil
}

// listen opens the S3 port, behind the gate.
func (s *server) listen(ctx context.Context) (err error) {
	if most := connections(s.settings.MaxConnections, publicShare); most < s.settings.MaxConnections {
		s.log.Warn("fewer connections than max-connections: half of the open files that this process may have are the store's; raise its limit (ulimit -n, systemd's LimitNOFILE)",
			"max_connections", s.settings.MaxConnections, "connections", most, "open_files", disk.Descriptors())
		s.settings.MaxConnections = most
	}
	most, streams := heads(debug.SetMemoryLimit(-1))
	if most < s.settings.MaxConnections {
		s.log.Info("fewer connections than max-connections: what unknown clients may take of the memory is bounded", "max_connections", s.settings.MaxConnections, "connections", most)
		s.settings.MaxConnections = most
	}
	s.gate.domains = s.settings.Domains
	s.public, err = listen.Listen(ctx, listen.Options{
		Address: s.settings.Address, Handler: &s.gate, Log: s.log, Refusal: s.gate.refuse,
		CertFile: s.settings.TLSCert, KeyFile: s.settings.TLSKey,
		HeaderTimeout: s.settings.HeaderTimeout, IdleTimeout: s.settings.IdleTimeout, ProgressTimeout: s.settings.ProgressTimeout,
		MaxConnections: s.settings.MaxConnections, MaxStreams: streams,
	})
	if err != nil {
		return err
	}
	s.run(s.public)
	return nil
}

func (s *server) run(l *listen.Server) {
	go func() {
		if err := l.Serve(); err != nil {
			s.failed <- err
		}
	}()
}

// open opens the ports, which may be taken, and then the engine behind them.
func (s *server) origins() []string {
	if slices.Contains(s.settings.Origins, config.OriginsOff) {
		return nil
	}
	return s.settings.Origins
}

func (s *server) open(ctx context.Context, keys credentials.Pair) (*engine.Engine, error) {
	if err := s.listen(ctx); err != nil {
		return nil, err
	}
	if err := s.listenAdmin(ctx); err != nil {
		return nil, err
	}
	e, err := engine.Open(ctx, engine.Options{
		Dir: s.settings.Data[0], AccessKey: keys.AccessKey, SecretKey: keys.SecretKey,
		Region: s.settings.Region, Domains: s.settings.Domains, Origins: s.origins(),
		CacheBytes: s.cache, FlashDir: s.settings.FlashCache, FlashBytes: s.flash, FlashWriteRate: s.rate,
		RedisURL: s.settings.RedisURL, RedisTimeout: s.settings.RedisTimeout, RedisTTL: s.settings.RedisTTL,
		WriteThrough: s.settings.CacheWriteThrough, NoPrefetch: !s.settings.Prefetch, HotList: s.hotList(), MaxRequests: s.settings.MaxRequests, UploadExpiry: s.settings.UploadExpiry,
		MetricsToken: s.settings.MetricsToken, MetricsPublic: s.settings.MetricsPublic,
		Log: s.log, AccessLog: s.settings.AccessLog, SlowRequest: s.settings.SlowRequest,
		Build: build(), Now: clock(s.log),
	})
	if err != nil {
		return nil, err
	}
	e.Source(func(t *telemetry.Scrape) {
		t.Reading(telemetry.Reading{Name: "cairn_connections", Help: "Connections open on the S3 port.", Value: float64(s.public.Connections())})
		t.Reading(telemetry.Reading{Name: "cairn_connections_max", Help: "Connections open before others wait.", Value: float64(s.settings.MaxConnections)})
		t.Reading(telemetry.Reading{Name: "cairn_log_lines_dropped_total", Help: "Lines of the log that were dropped, because whoever reads it was too slow or did not take them.", Kind: telemetry.Counter, Value: float64(s.lines.Dropped())})
	})
	return e, nil
}

// hotList is the setting as the engine has it, where 0 is the default.
func (s *server) hotList() int {
	if s.settings.HotList == 0 {
		return -1
	}
	return s.settings.HotList
}

// listenAdmin opens the operators' port, behind a gate of its own. Where nobody chose it and it is
// taken, as by a second server on this machine, the server runs without.
func (s *server) listenAdmin(ctx context.Context) error {
	if s.settings.AdminAddress == config.AdminOff {
		return nil
	}
	l, err := listen.Listen(ctx, listen.Options{Address: s.settings.AdminAddress, Handler: &s.adminGate, Log: s.log, MaxConnections: connections(256, adminShare)})
	if err != nil && !s.settings.Given("admin-address") {
		s.log.Warn("the default admin address is not open: choose another, or off, by --admin-address", "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("admin address: %w", err)
	}
	s.admin = l
	s.run(l)
	s.log.Info("serving health and metrics", "address", l.Addr().String())
	return nil
}

// stop is a server's orderly end: say so, stop accepting, finish, close the store.
func (s *server) stop(e *engine.Engine) error {
	began := time.Now()
	e.Drain()
	time.Sleep(s.settings.ShutdownDelay)

	ctx, cancel := context.WithTimeout(context.Background(), s.settings.ShutdownTimeout)
	defer cancel()
	if err := s.public.Shutdown(ctx); err != nil {
		s.log.Warn("the time to finish is over", "error", err)
		// Their connections are gone; what they do in the store is short.
		if !s.gate.emptied(5 * time.Second) {
			s.log.Error("requests are stuck; the store is closed under them")
		}
	}
	ctx, cancel = context.WithTimeout(context.Background(), s.settings.ShutdownTimeout)
	defer cancel()
	err := e.Close(ctx)
	if err == nil {
		s.log.Info("stopped", "seconds", time.Since(began).Seconds())
	}
	return err
}

// close ends the sockets, however far the server came.
func (s *server) close() {
	if s.public != nil {
		_ = s.public.Close()
	}
	if s.admin != nil {
		_ = s.admin.Close()
	}
}

// url is where this machine reaches the server.
func (s *server) url() string {
	scheme := "http"
	if s.settings.TLSCert != "" {
		scheme = "https"
	}
	host, port, _ := net.SplitHostPort(s.public.Addr().String())
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}
