package telemetry

import (
	"bytes"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// maxLines is how many bytes of lines wait for whoever reads the log: what 50,000 requests/s
// say in a quarter of a second.
const maxLines = 4 << 20

// keptLines is the largest buffer that is kept for the next lines.
const keptLines = 256 << 10

// Lines is a log's writer that holds nobody up: whoever reads the log may stand still or be
// gone, and requests are answered all the same. Lines wait, in their order, for a goroutine
// that writes them. Where there is no room for one, it and those that follow are dropped until
// there is room again, which a line of its own says where they are missing.
// Safe for concurrent use.
type Lines struct {
	out     io.Writer
	dropped atomic.Int64

	// The goroutine's, of which there is one at most.
	failed int  // lines that out refused, not told of yet
	torn   bool // out took a part of a line

	mu struct {
		sync.Mutex
		waiting []byte
		writing int           // bytes that the goroutine has in hand
		lost    int           // lines for which there was no room behind waiting
		spare   []byte        // an empty buffer, for waiting
		idle    chan struct{} // closed when all is written; nil: it is
	}
}

// NewLines writes to w, whose errors drop what they were about.
func NewLines(w io.Writer) *Lines { return &Lines{out: w} }

// Write takes one line, with its end. It never fails, and copies what it is given.
func (l *Lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// Behind a line that was lost comes none that is smaller: one place is told of, not many.
	if l.mu.lost > 0 || len(l.mu.waiting)+l.mu.writing+len(line) > maxLines {
		l.mu.lost++
		l.dropped.Add(1)
	} else {
		l.mu.waiting = append(l.mu.waiting, line...)
	}
	if l.mu.idle == nil {
		l.mu.idle = make(chan struct{})
		go l.write()
	}
	return len(line), nil
}

// Dropped is how many lines were dropped.
func (l *Lines) Dropped() int64 { return l.dropped.Load() }

// Flush waits until nothing is left to write, for d at most, and reports whether that is so.
func (l *Lines) Flush(d time.Duration) bool {
	l.mu.Lock()
	idle := l.mu.idle
	l.mu.Unlock()
	if idle == nil {
		return true
	}
	late := time.NewTimer(d)
	defer late.Stop()
	select {
	case <-idle:
		return true
	case <-late.C:
		return false
	}
}

// write writes until nothing is left.
func (l *Lines) write() {
	for {
		batch, lost := l.take()
		if batch == nil && lost == 0 {
			return
		}
		lines := bytes.Count(batch, []byte("\n"))
		text := batch
		if l.torn { // what was left of a line is not to spoil another
			text = append([]byte("\n"), batch...)
		}
		if lost += l.failed; lost > 0 {
			text = append(text, toldOf(lost)...)
		}
		n, err := l.out.Write(text)
		l.failed = 0
		if n > 0 {
			l.torn = text[n-1] != '\n'
		}
		if err != nil {
			l.failed = lost + lines
			l.dropped.Add(int64(lines))
		}
		l.done(batch)
	}
}

// take returns what waits, and how many lines are missing behind it. With neither, the
// goroutine has ended.
func (l *Lines) take() (batch []byte, lost int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.mu.waiting) == 0 && l.mu.lost == 0 {
		close(l.mu.idle)
		l.mu.idle = nil
		return nil, 0
	}
	batch, lost = l.mu.waiting, l.mu.lost
	l.mu.waiting, l.mu.spare, l.mu.lost, l.mu.writing = l.mu.spare, nil, 0, len(batch)
	return batch, lost
}

func (l *Lines) done(batch []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.writing = 0
	if cap(batch) <= keptLines {
		l.mu.spare = batch[:0]
	}
}

// toldOf is the line that stands for n others.
func toldOf(n int) []byte {
	var line bytes.Buffer
	slog.New(slog.NewJSONHandler(&line, nil)).Warn("log lines were dropped", "count", n, "reason", "whoever reads the log is too slow, or does not take it")
	return line.Bytes()
}
