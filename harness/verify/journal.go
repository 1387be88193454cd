package verify

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"time"
)

// A Kind is what was asked.
type Kind string

// The kinds of operation.
const (
	Put    Kind = "put"
	Get    Kind = "get"
	Delete Kind = "delete"
)

// An Outcome is what became of an operation, as its client knows.
type Outcome string

const (
	// OK: answered, and so acknowledged.
	OK Outcome = "ok"
	// Refused: answered with an error that says that nothing was done, or never sent.
	Refused Outcome = "refused"
	// Doubt: no answer, or one that leaves open what was done. A write in doubt
	// has happened, or happens later, or never.
	Doubt Outcome = "doubt"
)

// Forever is the Return of an operation in doubt: it may yet happen.
const Forever = math.MaxInt64

// An Op is one operation of one client.
type Op struct {
	Client  int     `json:"client"`
	Kind    Kind    `json:"kind"`
	Key     string  `json:"key"`
	Content         // sent by a put, found by a get
	Call    int64   `json:"call"`   // ns since the journal's start
	Return  int64   `json:"return"` // ns; in doubt: until when it may have happened
	Outcome Outcome `json:"outcome"`

	Bytes int `json:"-"` // of a body, that were sent or read: of a ranged read fewer than Size

	connected int64 // when it last had a connection; 0: never
	answered  bool  // its client waits for nothing any more
}

func (o Op) String() string {
	what := fmt.Sprintf("%s %s", o.Kind, o.Key)
	if o.ID != 0 {
		what += fmt.Sprintf(" #%d (%d bytes", o.ID, o.Size)
		if o.Parts > 0 {
			what += fmt.Sprintf(" in %d parts", o.Parts)
		}
		what += ")"
	} else if o.Kind == Get {
		what += " nothing"
	}
	until := "?"
	if o.Return != Forever {
		until = time.Duration(o.Return).Round(time.Microsecond).String()
	}
	return fmt.Sprintf("client %d, %v to %s: %s, %s", o.Client, time.Duration(o.Call).Round(time.Microsecond), until, what, o.Outcome)
}

// A Journal notes operations as they are sent and answered. Safe for
// concurrent use.
type Journal struct {
	start time.Time

	mu struct {
		sync.Mutex
		ids     uint64
		ops     []Op
		initial map[string]Content
		cut     int64 // when this epoch began
		// deletes are those in doubt that may yet happen, by key.
		deletes map[string]int
	}
}

// NewJournal begins a history in which no key is there.
func NewJournal() *Journal {
	j := &Journal{start: time.Now()}
	j.mu.initial, j.mu.deletes = map[string]Content{}, map[string]int{}
	return j
}

func (j *Journal) now() int64 { return int64(time.Since(j.start)) }

// Start is the time that Call and Return count from.
func (j *Journal) Start() time.Time { return j.start }

// NewID is a number that no content has yet.
func (j *Journal) NewID() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.mu.ids++
	return j.mu.ids
}

// Send notes an operation before it is sent, in doubt until Answer. The
// handle is good until the next Cut.
func (j *Journal) Send(o Op) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	o.Call, o.Return, o.Outcome = j.now(), Forever, Doubt
	j.mu.ops = append(j.mu.ops, o)
	if o.Kind == Delete {
		j.mu.deletes[o.Key]++
	}
	return len(j.mu.ops) - 1
}

// Connected notes that an operation goes out by a connection. What is sent after Settle goes
// to the next process, and may yet happen.
func (j *Journal) Connected(handle int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	o := &j.mu.ops[handle]
	o.connected = max(1, j.now())
	if o.Outcome == Doubt && o.Return != Forever {
		o.Return = Forever
		if o.Kind == Delete {
			j.mu.deletes[o.Key]++
		}
	}
}

// Answer notes what came back; found is a get's. It returns the whole.
func (j *Journal) Answer(handle int, outcome Outcome, found Content) Op {
	j.mu.Lock()
	defer j.mu.Unlock()
	o := &j.mu.ops[handle]
	o.Outcome, o.answered = outcome, true
	if outcome != Doubt {
		if o.Kind == Delete && o.Return == Forever { // else Settle has counted it out
			j.mu.deletes[o.Key]--
		}
		o.Return = j.now()
	}
	if o.Kind == Get {
		o.Content = found
	}
	return *o
}

// Settle says that the server's process has ended, and that the next has not begun: what is in
// doubt has happened by now, or never will. Not what waits for a connection: that will be
// to the next one.
func (j *Journal) Settle() {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.now()
	for i := range j.mu.ops {
		o := &j.mu.ops[i]
		if o.Outcome != Doubt || o.Return != Forever || o.connected == 0 && !o.answered {
			continue
		}
		o.Return = now
		if o.Kind == Delete {
			j.mu.deletes[o.Key]--
		}
	}
}

// DoubtfulDeletes counts the deletes of a key that have no answer and may yet
// happen. They are all alike, so that many would make a history hard to judge.
func (j *Journal) DoubtfulDeletes(key string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.mu.deletes[key]
}

// InDoubt are the keys of which a write may yet happen.
func (j *Journal) InDoubt() map[string]bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	keys := map[string]bool{}
	for _, o := range j.mu.ops {
		if o.Kind != Get && o.Outcome == Doubt && o.Return == Forever {
			keys[o.Key] = true
		}
	}
	return keys
}

// An Epoch is a part of a history that can be judged by itself, since at its
// beginning the content of every key is known.
type Epoch struct {
	Begin   int64
	Initial map[string]Content // keys that are not there are left out
	Ops     []Op               // in order of their call
}

// Cut ends an epoch, at a time when nothing is under way and all keys have just
// been read, and begins the next from what those reads found. What is in
// doubt and may yet happen goes on into the next one: not a put that was found, which
// has happened, nor a delete that comes from an epoch before. Since that was sent the server
// was well, everything was read, and a load and another reading have passed: what comes as
// late would be a loss, and no answer to it.
func (j *Journal) Cut() Epoch {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := Epoch{j.mu.cut, j.mu.initial, j.mu.ops}
	j.mu.initial, j.mu.ops, j.mu.cut = map[string]Content{}, nil, j.now()
	last := map[string]int64{}
	found := map[uint64]bool{}
	for _, o := range e.Ops {
		if o.Kind == Get && o.Outcome == OK {
			found[o.ID] = true
		}
	}
	for _, o := range e.Ops {
		if o.Kind == Get && o.Outcome == OK && o.Call >= last[o.Key] {
			last[o.Key] = o.Call
			j.mu.initial[o.Key] = o.Content
		}
		if o.Kind == Get || o.Outcome != Doubt || o.Return != Forever {
			continue
		}
		switch {
		case o.Kind == Put && found[o.ID]:
		case o.Kind == Delete && o.Call == e.Begin:
			j.mu.deletes[o.Key]--
		default:
			o.Call = j.mu.cut
			j.mu.ops = append(j.mu.ops, o)
		}
	}
	for key, c := range e.Initial { // not read since
		if _, read := last[key]; !read {
			j.mu.initial[key] = c
		}
	}
	for key, c := range j.mu.initial {
		if c.ID == 0 {
			delete(j.mu.initial, key)
		}
	}
	return e
}

// byKey sorts an epoch's operations into one history for each key.
func (e *Epoch) byKey() map[string][]Op {
	keys := map[string][]Op{}
	for key := range e.Initial {
		keys[key] = nil
	}
	for _, o := range e.Ops {
		keys[o.Key] = append(keys[o.Key], o)
	}
	for _, ops := range keys {
		slices.SortStableFunc(ops, func(a, b Op) int { return int(a.Call - b.Call) })
	}
	return keys
}

// Counts are the operations of an epoch by outcome.
func (e *Epoch) Counts() map[Outcome]int {
	n := map[Outcome]int{}
	for _, o := range e.Ops {
		n[o.Outcome]++
	}
	return n
}

// Wrote reports whether a write was acknowledged.
func (e *Epoch) Wrote() bool {
	return slices.ContainsFunc(e.Ops, func(o Op) bool { return o.Kind != Get && o.Outcome == OK })
}

// epochHeader is the first line of a journal's file.
type epochHeader struct {
	Begin   int64              `json:"begin"`
	Initial map[string]Content `json:"initial"`
}

// Write writes the epoch as lines of JSON: what was there at its beginning,
// then an operation a line.
func (e *Epoch) Write(w io.Writer) error {
	buffered := bufio.NewWriter(w)
	enc := json.NewEncoder(buffered)
	if err := enc.Encode(epochHeader{e.Begin, e.Initial}); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	for _, o := range e.Ops {
		if err := enc.Encode(o); err != nil {
			return fmt.Errorf("write journal: %w", err)
		}
	}
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	return nil
}

// ReadEpoch reads what Write wrote.
func ReadEpoch(r io.Reader) (*Epoch, error) {
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	var h epochHeader
	if err := dec.Decode(&h); err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	e := &Epoch{Begin: h.Begin, Initial: h.Initial}
	if e.Initial == nil {
		e.Initial = map[string]Content{}
	}
	for n := 1; ; n++ {
		var o Op
		if err := dec.Decode(&o); errors.Is(err, io.EOF) {
			return e, nil
		} else if err != nil {
			return nil, fmt.Errorf("read journal: operation %d: %w", n, err)
		}
		if err := o.validate(); err != nil {
			return nil, fmt.Errorf("read journal: operation %d: %w", n, err)
		}
		e.Ops = append(e.Ops, o)
	}
}

func (o Op) validate() error {
	switch {
	case o.Kind != Put && o.Kind != Get && o.Kind != Delete:
		return fmt.Errorf("unknown kind %q", o.Kind)
	case o.Outcome != OK && o.Outcome != Refused && o.Outcome != Doubt:
		return fmt.Errorf("unknown outcome %q", o.Outcome)
	case o.Key == "":
		return errors.New("no key")
	case o.Call < 0 || o.Return < o.Call:
		return fmt.Errorf("returned at %d, called at %d", o.Return, o.Call)
	case o.Kind == Put && o.ID == 0:
		return errors.New("a put of nothing")
	}
	return nil
}
