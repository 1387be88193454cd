package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/engine"
	"github.com/cairnstore/cairn/engine/store"
	"github.com/cairnstore/cairn/engine/telemetry"
)

func newStore() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Look after a data directory that no server has open",
		Args:  unknownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(newStoreCheck(), newStoreRebuild(), newStoreStat())
	return cmd
}

// oneDirectory takes a data directory that is there: these commands make none.
func oneDirectory(cmd *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return usageError{fmt.Errorf("%s needs a data directory", cmd.CommandPath())}
	case 1:
	default:
		return usageError{fmt.Errorf("%s takes one data directory, and was given %d", cmd.CommandPath(), len(args))}
	}
	info, err := os.Stat(args[0])
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return usageError{fmt.Errorf("there is no directory %s", args[0])}
	case err != nil:
		return err
	case !info.IsDir():
		return usageError{fmt.Errorf("%s is not a directory", args[0])}
	}
	return nil
}

// interruptible ends at the first signal, so that a long command lets go of
// the directory in order.
func interruptible(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	return signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
}

func newStoreCheck() *cobra.Command {
	var asJSON bool
	var list int
	cmd := &cobra.Command{
		Use:   "check DIR",
		Short: "Verify every record, every body and the index",
		Long: `Verify every record and body of the log, every chunk of large bodies, the
index against the log in both directions, and the counters. Nothing is changed.
What the log has past the index counts as the next start would replay it.

Exit codes: 0 sound, 1 damaged or not to be checked, 2 a command line that makes no sense.`,
		Example: "  cairn store check ./data\n  cairn store check --json ./data",
		Args:    oneDirectory,
		RunE: func(cmd *cobra.Command, args []string) error {
			if list < 1 {
				return usageError{errors.New("--list must be at least 1")}
			}
			ctx, stop := interruptible(cmd)
			defer stop()
			return checkStore(ctx, cmd, args[0], list, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "the report as JSON")
	cmd.Flags().IntVar(&list, "list", 100, "how many damages are listed; all are counted")
	return cmd
}

// checkStore prints what a check finds, and fails if that is damage.
func checkStore(ctx context.Context, cmd *cobra.Command, dir string, list int, asJSON bool) error {
	progress := newProgressLine(cmd.ErrOrStderr())
	report, err := engine.Check(ctx, dir, store.CheckOptions{MaxDamage: list, Progress: progress.show})
	progress.end()
	if err != nil {
		return err
	}
	if asJSON {
		err = writeJSON(cmd.OutOrStdout(), report)
	} else {
		err = writeCheck(cmd.OutOrStdout(), &report)
	}
	if err == nil && !report.Sound() {
		err = fmt.Errorf("%s is damaged in %d places", dir, report.DamageCount)
	}
	return err
}

func newStoreRebuild() *cobra.Command {
	var acceptLoss bool
	cmd := &cobra.Command{
		Use:   "rebuild DIR",
		Short: "Make the index again from the log, and check it",
		Long: `Delete the index and make it again from the log, which is what a start does by
itself when the index is missing or damaged; then check the store. Where the log
is damaged, it refuses before it touches anything: what the index knows of it
would be lost.

With --accept-loss it goes on without what is damaged and without what the drive
can't read. A file that lost its header is renamed to NAME.lost and stays, for
whoever can read it; remove it when nobody needs it. The file "store", if it is
lost, is made again from what the others say of it.`,
		Example: "  cairn store rebuild ./data\n  cairn store rebuild --accept-loss ./data",
		Args:    oneDirectory,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			level, err := telemetry.ParseLevel("error")
			if err != nil {
				return err
			}
			progress := newProgressLine(cmd.ErrOrStderr())
			began := time.Now()
			err = engine.Rebuild(ctx, args[0], acceptLoss, telemetry.NewLogger(cmd.ErrOrStderr(), level), progress.show)
			progress.end()
			if err != nil {
				return err
			}
			_, _ = fmt.Fprintf(cmd.OutOrStdout(), "the index is made again, in %s\n", time.Since(began).Round(time.Millisecond))
			return checkStore(ctx, cmd, args[0], 100, false)
		},
	}
	cmd.Flags().BoolVar(&acceptLoss, "accept-loss", false, "rebuild from a damaged log, without what is damaged or can't be read")
	return cmd
}

func newStoreStat() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "stat DIR",
		Short:   "Say where the space is, by segment",
		Example: "  cairn store stat ./data",
		Args:    oneDirectory,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			report, err := engine.Usage(ctx, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), report)
			}
			return writeUsage(cmd.OutOrStdout(), &report)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func writeCheck(w io.Writer, r *store.CheckReport) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	p := func(name, format string, args ...any) { _, _ = fmt.Fprintf(t, name+"\t"+format+"\n", args...) }
	p("store", "%s", r.StoreID)
	p("segments", "%d of the log, %d of large bodies", r.LogSegments, r.BulkSegments)
	p("records", "%d in %d groups", r.Records, r.Groups)
	p("bodies", "%d small ones, with their records", r.Bodies)
	p("blobs", "%d in %d chunks", r.Blobs, r.Chunks)
	p("keys", "%d by the log, %d in the index, %d to be replayed by the next start", r.Keys, r.IndexEntries, r.Pending)
	p("read", "%s in %s", size(r.BytesRead), r.Duration.Round(time.Millisecond))
	if err := t.Flush(); err != nil {
		return err
	}
	for _, n := range r.Notes {
		_, _ = fmt.Fprintln(w, "note:", n)
	}
	for i := range r.Damage {
		_, _ = fmt.Fprintln(w, "damage:", r.Damage[i].String())
	}
	if more := r.DamageCount - int64(len(r.Damage)); more > 0 {
		_, _ = fmt.Fprintf(w, "and %d more\n", more)
	}
	if r.Sound() {
		_, _ = fmt.Fprintln(w, "sound")
	}
	return nil
}

func writeUsage(w io.Writer, r *store.UsageReport) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(s *store.SegmentUsage, state string) {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t\n", s.File, s.Kind, size(s.Size), size(s.Used), size(s.Live), size(s.Garbage), s.Tombstones, state)
	}
	_, _ = fmt.Fprintln(t, "file\tkind\tsize\tused\tlive\tgarbage\tdeletes\t\t")
	for i := range r.Segments {
		state := "open"
		if r.Segments[i].Sealed {
			state = "sealed"
		}
		row(&r.Segments[i], state)
	}
	total := r.Total
	total.File, total.Kind = "total", ""
	row(&total, "")
	if err := t.Flush(); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(w, "\nstore %s\nfree: %d files of %s\nindex: %s, up to sequence %d (segment %d, offset %d)\n",
		r.StoreID, r.FreeFiles, size(r.FreeBytes), size(r.IndexBytes), r.Watermark.Sequence, r.Watermark.Segment, r.Watermark.Offset)
	for i := range r.Damage {
		_, _ = fmt.Fprintln(w, "damage:", r.Damage[i].String())
	}
	return nil
}
