package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/cairnstore/cairn/harness/bench"
	"github.com/cairnstore/cairn/harness/headline"
	"github.com/cairnstore/cairn/harness/load"
	"github.com/cairnstore/cairn/harness/record"
	"github.com/cairnstore/cairn/harness/system"
	"github.com/cairnstore/cairn/harness/target"
)

// What a k6 script of the engine is told by its environment.
const (
	EnvResult   = "CAIRN_RESULT"   // the file that it writes an EngineResult to
	EnvDir      = "CAIRN_DIR"      // where the engine may keep data
	EnvDuration = "CAIRN_DURATION" // how long the load lasts, as k6 writes times
	EnvCores    = "CAIRN_CORES"    // the machine that the headline is scaled by
	EnvMemory   = "CAIRN_MEMORY"   // its bytes
)

// An EngineResult is what a script leaves behind. Each operation is of its own
// kind: a cache write is never counted as a durable put.
type EngineResult struct {
	Headline string       `json:"headline"`
	Result   *load.Result `json:"result"`
}

// engineOps are the operations that a target counts, as the extension names them.
var engineOps = map[string]string{headline.CacheWrites.Name: "CACHE_SET", headline.DurablePuts.Name: "DURABLE_PUT"}

// EngineOp is the operation that a target counts.
func EngineOp(target string) string { return engineOps[target] }

// k6's exit status when thresholds are crossed (its errext/exitcodes): the
// script ran to its end, and the verdict is made of its result.
const thresholdsCrossed = 99

// runEngine runs the script and holds its result against the headline.
func (s *Scenario) runEngine(ctx context.Context, rec *record.Record, dir string, o Options) error {
	goal, err := headline.ByName(s.Engine.Headline)
	if err != nil {
		return err
	}
	if _, err := exec.LookPath(o.K6); err != nil {
		return fmt.Errorf("run %s: it needs a k6 with k6/x/cairn, which make k6 builds: %w", s.Name, err)
	}
	goalHere := goal.On(o.Machine)
	rec.Profile = o.Machine.Profile
	rec.Settings["headline"], rec.Settings["machine"], rec.Settings["scale"] = goal.Name, o.Machine, goalHere.Scale
	rec.Targets = []record.Target{{Name: "engine", Version: version(o.K6), Durability: goal.Durability}}

	folder, script := path.Split(s.Engine.Script)
	scripts, err := fs.Sub(o.Files, path.Clean(folder))
	if err != nil {
		return fmt.Errorf("run %s: %w", s.Name, err)
	}
	if err := copyScripts(dir, scripts); err != nil {
		return fmt.Errorf("run %s: %w", s.Name, err)
	}
	file := filepath.Join(dir, "result.json")
	if file, err = filepath.Abs(file); err != nil {
		return fmt.Errorf("run %s: %w", s.Name, err)
	}
	long := time.Duration(float64(s.Engine.For) * o.Pace)
	ctx, cancel := context.WithTimeout(ctx, long+2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, o.K6, "run", "--no-color", "--quiet", filepath.Join(dir, "scripts", script))
	cmd.Env = append(os.Environ(), EnvResult+"="+file, EnvDir+"="+filepath.Join(filepath.Dir(file), "data"), EnvDuration+"="+strconv.FormatInt(long.Milliseconds(), 10)+"ms",
		EnvCores+"="+strconv.Itoa(o.Machine.Cores), EnvMemory+"="+strconv.FormatInt(o.Machine.MemoryBytes, 10))
	cmd.Stdout, cmd.Stderr = o.Lines, o.Lines
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	busy, stolen, cpuErr := system.CPU()
	began := time.Now()
	err = cmd.Run()
	var ended *exec.ExitError
	if err != nil && !(errors.As(err, &ended) && ended.ExitCode() == thresholdsCrossed) {
		return fmt.Errorf("run %s: k6: %w", s.Name, err)
	}
	res, err := readEngineResult(file, goal.Name)
	if err != nil {
		return fmt.Errorf("run %s: %w", s.Name, err)
	}
	run := record.Run{Case: s.Name, Target: "engine", Durability: goal.Durability, Round: 1, Result: res}
	// The engine and its load are one process.
	run.Generator = system.Sample{At: time.Now(), User: cmd.ProcessState.UserTime(), System: cmd.ProcessState.SystemTime()}
	if after, stolenAfter, err := system.CPU(); err == nil && cpuErr == nil {
		// Both were read around all of k6, which takes longer than its load.
		share := float64(res.Elapsed) / float64(time.Since(began))
		run.Others = time.Duration(share * float64(max(0, after-busy-run.Generator.CPU())))
		run.Stolen = time.Duration(share * float64(stolenAfter-stolen))
	}
	rec.Runs = []record.Run{run}
	rec.Metrics = bench.RunMetrics(s.Name, run)
	bench.WarnOfNoise(rec)

	op := res.Ops[engineOps[goal.Name]]
	v := goalHere.Judge(float64(op.Count)/res.Elapsed.Seconds(), op.Latency.Quantile(.99))
	if op.Errors > 0 {
		v.Outcome = record.Fail
		v.Reasons = append([]string{fmt.Sprintf("%d of %d failed", op.Errors, op.Errors+op.Count)}, v.Reasons...)
	}
	if taken := bench.Taken(&run, rec.Machine); v.Outcome == record.Fail && op.Errors == 0 && taken > maxTaken {
		v.Outcome = record.CannotTell
		v.Reasons = append([]string{fmt.Sprintf("too little, but others took %.0f %% of the machine", 100*taken)}, v.Reasons...)
	}
	// A script that ended early, by a threshold of its own or by a fault, has shown a burst.
	if res.Elapsed < long*8/10 && v.Outcome != record.Fail {
		v.Outcome = record.CannotTell
		v.Reasons = append([]string{fmt.Sprintf("the load lasted %s of %s", res.Elapsed.Round(time.Millisecond), long)}, v.Reasons...)
	}
	rec.Verdict = &v
	s.notePace(rec, o.Pace)
	return nil
}

// copyScripts brings what a script may import to where k6 reads it: scripts and their
// data, and nothing else that lies beside them, as dir itself may.
func copyScripts(dir string, from fs.FS) error {
	return fs.WalkDir(from, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == filepath.Base(dir) || len(d.Name()) > 1 && d.Name()[0] == '.'):
			return fs.SkipDir
		case d.IsDir() || !slices.Contains([]string{".js", ".mjs", ".ts", ".json"}, path.Ext(name)):
			return nil
		}
		text, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, "scripts", filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, text, 0o644)
	})
}

// readEngineResult reads what a script for this target must have left.
func readEngineResult(file, goal string) (*load.Result, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the script left no result: %w", err)
	}
	return parseEngineResult(data, goal)
}

func parseEngineResult(data []byte, goal string) (*load.Result, error) {
	var r EngineResult
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("the script's result: %w", err)
	}
	switch {
	case r.Headline != goal:
		return nil, fmt.Errorf("the script's result is of %q, and %q was asked for", r.Headline, goal)
	case r.Result == nil || r.Result.Elapsed <= 0:
		return nil, errors.New("the script's result has no time")
	}
	for name, op := range r.Result.Ops {
		if op.Latency == nil {
			return nil, fmt.Errorf("the script's result has no latencies of %s", name)
		}
	}
	if op := r.Result.Ops[engineOps[goal]]; op.Latency == nil || op.Count+op.Errors == 0 {
		return nil, fmt.Errorf("the script's result has no %s", engineOps[goal])
	}
	return r.Result, nil
}

// version is what the go command noted in a binary.
func version(binary string) string { return target.Server{Binary: binary}.Version() }
