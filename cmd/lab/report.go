package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/harness/probe"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/report"
)

func newReport() *cobra.Command {
	var out, title, history, profile string
	cmd := &cobra.Command{
		Use:   "report RECORD...",
		Short: "Show records: tables here, or with --out one HTML page with charts",
		Long: `Show records: as tables on the terminal, or with --out as one HTML page that needs
no network: latency distributions, throughput against latency, the course of a run,
load, latency and faults through time, the history of each metric over the records
in --history, verdicts and warnings.`,
		Example: `  lab report results/runs/20261125T164852.222Z-compare-1965f28.json
  lab report results/runs/*-latency-*.json --out report.html
  lab report latest-compare --out report.html
  lab report RECORD --profile hardware/profiles/epyc-2-threads-24g.yaml --out report.html`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			records, err := reported(args, history)
			if err != nil {
				return err
			}
			if out == "" {
				for _, f := range []string{"profile", "title"} {
					if cmd.Flags().Changed(f) {
						return fmt.Errorf("report: --%s is for a page: give --out", f)
					}
				}
				return report.Texts(cmd.OutOrStdout(), records)
			}
			in := report.Input{Title: title, Records: records}
			if in.History, err = historyIn(history, cmd.ErrOrStderr()); err != nil {
				return err
			}
			if profile != "" {
				if in.Profile, err = probe.Load(profile); err != nil {
					return err
				}
			}
			return writePage(cmd.OutOrStdout(), out, in)
		},
	}
	f := cmd.Flags()
	f.StringVar(&out, "out", "", "HTML file to write; empty: tables here")
	f.StringVar(&title, "title", "", "title of the page")
	f.StringVar(&history, "history", "results/runs", "directory of records for the history of metrics; empty: none")
	f.StringVar(&profile, "profile", "", "hardware profile of the machine, to show on the page")
	return cmd
}

// reported are the records that are named: by their files, or as lab record show has it,
// among those of the directory.
func reported(names []string, dir string) (all []report.Named, err error) {
	for _, name := range names {
		if _, missing := os.Stat(name); missing == nil || dir == "" || strings.ContainsRune(name, '/') {
			records, err := report.Load([]string{name})
			if err != nil {
				return nil, err
			}
			all = append(all, records...)
			continue
		}
		k, err := record.Find(dir, name)
		if err != nil {
			return nil, err
		}
		all = append(all, report.Named{Name: k.Name, Record: k.Record})
	}
	return all, nil
}

// historyIn are the records of a directory, for the history of metrics; none
// without one.
func historyIn(dir string, warn io.Writer) ([]report.Named, error) {
	if dir == "" {
		return nil, nil
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("report: history: %w", err)
	}
	var all []report.Named
	for _, name := range names {
		rec, err := record.Read(name)
		if err != nil {
			_, _ = fmt.Fprintln(warn, "report: left out of the history:", err)
			continue
		}
		all = append(all, report.Named{Name: name, Record: rec})
	}
	return all, nil
}

// writePage writes the page into a file, and says where to look.
func writePage(say io.Writer, file string, in report.Input) error {
	var page bytes.Buffer
	if err := report.HTML(&page, in); err != nil {
		return err
	}
	if err := writeWhole(file, page.Bytes()); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		abs = file
	}
	_, err = fmt.Fprintln(say, "report: file://"+abs)
	return err
}

// writeWhole writes a file whole or not at all.
func writeWhole(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	draft := name + ".new"
	if err := os.WriteFile(draft, data, 0o644); err != nil {
		return err
	}
	if err := os.Rename(draft, name); err != nil {
		return errors.Join(err, os.Remove(draft))
	}
	return nil
}
