package gate

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/cairnstore/cairn/regressions/judge"
	"github.com/cairnstore/cairn/regressions/proxies"
)

const acceptedFile = "regressions/proxies/proxies.json"

// countProxies counts those of both builds and compares them to the digit. What
// the base does not have yet is compared with what is accepted.
func (g *gate) countProxies(ctx context.Context) ([]judge.Finding, error) {
	if g.candidate.count == "" {
		g.rec.Warn("the candidate has no counter of proxies: allocations, syncs and bytes were not compared")
		if g.base.count == "" {
			return nil, nil
		}
		lost := judge.Exactly(judge.Metric{Name: "proxies"}, 0, 0)
		lost.Decision = judge.CannotTell
		lost.Notes = append(lost.Notes, "the base counts them, the candidate does not")
		return []judge.Finding{lost}, nil
	}
	accepted, err := proxies.ReadFile(filepath.Join(g.candidate.source, acceptedFile))
	if err != nil {
		return nil, err
	}
	candidate, err := counted(ctx, g.candidate)
	if err != nil {
		return nil, err
	}
	var all []judge.Finding
	if accepted.Applies() {
		for _, f := range accepted.Against(candidate) {
			// A figure that the file does not know is a change of the file to be made,
			// and one that fell is no harm.
			if f.Decision != judge.Same {
				f.Name += " (accepted)"
				all = append(all, f)
			}
		}
	} else {
		g.rec.Warn("the accepted proxies are of another Go version or processor: they were compared with the base's alone")
	}
	if g.base.count == "" {
		g.rec.Warn("the base has no counter of proxies: they were compared with what is accepted alone")
		return all, nil
	}
	was, err := proxies.ReadFile(filepath.Join(g.base.source, acceptedFile))
	if err != nil {
		return nil, err
	}
	base, err := counted(ctx, g.base)
	if err != nil {
		return nil, err
	}
	return append(all, proxies.Between(base, candidate, was, accepted)...), nil
}

func counted(ctx context.Context, b build) (figures []proxies.Figure, err error) {
	out, err := command(ctx, b.source, b.count)
	if err != nil {
		return nil, fmt.Errorf("proxies of %s: %w", b.name, err)
	}
	if err := json.Unmarshal([]byte(out), &figures); err != nil {
		return nil, fmt.Errorf("proxies of %s: %w", b.name, err)
	}
	return figures, nil
}
