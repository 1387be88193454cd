package fusefs

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"time"
)

// An Op is a kind of operation that a rule can be on.
type Op string

// The operations. Sync is fsync and fdatasync, Create makes a file.
const (
	Read     Op = "read"
	Write    Op = "write"
	Sync     Op = "sync"
	Allocate Op = "allocate"
	Create   Op = "create"
)

// An Effect is what a rule does.
type Effect string

const (
	// Delay lets the operation wait.
	Delay Effect = "delay"
	// EIO refuses it, as a drive does that cannot read or write a block.
	EIO Effect = "eio"
	// Lose fails a sync with EIO and takes back what was written to the file
	// since its last good one, as kernels do: the pages count as clean, and a
	// second sync returns no error.
	Lose Effect = "lose"
	// ENOSPC refuses it as a full drive does.
	ENOSPC Effect = "enospc"
	// Flip flips one random bit of what a read returns. Nobody is told.
	Flip Effect = "flip"
)

// effectOps are the operations that an effect can be had on.
var effectOps = map[Effect][]Op{
	Delay:  {Read, Write, Sync, Allocate, Create},
	EIO:    {Read, Write, Sync, Allocate, Create},
	Lose:   {Sync},
	ENOSPC: {Write, Allocate, Create},
	Flip:   {Read},
}

// maxDelay keeps a slip of the pen from stopping a run for ever.
const maxDelay = time.Minute

// A Rule says which operations are ill-treated, and how.
type Rule struct {
	Ops    []Op          `yaml:"ops" json:"ops"`
	Match  string        `yaml:"match" json:"match,omitempty"` // glob of path.Match on the file's path in the volume, or on its base name if it has no slash; "": all
	Effect Effect        `yaml:"effect" json:"effect"`
	Delay  time.Duration `yaml:"delay" json:"delay,omitempty"`   // of the effect delay
	Chance float64       `yaml:"chance" json:"chance,omitempty"` // 0 to 1; 0: always
	Times  int64         `yaml:"times" json:"times,omitempty"`   // at most; 0: no bound
}

// Validate says what is wrong with a rule.
func (r *Rule) Validate() error {
	allowed, known := effectOps[r.Effect]
	switch {
	case !known:
		return fmt.Errorf("no effect is called %q", r.Effect)
	case len(r.Ops) == 0:
		return errors.New("a rule needs operations")
	case r.Chance < 0 || r.Chance > 1 || r.Chance != r.Chance:
		return fmt.Errorf("a chance of %v is not within 0 to 1", r.Chance)
	case r.Times < 0:
		return errors.New("times is negative")
	case (r.Effect == Delay) != (r.Delay > 0) || r.Delay > maxDelay:
		return fmt.Errorf("a delay of up to %v belongs to the effect delay, and to no other", maxDelay)
	}
	for _, op := range r.Ops {
		if !slices.Contains(allowed, op) {
			return fmt.Errorf("the effect %s is not to be had on %q, only on %v", r.Effect, op, allowed)
		}
	}
	if _, err := path.Match(r.Match, ""); err != nil {
		return fmt.Errorf("match %q: %w", r.Match, err)
	}
	return nil
}

// meets reports whether the rule is on an operation of the file of that path.
func (r *Rule) meets(op Op, name string) bool {
	if !slices.Contains(r.Ops, op) {
		return false
	}
	if r.Match == "" {
		return true
	}
	short, _ := path.Match(r.Match, path.Base(name))
	long, _ := path.Match(r.Match, name)
	return short || long
}
