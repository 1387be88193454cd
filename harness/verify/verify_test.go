package verify

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestContentIsReadBackAndNothingElseIs(t *testing.T) {
	c := Content{ID: 7, Size: 1000}
	body := c.Body("a/b")
	got, err := ReadContent("a/b", body)
	require.NoError(t, err)
	require.Equal(t, c, got)

	_, err = ReadContent("a/c", body)
	require.ErrorContains(t, err, "differs", "a body of another key")
	for _, at := range []int{0, 9, 17, 24, 999} {
		wrong := bytes.Clone(body)
		wrong[at] ^= 4
		_, err = ReadContent("a/b", wrong)
		require.Error(t, err, "a bit flipped at %d", at)
	}
	_, err = ReadContent("a/b", body[:999])
	require.Error(t, err)
	_, err = ReadContent("a/b", body[:10])
	require.Error(t, err)
	_, err = ReadContent("a/b", make([]byte, 100))
	require.Error(t, err)
}

// at makes an operation on key k: a put or get of a content by its number.
func at(call, ret int64, kind Kind, id uint64, outcome Outcome) Op {
	o := Op{Kind: kind, Key: "k", Call: call, Return: ret, Outcome: outcome}
	if kind != Delete && id != 0 {
		o.Content = Content{ID: id, Size: 100}
	}
	return o
}

func epoch(ops ...Op) *Epoch { return &Epoch{Initial: map[string]Content{}, Ops: ops} }

func TestHistories(t *testing.T) {
	const never = Forever
	for _, c := range []struct {
		name    string
		initial uint64
		ops     []Op
		ok      bool
	}{
		{"what was put is found", 0, []Op{at(1, 2, Put, 1, OK), at(3, 4, Get, 1, OK)}, true},
		{"an acknowledged put is lost", 0, []Op{at(1, 2, Put, 1, OK), at(3, 4, Get, 0, OK)}, false},
		{"an acknowledged put is replaced by an older one", 0, []Op{at(1, 2, Put, 1, OK), at(3, 4, Put, 2, OK), at(5, 6, Get, 1, OK)}, false},
		{"of two puts at once either may win", 0, []Op{at(1, 4, Put, 1, OK), at(2, 3, Put, 2, OK), at(5, 6, Get, 1, OK)}, true},
		{"a delete is lost", 0, []Op{at(1, 2, Put, 1, OK), at(3, 4, Delete, 0, OK), at(5, 6, Get, 1, OK)}, false},
		{"a delete holds", 0, []Op{at(1, 2, Put, 1, OK), at(3, 4, Delete, 0, OK), at(5, 6, Get, 0, OK)}, true},
		{"a put in doubt may have happened", 0, []Op{at(1, 2, Put, 1, OK), at(3, never, Put, 2, Doubt), at(5, 6, Get, 2, OK)}, true},
		{"a put in doubt may not have happened", 0, []Op{at(1, 2, Put, 1, OK), at(3, never, Put, 2, Doubt), at(5, 6, Get, 1, OK)}, true},
		{"a put in doubt may happen late", 0, []Op{at(1, never, Put, 2, Doubt), at(2, 3, Put, 1, OK), at(4, 5, Get, 1, OK), at(6, 7, Get, 2, OK)}, true},
		{"but after the process's end it may not", 0, []Op{at(1, 3, Put, 2, Doubt), at(4, 5, Put, 1, OK), at(6, 7, Get, 2, OK)}, false},
		{"a delete in doubt", 0, []Op{at(1, 2, Put, 1, OK), at(3, never, Delete, 0, Doubt), at(4, 5, Get, 1, OK), at(6, 7, Get, 0, OK)}, true},
		{"a refused put does not happen", 0, []Op{at(1, 2, Put, 1, OK), at(3, 4, Put, 2, Refused), at(5, 6, Get, 2, OK)}, false},
		{"what nobody wrote", 0, []Op{at(1, 2, Put, 1, OK), at(3, 4, Get, 9, OK)}, false},
		{"what is written later", 0, []Op{at(1, 2, Get, 9, OK), at(3, 4, Put, 9, OK)}, false},
		{"what was there before", 5, []Op{at(1, 2, Get, 5, OK)}, true},
		{"what was there before is lost", 5, []Op{at(1, 2, Get, 0, OK)}, false},
		{"what was there before comes back", 5, []Op{at(1, 2, Put, 6, OK), at(3, 4, Get, 5, OK)}, false},
		{"a get in doubt says nothing", 0, []Op{at(1, 2, Put, 1, OK), at(3, never, Get, 0, Doubt)}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := epoch(c.ops...)
			if c.initial != 0 {
				e.Initial["k"] = Content{ID: c.initial, Size: 100}
			}
			broken := Acknowledged(e)
			require.Equal(t, c.ok, len(broken) == 0, "%v", broken)
			broken, undecided := Linear(e, time.Minute)
			require.Empty(t, undecided)
			require.Equal(t, c.ok, len(broken) == 0, "%v", broken)
		})
	}
}

// What only the order of two reads shows, Linear sees and Acknowledged does not.
func TestLinearSeesWhatReadsSayOfEachOther(t *testing.T) {
	e := epoch(at(1, 10, Put, 1, OK), at(2, 3, Get, 1, OK), at(4, 5, Get, 0, OK))
	require.Empty(t, Acknowledged(e))
	broken, undecided := Linear(e, time.Minute)
	require.Empty(t, undecided)
	require.Len(t, broken, 1)
	require.Contains(t, broken[0].String(), "linear: k: no order")
}

func TestLinearSaysWhatItCouldNotDecide(t *testing.T) {
	_, undecided := Linear(epoch(at(1, 2, Put, 1, OK)), 0)
	require.Equal(t, []string{"k"}, undecided)
}

// simulate makes the history of a real register: each operation takes effect
// at a time of its own between call and return; lost answers leave doubt.
func simulate(r *rand.Rand, n int) *Epoch {
	type pending struct {
		op  Op
		eff int64
	}
	var all []pending
	for c := range 4 {
		now := int64(c)
		for range n {
			call := now + 1 + r.Int64N(10)
			eff := call + 1 + r.Int64N(10)
			ret := eff + 1 + r.Int64N(10)
			o := Op{Client: c, Key: "k", Call: call, Return: ret, Outcome: OK}
			switch r.IntN(5) {
			case 0:
				o.Kind = Delete
			case 1, 2:
				o.Kind, o.Content = Put, Content{ID: uint64(len(all) + 1), Size: 100}
			default:
				o.Kind = Get
			}
			if o.Kind != Get && r.IntN(6) == 0 {
				o.Outcome, o.Return = Doubt, Forever
				if r.IntN(2) == 0 {
					eff = -1 // it never happens
				}
			}
			all = append(all, pending{o, eff})
			now = ret
		}
	}
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	for i := range order { // by effect; few enough for this
		for j := i + 1; j < len(order); j++ {
			if all[order[j]].eff < all[order[i]].eff {
				order[i], order[j] = order[j], order[i]
			}
		}
	}
	var state Content
	for _, i := range order {
		switch p := &all[i]; {
		case p.eff < 0:
		case p.op.Kind == Get:
			p.op.Content = state
		default:
			state = p.op.Content
		}
	}
	e := epoch()
	for _, p := range all {
		e.Ops = append(e.Ops, p.op)
	}
	return e
}

func TestARealRegisterIsNeverBlamed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := simulate(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1)), rapid.IntRange(1, 12).Draw(t, "n"))
		if broken := Acknowledged(e); len(broken) > 0 {
			t.Fatalf("%v in %v", broken, e.Ops)
		}
		if broken, undecided := Linear(e, time.Minute); len(broken)+len(undecided) > 0 {
			t.Fatalf("%v %v in %v", broken, undecided, e.Ops)
		}
	})
}

// What Acknowledged calls broken is broken: Linear says so too.
func TestAcknowledgedNeverBlamesWhatIsLinear(t *testing.T) {
	caught := 0
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 2))
		e := simulate(r, 6)
		// Some reads find what they should not.
		for i := range e.Ops {
			if o := &e.Ops[i]; o.Kind == Get && r.IntN(6) == 0 {
				o.Content = Content{ID: uint64(r.IntN(24)), Size: 100}
				if o.ID == 0 {
					o.Content = Content{}
				}
			}
		}
		broken := Acknowledged(e)
		linear, undecided := Linear(e, time.Minute)
		require.Empty(t, undecided)
		if len(broken) > 0 {
			caught++
			require.NotEmpty(t, linear, "seed %d: %v", seed, broken)
		}
	}
	require.Greater(t, caught, 100, "the planted reads are seen")
}

func TestAnEpochBeginsWithWhatTheLastOneRead(t *testing.T) {
	j := NewJournal()
	do := func(o Op, outcome Outcome, found Content) {
		j.Answer(j.Send(o), outcome, found)
	}
	do(Op{Kind: Put, Key: "a", Content: Content{ID: 1, Size: 100}}, OK, Content{})
	do(Op{Kind: Put, Key: "b", Content: Content{ID: 2, Size: 100}}, Doubt, Content{})
	do(Op{Kind: Delete, Key: "c"}, Doubt, Content{})
	require.Equal(t, 1, j.DoubtfulDeletes("c"))
	do(Op{Kind: Get, Key: "a"}, OK, Content{ID: 1, Size: 100})
	do(Op{Kind: Get, Key: "b"}, OK, Content{})
	e := j.Cut()
	require.Len(t, e.Ops, 5)
	require.Equal(t, map[Outcome]int{OK: 3, Doubt: 2}, e.Counts())
	require.Empty(t, Acknowledged(&e))

	// The doubt goes on: b may still appear.
	do(Op{Kind: Get, Key: "b"}, OK, Content{ID: 2, Size: 100})
	e = j.Cut()
	require.Equal(t, map[string]Content{"a": {ID: 1, Size: 100}}, e.Initial)
	require.Empty(t, Acknowledged(&e))
	broken, _ := Linear(&e, time.Minute)
	require.Empty(t, broken)

	// It does not once the process has ended.
	do(Op{Kind: Put, Key: "a", Content: Content{ID: 3, Size: 100}}, Doubt, Content{})
	j.Settle()
	require.Zero(t, j.DoubtfulDeletes("c"))
	do(Op{Kind: Get, Key: "a"}, OK, Content{ID: 1, Size: 100})
	j.Cut()
	do(Op{Kind: Get, Key: "a"}, OK, Content{ID: 3, Size: 100})
	e = j.Cut()
	require.NotEmpty(t, Acknowledged(&e))
	require.NotContains(t, fmt.Sprint(Acknowledged(&e)), "b:")
}

func TestAJournalIsReadBack(t *testing.T) {
	e := simulate(rand.New(rand.NewPCG(1, 1)), 20)
	e.Begin, e.Initial["k"] = 3, Content{ID: 5, Size: 100}
	var b bytes.Buffer
	require.NoError(t, e.Write(&b))
	got, err := ReadEpoch(&b)
	require.NoError(t, err)
	require.Equal(t, e, got)
	for _, bad := range []string{"", "x", `{"begin":1}{"kind":"jump","key":"k"}`, `{"begin":1}{"kind":"put","key":"k","outcome":"ok","call":2,"return":1}`, `{"begin":1,"end":2}`} {
		_, err := ReadEpoch(bytes.NewReader([]byte(bad)))
		require.ErrorContains(t, err, "read journal", bad)
	}
}

func FuzzReadEpoch(f *testing.F) {
	var b bytes.Buffer
	if err := simulate(rand.New(rand.NewPCG(1, 1)), 3).Write(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(`{"begin":1}` + "\n" + `{"kind":"get","key":"k","call":1,"return":2,"outcome":"ok"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ReadEpoch(bytes.NewReader(data))
		if err != nil {
			return
		}
		Acknowledged(e) // whatever it says, it ends
		var again bytes.Buffer
		require.NoError(t, e.Write(&again))
		got, err := ReadEpoch(&again)
		require.NoError(t, err)
		require.Equal(t, e.Ops, got.Ops)
	})
}

func FuzzReadContent(f *testing.F) {
	f.Add("k", Content{ID: 1, Size: 100}.Body("k"))
	f.Add("k", []byte("short"))
	f.Fuzz(func(t *testing.T, key string, body []byte) {
		c, err := ReadContent(key, body)
		if err == nil {
			require.Equal(t, body, c.Body(key))
		}
	})
}

func FuzzReadLabel(f *testing.F) {
	f.Add("1 100 0")
	f.Add("2 5242881 2")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := readLabel(text)
		if err == nil {
			again, err := readLabel(c.label())
			require.NoError(t, err)
			require.Equal(t, c, again)
		}
	})
}

func FuzzUploadResult(f *testing.F) {
	c := Content{ID: 1, Size: 100}.InParts()
	f.Add([]byte(`<CompleteMultipartUploadResult><ETag>"` + c.ETag("k") + `"</ETag></CompleteMultipartUploadResult>`))
	f.Add([]byte(`<Error><Code>InternalError</Code></Error>`))
	f.Fuzz(func(t *testing.T, text []byte) {
		u := Upload{key: "k", content: c}
		if u.checkResult(text) == nil {
			require.Contains(t, string(text), c.ETag("k"))
		}
	})
}

// The ETags are S3's, here as literal sums of bodies in one and two parts.
func TestETags(t *testing.T) {
	c := Content{ID: 3, Size: 300}
	body := c.Body("k")
	whole := md5Sum(body)
	require.Equal(t, hex.EncodeToString(whole[:]), c.ETag("k"))
	one := md5Sum(whole[:])
	require.Equal(t, hex.EncodeToString(one[:])+"-1", c.InParts().ETag("k"))
	c.Size += PartSize
	require.Equal(t, 2, c.InParts().Parts)
	body = c.Body("k")
	first, second := md5Sum(body[:PartSize]), md5Sum(body[PartSize:])
	both := md5Sum(append(first[:], second[:]...))
	require.Equal(t, hex.EncodeToString(both[:])+"-2", c.InParts().ETag("k"))
	c.Size = 2 * PartSize
	require.Equal(t, 2, c.InParts().Parts)
}

func TestRangesOfABody(t *testing.T) {
	for r, want := range map[Range]string{
		{0, 9}: "bytes=0-9 0 10", {5, 200}: "bytes=5-200 5 100", {99, -1}: "bytes=99- 99 100", {-1, 7}: "bytes=-7 93 100", {-1, 300}: "bytes=-300 0 100", {200, 300}: "bytes=200-300 100 100",
	} {
		from, to := r.of(100)
		require.Equal(t, want, fmt.Sprint(r, " ", from, " ", to))
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		r := chooseRange(30, 100, random)
		for _, size := range []int{30, 70, 100} {
			from, to := r.of(size)
			require.Less(t, from, to)
		}
	}
}

func FuzzParsePage(f *testing.F) {
	f.Add([]byte(`<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken><Contents><Key>a</Key><Size>3</Size><ETag>"e"</ETag></Contents></ListBucketResult>`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := parsePage(text)
		if err == nil && p.IsTruncated {
			require.NotEmpty(t, p.NextContinuationToken)
		}
	})
}

func TestListedSeesEveryDifference(t *testing.T) {
	a, b := Content{ID: 1, Size: 100}, Content{ID: 2, Size: 200}
	etag := func(key string, c Content) string { return fmt.Sprintf("%x", md5Sum(c.Body(key))) }
	listing := func() map[string]Entry {
		return map[string]Entry{"a": {100, etag("a", a)}, "b": {200, etag("b", b)}}
	}
	read := map[string]Content{"a": a, "b": b, "c": {}}
	require.Empty(t, Listed(listing(), read))
	for what, change := range map[string]func(map[string]Entry){
		"a can be read, 100 bytes, and is not listed":  func(l map[string]Entry) { delete(l, "a") },
		"c is listed with 3 bytes and cannot be read":  func(l map[string]Entry) { l["c"] = Entry{3, ""} },
		"d is listed, and nobody ever wrote it":        func(l map[string]Entry) { l["d"] = Entry{3, ""} },
		"b is listed with 100 bytes and read with 200": func(l map[string]Entry) { l["b"] = Entry{100, etag("b", b)} },
		"b is listed with the ETag":                    func(l map[string]Entry) { l["b"] = Entry{200, etag("a", a)} },
	} {
		l := listing()
		change(l)
		broken := Listed(l, read)
		require.Len(t, broken, 1)
		require.Contains(t, broken[0].What, what)
	}
}

func TestGrowthOfFewSamplesIsNotJudged(t *testing.T) {
	of := func(processes ...int) (all []Usage) {
		for _, p := range processes {
			all = append(all, Usage{Process: p})
		}
		return all
	}
	g := Growth{Memory: 1.5}
	require.False(t, g.Judges(nil))
	require.False(t, g.Judges(of(1, 1, 2, 2)))
	require.True(t, g.Judges(of(1, 1, 1)))
	require.True(t, g.Judges(of(1, 2, 3)), "their first samples are compared")
}

func TestGrowthIsSeenWithinOneProcess(t *testing.T) {
	g := Growth{Memory: 1.5, MemorySlack: 10 << 20, Descriptors: 8}
	series := func(process int, rss []int64, descriptors []int) (s []Usage) {
		for i := range rss {
			s = append(s, Usage{Process: process, RSS: rss[i] << 20, Descriptors: descriptors[i]})
		}
		return s
	}
	flat := []int{50, 52, 49, 51, 50, 50}
	require.Empty(t, g.Check(series(1, []int64{100, 120, 110, 130, 115, 120}, flat)))
	require.Empty(t, g.Check(series(1, []int64{100, 900}, []int{1, 900})), "two samples say nothing")
	broken := g.Check(series(1, []int64{100, 120, 150, 200, 250, 300}, flat))
	require.Len(t, broken, 1)
	require.Contains(t, broken[0].What, "memory of process 1 grew from 120 to 250 MiB")
	broken = g.Check(series(1, []int64{100, 100, 100}, []int{50, 60, 70}))
	require.Len(t, broken, 1)
	require.Contains(t, broken[0].What, "open descriptors of process 1 grew from 50 to 70")
	// A restart begins anew.
	require.Empty(t, g.Check(append(series(1, []int64{100, 100}, []int{1, 1}), series(2, []int64{300, 300, 300}, []int{70, 70, 70})...)))
}

func TestRecoveryHasABound(t *testing.T) {
	require.Empty(t, Recovery(time.Second, time.Second))
	require.Len(t, Recovery(2*time.Second, time.Second), 1)
}
