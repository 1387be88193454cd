package disk

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// An Effect is what a Rule does to the operations it meets.
type Effect uint8

const (
	// EffectEIO refuses the operation with EIO, as a drive does that cannot read
	// or write a block. A sync that fails so leaves its writes in the file,
	// unsynced: whether they are on the drive is anybody's guess.
	EffectEIO Effect = iota
	// EffectFull refuses it with ENOSPC, which matches ErrFull.
	EffectFull
	// EffectShort writes a random part of a write's beginning and says how much, with ENOSPC:
	// how a drive fills up in the middle of one.
	EffectShort
	// EffectTorn writes a random part of a write's beginning and says EIO and
	// that nothing was written.
	EffectTorn
	// EffectFlip flips one random bit: of what a read returns, as a bad cable or
	// memory does, or of what a write leaves on the drive, as a bad medium does.
	// Nobody is told.
	EffectFlip
	// EffectLose fails a sync with EIO and takes back what was written to the
	// file since its last good one, sizes apart. So do kernels: once the error is
	// told, the pages count as clean, are dropped when memory is short, and a
	// second sync that writes nothing returns no error. It knows of writes made
	// while a rule with this effect was there.
	EffectLose
	// EffectDelay lets the operation wait, then goes on to the next rule.
	EffectDelay
	effects // how many there are
)

var effectNames = [effects]string{
	EffectEIO: "EIO", EffectFull: "ENOSPC", EffectShort: "short", EffectTorn: "torn",
	EffectFlip: "flip", EffectLose: "lose", EffectDelay: "delay",
}

func (e Effect) String() string {
	if e < effects {
		return effectNames[e]
	}
	return fmt.Sprintf("Effect(%d)", uint8(e))
}

// effectOps are the operations that an effect can be had on; all where there are none.
var effectOps = [effects][]OpKind{
	EffectShort: {OpWrite},
	EffectTorn:  {OpWrite},
	EffectFlip:  {OpRead, OpWrite},
	EffectLose:  {OpSync},
}

// maxDelay keeps a script's slip of the pen from stopping a test for ever.
const maxDelay = time.Minute

// A Rule says which operations fail, and how. As text it is one line:
//
//	write,preallocate seg-* after 10: ENOSPC
//	read log/* every 7 times 3: flip
//	sync * nth 2: lose
//	* * prob 0.01: delay 5ms
//
// First the operations, by the names of OpKind, or * for all; then a glob as
// of path.Match, on the base name where it has no slash and on the whole name
// where it has one; then conditions, in this order, each at most once; and
// after the colon, the effect. The operations that a rule meets by name are
// counted, and the conditions are on that count.
type Rule struct {
	Ops  []OpKind // none: all
	Glob string
	// After lets the first so many operations pass; the conditions below count
	// from there. Nth fires at the nth alone, Every at each nth, Prob by chance, from
	// 0 to 1. Times is how often the rule fires at most. The zero value of each is
	// no condition.
	After, Nth, Every int
	Prob              float64
	Times             int
	Effect            Effect
	Delay             time.Duration // of EffectDelay
}

func (r Rule) String() string {
	var b strings.Builder
	if len(r.Ops) == 0 {
		b.WriteByte('*')
	}
	for i, op := range r.Ops {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(op.String())
	}
	b.WriteString(" " + r.Glob)
	for _, c := range conditions {
		if value := c.get(&r); value != "0" {
			b.WriteString(" " + c.name + " " + value)
		}
	}
	b.WriteString(": " + r.Effect.String())
	if r.Effect == EffectDelay {
		b.WriteString(" " + r.Delay.String())
	}
	return b.String()
}

// A condition is one word of a rule and where its value goes.
type condition struct {
	name string
	get  func(*Rule) string
	set  func(*Rule, string) bool // false: not a value for it
}

var conditions = []condition{
	countCondition("after", func(r *Rule) *int { return &r.After }),
	countCondition("nth", func(r *Rule) *int { return &r.Nth }),
	countCondition("every", func(r *Rule) *int { return &r.Every }),
	{"prob", func(r *Rule) string { return strconv.FormatFloat(r.Prob, 'g', -1, 64) }, setProb},
	countCondition("times", func(r *Rule) *int { return &r.Times }),
}

func countCondition(name string, field func(*Rule) *int) condition {
	return condition{name,
		func(r *Rule) string { return strconv.Itoa(*field(r)) },
		func(r *Rule, s string) bool {
			n, err := strconv.Atoi(s)
			*field(r) = n
			return err == nil && n > 0
		},
	}
}

func setProb(r *Rule, s string) bool {
	p, err := strconv.ParseFloat(s, 64)
	r.Prob = p
	return err == nil && p > 0 && p <= 1
}

// ParseRules reads rules, one a line. Empty lines and lines that begin with #
// are passed over. An error names its line.
func ParseRules(text string) ([]Rule, error) {
	var rules []Rule
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		rule, err := parseRule(line)
		if err != nil {
			return nil, fmt.Errorf("fault rules, line %d: %w", number, err)
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

func parseRule(line string) (Rule, error) {
	colon := strings.LastIndexByte(line, ':') // a glob may hold one, an effect does not
	if colon < 0 {
		return Rule{}, fmt.Errorf("%q has no effect", line)
	}
	when, effect := strings.Fields(line[:colon]), strings.Fields(line[colon+1:])
	if len(when) < 2 {
		return Rule{}, fmt.Errorf("%q lacks operations and a glob", line)
	}
	var r Rule
	if err := r.parseOps(when[0]); err != nil {
		return Rule{}, err
	}
	r.Glob = when[1]
	if err := r.parseConditions(when[2:]); err != nil {
		return Rule{}, err
	}
	if err := r.parseEffect(effect); err != nil {
		return Rule{}, err
	}
	return r, r.validate()
}

func (r *Rule) parseOps(s string) error {
	if s == "*" {
		return nil
	}
	for name := range strings.SplitSeq(s, ",") {
		i := slices.Index(opNames[:], name)
		if i < 0 {
			return fmt.Errorf("no operation is called %q", name)
		}
		r.Ops = append(r.Ops, OpKind(i))
	}
	return nil
}

func (r *Rule) parseConditions(words []string) error {
	rest := conditions
	for ; len(words) > 0; words = words[2:] {
		i := slices.IndexFunc(rest, func(c condition) bool { return c.name == words[0] })
		if i < 0 {
			return fmt.Errorf("%q is no condition, or not at its place", words[0])
		}
		if len(words) == 1 || !rest[i].set(r, words[1]) {
			return fmt.Errorf("%s lacks its number", words[0])
		}
		rest = rest[i+1:]
	}
	return nil
}

func (r *Rule) parseEffect(words []string) error {
	if len(words) == 0 {
		return fmt.Errorf("no effect after the colon")
	}
	i := slices.Index(effectNames[:], words[0])
	if i < 0 {
		return fmt.Errorf("no effect is called %q", words[0])
	}
	r.Effect = Effect(i)
	words = words[1:]
	if r.Effect == EffectDelay && len(words) == 1 {
		var err error
		if r.Delay, err = time.ParseDuration(words[0]); err != nil {
			return err
		}
		return nil
	}
	if len(words) > 0 {
		return fmt.Errorf("%q is too much after %s", words, r.Effect)
	}
	return nil
}

// validate refuses what could never fire or has no meaning.
func (r *Rule) validate() error {
	if _, err := path.Match(r.Glob, ""); err != nil || r.Glob == "" {
		return fmt.Errorf("%q is no glob", r.Glob)
	}
	if r.Effect >= effects {
		return fmt.Errorf("%v is no effect", r.Effect)
	}
	if r.After < 0 || r.Nth < 0 || r.Every < 0 || r.Times < 0 || !(r.Prob >= 0 && r.Prob <= 1) {
		return fmt.Errorf("%v: a condition is out of its range", *r)
	}
	if (r.Delay > 0) != (r.Effect == EffectDelay) || r.Delay < 0 || r.Delay > maxDelay {
		return fmt.Errorf("%v: a delay is more than nothing and at most %v", *r, maxDelay)
	}
	for _, op := range r.Ops {
		if op >= opKinds {
			return fmt.Errorf("%v is no operation", op)
		}
		if can := effectOps[r.Effect]; can != nil && !slices.Contains(can, op) {
			return fmt.Errorf("%s has no %s", op, r.Effect)
		}
	}
	return nil
}

// meets reports whether the rule is about an operation.
func (r *Rule) meets(op Op) bool {
	if len(r.Ops) > 0 && !slices.Contains(r.Ops, op.Kind) {
		return false
	}
	if can := effectOps[r.Effect]; can != nil && !slices.Contains(can, op.Kind) {
		return false
	}
	return r.meetsName(op.Name) || op.Kind == OpRename && r.meetsName(op.To)
}

func (r *Rule) meetsName(name string) bool {
	if !strings.Contains(r.Glob, "/") {
		name = path.Base(name)
	}
	ok, _ := path.Match(r.Glob, name) // validate has seen the pattern
	return ok
}
