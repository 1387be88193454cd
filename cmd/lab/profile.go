package main

import (
	"cmp"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/harness/headline"
	"github.com/cairnstore/cairn/harness/probe"
	"github.com/cairnstore/cairn/harness/record"
)

// hardware is the profile of the machine that an experiment measures. It is read
// before anything is measured, so that a wrong file costs no minutes.
type hardware struct {
	file    string
	profile *probe.Profile // nil: none was given
}

func (h *hardware) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&h.file, "profile", "", "hardware profile of the machine that is measured (lab probe --out), to keep in the record")
}

func (h *hardware) load() (err error) {
	if h.file == "" {
		return nil
	}
	if h.profile, err = probe.Load(h.file); err != nil {
		return fmt.Errorf("--profile: %w", err)
	}
	h.profile.Name = cmp.Or(h.profile.Name, filepath.Base(h.file))
	return nil
}

// machine is what the headline is scaled by: the profile's, or this one.
func (h *hardware) machine() headline.Machine {
	if h.profile == nil {
		return headline.This()
	}
	return headline.Of(h.profile)
}

// note says in the record what the profile is. A name alone would not do: a
// machine that is probed anew keeps it.
func (h *hardware) note(rec *record.Record) {
	if h.profile == nil || rec == nil {
		return
	}
	p := h.profile
	rec.Profile = p.Name
	rec.Settings["profile"] = map[string]any{
		"name": p.Name, "measured": p.Measured.UTC().Format(time.RFC3339), "quick": p.Quick,
		"cpu": p.CPU.Model, "threads": p.CPU.Threads, "memory_bytes": p.Memory.TotalBytes, "noise": p.Noise.Level,
	}
	if p.CPU.Threads != rec.Machine.Cores {
		rec.Warn("profile %s is of a machine of %d threads, and the lab ran on one of %d: see that it is the measured machine's", p.Name, p.CPU.Threads, rec.Machine.Cores)
	}
}
