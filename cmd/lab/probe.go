package main

import (
	"fmt"
	"net"
	"os"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/harness/probe"
)

func newProbe() *cobra.Command {
	var (
		o             probe.Options
		out           string
		asJSON, quiet bool
	)
	cmd := &cobra.Command{
		Use:   "probe",
		Short: "Measure this machine: processors, memory, drive, network, and how noisy it is",
		Long: `Measure what this machine can do below any store, and print it. --out keeps it as
a profile (YAML, units in the names of the keys), which other commands take.

It takes under 90 s, with --quick under 20 s. It writes up to 4 GiB (1 GiB) into a
folder of --dir, and removes it. For figures worth keeping nothing else may run;
the profile says how noisy the machine was.`,
		Example: `  lab probe --out hardware/profiles/rack-7.yaml --name rack-7
  lab probe --quick --dir /mnt/drive1
  lab probe --peer 10.0.0.2:7077       # where lab probe serve runs`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !quiet {
				o.Lines = cmd.ErrOrStderr()
			}
			if !cmd.Flags().Changed("dir") {
				if err := os.MkdirAll(o.Dir, 0o755); err != nil {
					return fmt.Errorf("probe: %w", err)
				}
			}
			p, err := probe.Run(cmd.Context(), o)
			if err != nil {
				return err
			}
			if out != "" {
				if err := p.Save(out); err != nil {
					return err
				}
				fmt.Fprintln(cmd.ErrOrStderr(), "profile:", out)
			}
			return writeProfile(cmd, p, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", "results/tmp", "directory on the drive to measure")
	f.StringVar(&o.Peer, "peer", "", "host:port of another machine's lab probe serve, to measure the network to it")
	f.BoolVar(&o.Quick, "quick", false, "fewer samples: under 20 s")
	f.StringVar(&o.Name, "name", "", "name of the profile")
	f.StringVar(&out, "out", "", "file to keep the profile in")
	f.BoolVar(&asJSON, "json", false, "print JSON instead of tables")
	f.BoolVarP(&quiet, "quiet", "q", false, "no progress on standard error")
	cmd.AddCommand(newProbeShow(), newProbeServe())
	return cmd
}

func newProbeShow() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "show FILE",
		Short:   "Print a profile that was kept",
		Example: "  lab probe show hardware/profiles/epyc-2-threads-24g.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := probe.Load(args[0])
			if err != nil {
				return err
			}
			return writeProfile(cmd, p, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON instead of tables")
	return cmd
}

func newProbeServe() *cobra.Command {
	var address string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Be the other end of lab probe --peer, until interrupted",
		Long: `Be the other end of lab probe --peer: echo, take and send bytes for whoever
connects, 256 connections at most, 30 s each. Serve it on a network that you trust.`,
		Example: "  lab probe serve --address :7077",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := net.Listen("tcp", address)
			if err != nil {
				return fmt.Errorf("probe serve: %w", err)
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "serving at", l.Addr())
			return probe.Serve(cmd.Context(), l)
		},
	}
	cmd.Flags().StringVar(&address, "address", ":7077", "address to listen on")
	return cmd
}

func writeProfile(cmd *cobra.Command, p *probe.Profile, asJSON bool) error {
	if !asJSON {
		return p.Write(cmd.OutOrStdout())
	}
	return writeJSON(cmd.OutOrStdout(), p)
}
