package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	neturl "net/url"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/cmd/cairn/internal/config"
	"github.com/cairnstore/cairn/engine"
)

func newCache(environ []string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "The cache of a running server: what it does, and warming it",
		Args:  unknownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCacheStat(), newCacheWarm(environ))
	return cmd
}

// adminFlag adds the address of the server to ask.
func adminFlag(cmd *cobra.Command, address *string) {
	cmd.Flags().StringVar(address, "admin-address", "127.0.0.1:9001", "`host:port` of the server's admin address")
}

// statTimeout is for a server that is alive and does not answer.
const statTimeout = 30 * time.Second

func newCacheStat() *cobra.Command {
	var address string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stat",
		Short: "Show hits by tier, what another size would bring, and how good prefetching is",
		Long: `Show what the cache of a running server does: hits and misses by tier, the share of
look-ups that memory of other sizes would answer, what left memory for the tiers below,
and how many of the bodies that were fetched ahead were asked for.

Counts are since the server's start.`,
		Example: "  cairn cache stat\n  cairn cache stat --admin-address 10.0.0.5:9001 --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), statTimeout)
			defer cancel()
			body, err := askAdmin(ctx, http.MethodGet, address, "/cache", "")
			if err != nil {
				return err
			}
			defer body.Close()
			text, err := io.ReadAll(io.LimitReader(body, 1<<20))
			if err != nil {
				return fmt.Errorf("ask %s: %w", address, err)
			}
			var r engine.CacheReport
			if err := json.Unmarshal(text, &r); err != nil {
				return fmt.Errorf("the answer of %s is none of a cairn server: %w", address, err)
			}
			if asJSON {
				_, err = cmd.OutOrStdout().Write(text)
				return err
			}
			return printCache(cmd.OutOrStdout(), &r)
		},
	}
	adminFlag(cmd, &address)
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

func printCache(out io.Writer, r *engine.CacheReport) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	p := func(format string, a ...any) { _, _ = fmt.Fprintf(w, format, a...) }
	p("tier\thits\tmisses\thit ratio\tentries\tused\tof\tevicted\tnot kept\tage\t\n")
	for _, t := range r.Tiers {
		note := ""
		if t.Off {
			note = "off"
		}
		p("%s\t%d\t%d\t%.3f\t%d\t%s\t%s\t%d\t%d\t%s\t%s\n", t.Name, t.Hits, t.Misses, t.HitRatio, t.Entries, sizeOf(t.Bytes), sizeOf(t.Budget),
			t.Evicted, t.Dropped, time.Duration(t.Age*float64(time.Second)).Round(time.Second), note)
	}
	if len(r.Curve) > 0 {
		p("\nmemory for entries\thit ratio\n")
		for _, c := range r.Curve {
			p("%s\t%.3f\n", sizeOf(c.Bytes), c.HitRatio)
		}
	}
	p("\nleft memory for the tiers below\t%d (%s), %d dropped\n", r.Demotion.Bodies, sizeOf(r.Demotion.Bytes), r.Demotion.Dropped)
	p("kept when written\t%d\n", r.Demotion.WrittenThrough)
	if r.Prefetch.On {
		p("fetched ahead\t%d (%s)\n", r.Prefetch.Fetched, sizeOf(r.Prefetch.Bytes))
		for _, x := range []struct {
			name string
			engine.PrecisionReport
		}{{"successions", r.Prefetch.Successions}, {"ranges", r.Prefetch.Ranges}} {
			state := ""
			if x.Off {
				state = ", silent: too many were wrong"
			}
			p("  %s\t%d predicted, precision %.2f, lately %.2f%s\n", x.name, x.Predicted, x.Precision, x.Recent, state)
		}
	} else {
		p("fetched ahead\toff\n")
	}
	p("hot list\t%d objects\n", r.HotList.Keys)
	if l := r.HotList.Last; l != nil {
		p("warmed at the start\t%s\n", warmth(l))
	}
	if r.Warming != nil {
		p("warmed by request\t%s\n", warmth(r.Warming))
	}
	return w.Flush()
}

// sizeOf is a number of bytes for people.
func sizeOf(n int64) string {
	v, unit := float64(n), 0
	for v >= 1024 && unit < 4 {
		v /= 1024
		unit++
	}
	return fmt.Sprintf("%.4g %s", v, []string{"B", "KiB", "MiB", "GiB", "TiB"}[unit])
}

func warmth(w *engine.Warmth) string {
	s := fmt.Sprintf("%d objects, %d brought in (%s), %d too large, %d failed", w.Objects, w.Brought, sizeOf(w.Bytes), w.Large, w.Failed)
	if w.Full {
		s += "; memory is full of them"
	}
	if !w.Done {
		s += "; under way"
	}
	return s
}

func newCacheWarm(environ []string) *cobra.Command {
	var address, dir, bucket, prefix string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "warm --bucket BUCKET",
		Short: "Bring a bucket's small objects into the cache of a running server",
		Long: `Bring the small objects of a bucket, or those whose keys begin with a prefix, into
the cache of a running server, in the background there. Interrupting this command ends it.

The admin token comes from CAIRN_ADMIN_TOKEN, or as cairn credentials show --admin-token has it.`,
		Example: "  cairn cache warm --data ./data --bucket photos --prefix 2026/\n  CAIRN_ADMIN_TOKEN=… cairn cache warm --admin-address 10.0.0.5:9001 --bucket photos",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if bucket == "" {
				return usageError{errors.New("no bucket: say which, as in --bucket photos")}
			}
			token := variable(environ, config.AdminToken)
			if token == "" {
				var err error
				if token, err = findAdminToken(environ, dir); err != nil {
					return err
				}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return warm(ctx, cmd.OutOrStdout(), cmd.ErrOrStderr(), address, token, neturl.Values{"bucket": {bucket}, "prefix": {prefix}}, asJSON)
		},
	}
	adminFlag(cmd, &address)
	cmd.Flags().StringVar(&dir, "data", "", "the server's data `directory`, for the token")
	cmd.Flags().StringVar(&bucket, "bucket", "", "`name` of the bucket")
	cmd.Flags().StringVar(&prefix, "prefix", "", "`beginning` of the keys")
	cmd.Flags().BoolVar(&asJSON, "json", false, "the lines of progress as they come, JSON")
	return cmd
}

func variable(environ []string, name string) string {
	for _, e := range environ {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

// warm asks, and tells how far the server is.
func warm(ctx context.Context, out, progress io.Writer, address, token string, q neturl.Values, asJSON bool) error {
	body, err := askAdmin(ctx, http.MethodPost, address, "/cache/warm?"+q.Encode(), token)
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	var last struct {
		engine.Warmth
		Error string `json:"error"`
	}
	for lines.Scan() {
		if asJSON {
			_, _ = fmt.Fprintln(out, lines.Text())
		}
		if err := json.Unmarshal(lines.Bytes(), &last); err != nil {
			return fmt.Errorf("the answer of %s is none of a cairn server: %w", address, err)
		}
		if !asJSON && !last.Done && last.Error == "" {
			_, _ = fmt.Fprintln(progress, warmth(&last.Warmth))
		}
	}
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted; what was brought in stays")
	case last.Error != "":
		return errors.New(last.Error)
	case lines.Err() != nil:
		return fmt.Errorf("ask %s: %w", address, lines.Err())
	case !last.Done:
		return fmt.Errorf("ask %s: the answer has no end; did the server stop?", address)
	}
	if !asJSON {
		_, err = fmt.Fprintln(out, warmth(&last.Warmth))
	}
	return err
}

// askAdmin asks a server's admin address, and returns the answer's body if it is 200.
func askAdmin(ctx context.Context, method, address, path, token string) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, nil)
	if err != nil {
		return nil, usageError{fmt.Errorf("admin-address: %q: must be a host and a port, as 127.0.0.1:9001", address)}
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	// No proxy on the way: the token is for the server alone.
	direct := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: direct}).Do(r)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w; is the server running, and is that its --admin-address?", address, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
	var refusal struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(text, &refusal) != nil || refusal.Error == "" {
		refusal.Error = "it has no cache to tell of, or is no cairn server (" + resp.Status + ")"
	}
	return nil, fmt.Errorf("%s: %s", address, refusal.Error)
}
