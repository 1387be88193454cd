// Package browser looks at the lab's pages in a real browser. It is a module of
// its own: what drives the browser and what k6's browser needs do not go together
// in one, and the engine needs neither.
package browser

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/cairnstore/cairn/harness/probe"
	"github.com/cairnstore/cairn/harness/report"
	"github.com/cairnstore/cairn/harness/report/reporttest"
)

// browser starts Chromium, or skips out loud; in a pipeline that is a failure.
func browser(t *testing.T) context.Context {
	t.Helper()
	binary := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			binary = path
			break
		}
	}
	if binary == "" {
		const why = "no Chromium is installed (make setup installs it): the report is not looked at"
		if os.Getenv("CI") == "true" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(binary), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(2*time.Minute))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(ctx)) // it starts here: its life is this context's
	ctx, cancel = context.WithTimeout(ctx, 4*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// A seen is what the browser says of a page.
type seen struct {
	Drawings, Visible, Charts int
	Overflow                  float64
	Cut                       []string // letters outside of their drawing, or too small
	Faint                     []string // text without contrast to what is behind it
	Unnamed                   []string // drawings without a name
}

// look is run in the page. Contrast is that of WCAG 2.1, 1.4.3.
const look = `(() => {
  const seen = {Drawings: 0, Visible: 0, Charts: 0, Overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth, Cut: [], Faint: [], Unnamed: []};
  const rgb = s => { const m = s.match(/[\d.]+/g).map(Number); return m.length > 3 ? m : [...m, 1]; };
  const light = c => { const f = v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }; return .2126 * f(c[0]) + .7152 * f(c[1]) + .0722 * f(c[2]); };
  const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] > .9) return c; } return [255, 255, 255, 1]; };
  const contrast = (a, b) => { const x = light(a), y = light(b); return (Math.max(x, y) + .05) / (Math.min(x, y) + .05); };
  for (const svg of document.querySelectorAll('svg')) {
    seen.Drawings++;
    const box = svg.getBoundingClientRect();
    if (svg.checkVisibility() && box.width > 200 && box.height > 100) seen.Visible++;
    if ([...svg.querySelectorAll('path')].some(p => getComputedStyle(p).stroke.startsWith('rgb') || getComputedStyle(p).fill.startsWith('rgb'))) seen.Charts++;
    if (!svg.querySelector('title')?.textContent || !svg.querySelector('desc')?.textContent) seen.Unnamed.push(svg.outerHTML.slice(0, 80));
    for (const text of svg.querySelectorAll('text')) {
      const b = text.getBoundingClientRect();
      if (b.left < box.left - 1 || b.right > box.right + 1 || b.top < box.top - 1 || b.bottom > box.bottom + 1) seen.Cut.push(text.textContent + ' of ' + svg.querySelector('title')?.textContent);
      if (Math.max(b.width, b.height) < 8) seen.Cut.push('small: ' + text.textContent);
      if (contrast(rgb(getComputedStyle(text).fill), behind(svg.parentElement)) < 4.5) seen.Faint.push(text.textContent);
    }
  }
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n = walker.nextNode(); n; n = walker.nextNode()) {
    const e = n.parentElement;
    if (!n.textContent.trim() || e.closest('svg') || !e.checkVisibility()) continue;
    if (contrast(rgb(getComputedStyle(e).color), behind(e)) < 4.5) seen.Faint.push(n.textContent.trim().slice(0, 40));
  }
  return seen;
})()`

// complaints gathers what a page should not do: ask for anything but itself,
// write to the console, fail.
type complaints struct {
	mu  sync.Mutex
	all []string
}

func (c *complaints) add(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, fmt.Sprintf(format, args...))
}

func (c *complaints) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.all
	c.all = nil
	return all
}

func (c *complaints) hear(event any) {
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if url := e.Request.URL; e.Type != network.ResourceTypeDocument && !strings.HasPrefix(url, "data:") {
			c.add("the page asks for %s", url)
		}
	case *runtime.EventConsoleAPICalled:
		c.add("console: %s", e.Type)
	case *runtime.EventExceptionThrown:
		c.add("exception: %v", e.ExceptionDetails)
	case *log.EventEntryAdded:
		c.add("log: %s: %s", e.Entry.Level, e.Entry.Text)
	}
}

// TestInABrowser looks at a page of all kinds in a real browser: wide and
// narrow, light and dark. CAIRN_SCREENSHOTS names a directory to keep pictures in.
func TestInABrowser(t *testing.T) {
	ctx := browser(t)
	pictures := os.Getenv("CAIRN_SCREENSHOTS")
	var heard complaints
	require.NoError(t, chromedp.Listen(ctx, heard.hear))

	t.Run("what is wrong would be heard", func(t *testing.T) {
		bad := filepath.Join(t.TempDir(), "bad.html")
		require.NoError(t, os.WriteFile(bad, []byte(`<body style="background:#fff"><script src="http://127.0.0.1:9/x.js"></script><script>console.error("x"); nothing()</script>
<p style="width:3000px;color:#eee">faint</p><svg width=300 height=200><text x=290 y=50>cut off here</text></svg>`), 0o600))
		require.NoError(t, chromedp.Do(ctx, chromedp.EmulateViewport(1400, 900), chromedp.Navigate("file://"+bad)))
		s, err := chromedp.Run(ctx, chromedp.Evaluate[seen](look))
		require.NoError(t, err)
		require.Greater(t, s.Overflow, 1000.0)
		require.Equal(t, []string{"faint"}, s.Faint)
		require.Len(t, s.Cut, 1)
		require.Len(t, s.Unnamed, 1)
		require.Zero(t, s.Charts)
		all := strings.Join(heard.take(), "\n")
		for _, want := range []string{"asks for http://127.0.0.1:9/x.js", "console: error", "exception: "} {
			require.Contains(t, all, want)
		}
	})

	name := writePage(t)
	for _, scheme := range []string{"light", "dark"} {
		for _, size := range []int64{400, 1400} {
			t.Run(fmt.Sprintf("%s at %d", scheme, size), func(t *testing.T) {
				_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
					Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
				})
				require.NoError(t, err)
				require.NoError(t, chromedp.Do(ctx, chromedp.EmulateViewport(size, 900), chromedp.Navigate("file://"+name)))
				s, err := chromedp.Run(ctx, chromedp.Evaluate[seen](look))
				require.NoError(t, err)
				if pictures != "" {
					picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
					require.NoError(t, err)
					require.NoError(t, os.WriteFile(filepath.Join(pictures, fmt.Sprintf("report-%s-%d.png", scheme, size)), picture, 0o644))
				}
				require.Greater(t, s.Drawings, 15)
				require.Equal(t, s.Drawings, s.Visible)
				require.Equal(t, s.Drawings, s.Charts, "each has something drawn")
				require.LessOrEqual(t, s.Overflow, 0.0, "the page is wider than the window")
				require.Empty(t, s.Cut)
				require.Empty(t, s.Faint)
				require.Empty(t, s.Unnamed)
				require.Empty(t, heard.take())
			})
		}
	}
}

// A course is what the browser says of a record's load, latency and faults through time.
type course struct {
	Drawings int
	Bands    int      // areas that are tinted
	Marks    int      // of when a fault bit, and of when everything was read
	Kinds    []string // of the legend of one drawing
	Untinted []string // signs of the legend that show nothing
	Note     string
	Rows     [][]string // of the table by kind
	Cycles   int        // rows of the table of those that are drawn
}

const lookAtCourses = `[...document.querySelectorAll('.timeline')].map(part => {
  const first = part.querySelector('figure');
  const shown = e => { const s = getComputedStyle(e); const b = e.getBoundingClientRect(); return b.height > 1 && (s.backgroundColor !== 'rgba(0, 0, 0, 0)' || parseFloat(s.borderTopWidth) > 0 || parseFloat(s.borderLeftWidth) > 0); };
  return {
    Drawings: [...part.querySelectorAll('svg')].filter(e => e.checkVisibility()).length,
    Bands: [...first.querySelectorAll('path')].filter(e => { const s = getComputedStyle(e); const b = e.getBoundingClientRect(); return s.fill.startsWith('rgb') && parseFloat(s.fillOpacity) < 1 && b.width > 0 && b.height > 80; }).length,
    Marks: [...first.querySelectorAll('path')].filter(e => getComputedStyle(e).stroke.startsWith('rgb') && (e.getAttribute('d').match(/M/g) || []).length > 1).length,
    Kinds: [...first.querySelectorAll('.legend li')].map(e => e.textContent),
    Untinted: [...first.querySelectorAll('.legend .swatch')].filter(e => !shown(e)).map(e => e.className),
    Note: part.querySelector('.meta').textContent,
    Rows: [...part.querySelectorAll(':scope > .scroll tbody tr')].map(r => [...r.children].map(c => c.textContent)),
    Cycles: part.querySelectorAll(':scope > details tbody tr').length,
  };
})`

// TestFaultsInABrowser looks at kept records of chaos: one of five kinds of fault, one of
// five hundred faults, and one that failed, before a record that has no faults.
func TestFaultsInABrowser(t *testing.T) {
	ctx := browser(t)
	runs := filepath.Join("..", "..", "results", "runs")
	name := writePageOf(t, report.Input{Records: load(t,
		filepath.Join(runs, "20261126T134143.913Z-chaos-5618d2a.json"),
		filepath.Join(runs, "20261126T132607.865Z-chaos-5618d2a.json"),
		filepath.Join(runs, "20261126T130913.212Z-chaos-75c3561.json"),
		filepath.Join(runs, "20261125T164852.222Z-compare-1965f28.json"))})
	for _, size := range []int64{400, 1400} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			require.NoError(t, chromedp.Do(ctx, chromedp.EmulateViewport(size, 900), chromedp.Navigate("file://"+name)))
			got, err := chromedp.Run(ctx, chromedp.Evaluate[[]course](lookAtCourses))
			require.NoError(t, err)
			if pictures := os.Getenv("CAIRN_SCREENSHOTS"); pictures != "" {
				picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(90))
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(filepath.Join(pictures, fmt.Sprintf("faults-%d.jpg", size)), picture, 0o644))
			}
			require.Len(t, got, 3, "the record without faults has no such part")
			for _, c := range got {
				require.Equal(t, 2, c.Drawings, "rate and latency")
				require.Positive(t, c.Bands)
				require.Positive(t, c.Marks)
				require.Empty(t, c.Untinted)
				for _, phase := range []string{"injected, until it bites", "recovers, until healthy", "everything was read and judged"} {
					require.Contains(t, c.Kinds, phase)
				}
			}
			network, kill, failed := got[0], got[1], got[2]
			for _, kind := range []string{"net-cut", "net-delay", "net-loss", "net-reset", "net-trickle"} {
				require.Contains(t, network.Kinds, kind)
			}
			require.Len(t, network.Rows, 5)
			require.Equal(t, 15, network.Cycles)
			require.Equal(t, "All 15 faults are drawn.", network.Note)
			require.Len(t, kill.Rows, 1)
			require.Equal(t, []string{"kill", "500", "500"}, kill.Rows[0][:3])
			require.Contains(t, kill.Note, "of 500 faults are drawn")
			require.LessOrEqual(t, kill.Cycles, 60)
			require.Greater(t, kill.Cycles, 30)
			require.Equal(t, []string{"descriptors", "3", "3"}, failed.Rows[0][:3])
			require.Equal(t, "2", failed.Rows[0][5], "one was never recovered from")
		})
	}
}

func load(t *testing.T, names ...string) []report.Named {
	t.Helper()
	all, err := report.Load(names)
	require.NoError(t, err)
	return all
}

// writePage writes a page of all that there is: the repository's own records, and
// one that has what these lack.
func writePage(t *testing.T) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("..", "..", "results", "runs", "*.json"))
	require.NoError(t, err)
	kept := load(t, names...)
	require.NotEmpty(t, kept)
	profile, err := probe.Load(filepath.Join("..", "probe", "testdata", "v1.yaml"))
	require.NoError(t, err)
	all := append([]report.Named{{Name: "ladder.json", Record: reporttest.Ladder()}}, kept...)
	return writePageOf(t, report.Input{Records: all, History: kept, Profile: profile})
}

func writePageOf(t *testing.T, in report.Input) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "report.html")
	f, err := os.Create(name)
	require.NoError(t, err)
	require.NoError(t, report.HTML(f, in))
	require.NoError(t, f.Close())
	return name
}
