package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cairnstore/cairn/cmd/cairn/internal/memory"
	"github.com/cairnstore/cairn/engine/arena"
	"github.com/cairnstore/cairn/engine/numa"
)

// hardware is what this process may use of its machine, and how to get more
// out of it. Sizes are in bytes.
type hardware struct {
	CPUs int `json:"cpus"`
	// TransparentHugePages is the kernel's setting: always, madvise or never; empty if it has none.
	TransparentHugePages string         `json:"transparentHugePages"`
	Nodes                []hardwareNode `json:"nodes"`
	Cache                int64          `json:"cache"`  // what Advice is for
	Advice               []advice       `json:"advice"` // the best first
}

type hardwareNode struct {
	ID        int        `json:"id"`
	CPUs      string     `json:"cpus"` // as 0-3,8
	Memory    int64      `json:"memory"`
	Free      int64      `json:"free"`
	Distances []int      `json:"distances"` // to the nodes in this order; 10 is its own
	HugePages []hugePool `json:"hugePages"`
	// Arena is the kind of pages that an arena of 2 MiB got here just now.
	Arena string `json:"arena"`
}

type hugePool struct {
	Size  int64 `json:"size"`
	Total int64 `json:"total"`
	Free  int64 `json:"free"`
}

// An advice is a command, and what it is good for.
type advice struct {
	Command string `json:"command"`
	Reason  string `json:"reason"`
}

func newHardware() *cobra.Command {
	var asJSON bool
	var cache string
	cmd := &cobra.Command{
		Use:   "hardware",
		Short: "Say what this machine has for the cache, and what to set to get more out of it",
		Long: `Show the nodes of memory that this process may use, their CPUs and huge pages, and
what kind of pages an arena of the cache gets on each, by trying one of 2 MiB:

  huge-1g, huge-2m   reserved huge pages: the best
  transparent        huge pages that the kernel makes of free memory, while it has whole ones
  plain              small pages: a walk through a large cache takes nearly twice as long

Then the commands that get better ones for a cache of the given size. Nothing is changed.`,
		Example: "  cairn hardware\n  cairn hardware --cache 16GiB\n  cairn hardware --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			size, err := memory.Bytes(cache)
			if err != nil || size < arena.HugePage {
				return usageError{fmt.Errorf("cache: %q: must be a size of 2MiB or more, as 4GiB", cache)}
			}
			topology, err := numa.Discover()
			if err != nil {
				return err
			}
			h := survey(os.DirFS("/"), topology, size, tryArena)
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), h)
			}
			return writeHardware(cmd.OutOrStdout(), &h)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.Flags().StringVar(&cache, "cache", "4GiB", "the size of the cache in memory, on all nodes together")
	return cmd
}

// tryArena maps a small region on a node and says what it got.
func tryArena(n *numa.Node) string {
	r, err := arena.Map(arena.HugePage, arena.Options{Node: n})
	if err != nil {
		return err.Error()
	}
	kind := r.Kind().String()
	if err := r.Release(); err != nil {
		return err.Error()
	}
	return kind
}

// survey puts the report together. root has /sys in it.
func survey(root fs.FS, t *numa.Topology, cache int64, try func(*numa.Node) string) hardware {
	h := hardware{CPUs: t.CPUs(), TransparentHugePages: transparentSetting(root), Cache: cache, Advice: []advice{}}
	for _, n := range t.Nodes {
		node := hardwareNode{ID: n.ID, CPUs: numa.FormatList(n.CPUs), Memory: n.Memory, Free: n.Free, Distances: n.Distances, HugePages: []hugePool{}}
		for _, p := range n.HugePages {
			node.HugePages = append(node.HugePages, hugePool{p.Size, p.Total, p.Free})
		}
		if n.Memory > 0 {
			node.Arena = try(n)
		}
		h.Nodes = append(h.Nodes, node)
	}
	h.Advice = append(h.Advice, adviseReserved(t, cache)...)
	if h.TransparentHugePages == "never" {
		h.Advice = append(h.Advice, advice{"echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
			"lets the cache have transparent huge pages; no other program changes"})
	}
	return h
}

// transparentSetting reads which of the words of a file as "always [madvise] never" is chosen.
func transparentSetting(root fs.FS) string {
	text, err := fs.ReadFile(root, "sys/kernel/mm/transparent_hugepage/enabled")
	if err != nil {
		return ""
	}
	_, chosen, _ := strings.Cut(string(text), "[")
	chosen, _, _ = strings.Cut(chosen, "]")
	return chosen
}

// adviseReserved says how to reserve pages of 2 MiB for what the cache keeps on
// each node, on top of those that others have. No advice means that enough are free.
func adviseReserved(t *numa.Topology, cache int64) (all []advice) {
	nodes := t.Holding()
	for i, n := range nodes {
		share := cache / int64(len(nodes))
		if i == 0 {
			share += cache % int64(len(nodes))
		}
		pool, ok := poolOf(n, arena.HugePage)
		missing := (share+arena.HugePage-1)/arena.HugePage - pool.Free
		switch {
		case !ok || missing <= 0:
			continue
		case missing*arena.HugePage > n.Memory*3/4:
			all = append(all, advice{"", fmt.Sprintf("%s of the cache do not fit beside all else into the %s of node %d: choose a smaller --cache", size(share), size(n.Memory), n.ID)})
			continue
		}
		reason := fmt.Sprintf("reserves %s in huge pages of 2 MiB", size(missing*arena.HugePage))
		if t.Uniform() {
			all = append(all, advice{fmt.Sprintf("sysctl vm.nr_hugepages=%d", pool.Total-pool.Surplus+missing), reason})
			continue
		}
		all = append(all, advice{fmt.Sprintf("echo %d > /sys/devices/system/node/node%d/hugepages/hugepages-2048kB/nr_hugepages", pool.Total-pool.Surplus+missing, n.ID),
			fmt.Sprintf("%s on node %d", reason, n.ID)})
	}
	return all
}

func poolOf(n *numa.Node, size int64) (numa.HugePages, bool) {
	for _, p := range n.HugePages {
		if p.Size == size {
			return p, true
		}
	}
	return numa.HugePages{}, false
}

func writeHardware(w io.Writer, h *hardware) error {
	setting := h.TransparentHugePages
	if setting == "" {
		setting = "not in this kernel"
	}
	_, _ = fmt.Fprintf(w, "CPUs: %d\ntransparent huge pages: %s\n\n", h.CPUs, setting)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "node\tCPUs\tmemory\tfree\tfree 2 MiB pages\tfree 1 GiB pages\tarena\tdistances")
	for _, n := range h.Nodes {
		pools := map[int64]string{2 << 20: "-", 1 << 30: "-"}
		for _, p := range n.HugePages {
			pools[p.Size] = fmt.Sprintf("%d of %d", p.Free, p.Total)
		}
		_, _ = fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", n.ID, orDash(n.CPUs), size(n.Memory), size(n.Free),
			pools[2<<20], pools[1<<30], orDash(n.Arena), orDash(strings.Trim(fmt.Sprint(n.Distances), "[]")))
	}
	err := t.Flush()
	if len(h.Advice) == 0 {
		_, _ = fmt.Fprintf(w, "\nFor a cache of %s there is nothing to set.\n", size(h.Cache))
		return err
	}
	_, _ = fmt.Fprintf(w, "\nFor a cache of %s:\n", size(h.Cache))
	for _, a := range h.Advice {
		line := a.Reason
		if a.Command != "" {
			line = a.Command + "   # " + a.Reason
		}
		_, werr := fmt.Fprintln(w, " ", line)
		err = errors.Join(err, werr)
	}
	return err
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
