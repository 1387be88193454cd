package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cairnstore/cairn/engine/store"
)

// A progressLine tells how far a long command is, so that it is seen to be
// alive; a short one says nothing. On a terminal it is one line that changes.
type progressLine struct {
	w        io.Writer
	terminal bool
	next     time.Time // when to tell again
	shown    bool
}

// patience is how long a command may be silent, and how often it tells anything but a terminal.
const patience = 2 * time.Second

func newProgressLine(w io.Writer) *progressLine {
	p := &progressLine{w: w, next: time.Now().Add(patience)}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

func (p *progressLine) show(now store.Progress) {
	if time.Now().Before(p.next) {
		return
	}
	amount := func(n int64) string {
		if now.Unit == "bytes" {
			return size(n)
		}
		return fmt.Sprint(n)
	}
	text := now.Phase + ": " + amount(now.Done)
	if now.Total > 0 {
		text += fmt.Sprintf(" of %s, %d %%", amount(now.Total), now.Done*100/now.Total)
	}
	if p.terminal {
		p.next, p.shown = time.Now().Add(patience/10), true
		_, _ = fmt.Fprintf(p.w, "\r\x1b[K%s", text)
		return
	}
	p.next = time.Now().Add(patience)
	_, _ = fmt.Fprintln(p.w, text)
}

// end clears the line for what the command has to say.
func (p *progressLine) end() {
	if p.shown {
		_, _ = fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// size writes bytes for people.
func size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1024, "KiB"
	for _, u := range []string{"MiB", "GiB", "TiB"} {
		if v < 1024 {
			break
		}
		v, unit = v/1024, u
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}
