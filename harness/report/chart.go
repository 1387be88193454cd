package report

import (
	"bytes"
	"fmt"
	"html"
	"html/template"
	"image/color"
	"math"
	"regexp"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// slots is how many colours tell series apart; more series use them again.
const slots = 8

// A chart is drawn from series, which are also its table.
type chart struct {
	Title string
	About string // what it shows, for those who do not see it
	x, y  axis
	Lines []series
	bands []band // behind the lines
	rules rules
}

// An axis has a label, and a way to print its values.
type axis struct {
	label string
	log   bool
	zero  bool    // begins at 0
	nines bool    // shares of 1, each step another nine
	last  float64 // not 0: it spans 0 to this, whatever the points are
	print func(float64) string
	// names replaces values by names: those of 0, 1, 2 …
	names []string
}

// A series is points in one colour.
type series struct {
	Name   string
	Slot   int
	dashed bool
	bare   bool // no line between the points
	marks  bool
	hollow bool
	points []point
}

// A point may have a range.
type point struct{ x, y, low, high float64 }

// Size of a drawing. It is scaled to the place that it gets, and its letters
// are readable from a width of 350 px on.
const width, height = 460, 270

// Colours that stand for those of the page, which knows light and dark.
func ink() color.Color           { return color.NRGBA{1, 2, 3, 255} }
func lattice() color.Color       { return color.NRGBA{4, 5, 6, 255} }
func slotColor(n int) color.RGBA { return color.RGBA{9, 9, uint8(n%slots) + 1, 255} }

var (
	prelude   = regexp.MustCompile(`(?s)^.*?<svg[^>]*>`)
	fontStyle = regexp.MustCompile(`font-family:[^;"]*;font-variant:[^;"]*;font-weight:[^;"]*;font-style:[^;"]*;?`)
)

// SVG draws the chart for a page. id is unique there.
func (c chart) SVG(id string) (template.HTML, error) {
	p := plot.New()
	p.BackgroundColor = nil
	c.x.style(&p.X)
	c.y.style(&p.Y)
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = lattice(), lattice()
	grid.Vertical.Dashes, grid.Horizontal.Dashes = nil, nil
	p.Add(grid)
	for _, b := range c.bands {
		p.Add(b)
	}
	p.Add(c.rules)
	for _, s := range c.Lines {
		if err := s.draw(p, c.x, c.y); err != nil {
			return "", fmt.Errorf("chart %s: %w", c.Title, err)
		}
	}
	c.bounds(p)
	canvas := vgsvg.New(width, height)
	// A margin: the letters of the page are wider than those that gonum measures.
	p.Draw(draw.Crop(draw.New(canvas), 8, -14, 4, -9))
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return "", fmt.Errorf("chart %s: %w", c.Title, err)
	}
	return template.HTML(c.dress(id, b.String())), nil
}

// dress gives the drawing the page's colours and letters, and words for those
// who do not see it.
func (c chart) dress(id, svg string) string {
	head := fmt.Sprintf(`<svg viewBox="0 0 %d %d" role="img" aria-labelledby="%s-t %s-d" preserveAspectRatio="xMidYMid meet"><title id="%s-t">%s</title><desc id="%s-d">%s</desc>`,
		width, height, id, id, id, html.EscapeString(c.Title), id, html.EscapeString(c.About))
	svg = head + prelude.ReplaceAllLiteralString(svg, "")
	svg = fontStyle.ReplaceAllLiteralString(svg, "")
	replace := []string{"#010203", "var(--muted)", "#040506", "var(--lattice)"}
	for i := range slots {
		replace = append(replace, fmt.Sprintf("#0909%02X", i+1), fmt.Sprintf("var(--s%d)", i))
		for phase, tint := range tints {
			replace = append(replace, fmt.Sprintf("#08%02X%02X", phase+1, i+1), fmt.Sprintf("var(--s%d);fill-opacity:%s", i, tint))
		}
	}
	return strings.NewReplacer(replace...).Replace(svg)
}

func (a axis) style(to *plot.Axis) {
	letters := font.Font{Typeface: "Liberation", Variant: "Sans", Size: 10.5}
	to.Label.Text = a.label
	to.Label.TextStyle.Font, to.Label.TextStyle.Color = letters, ink()
	to.Tick.Label.Font, to.Tick.Label.Color = letters, ink()
	to.Tick.LineStyle.Width = 0
	to.Tick.Length = 3
	to.LineStyle.Color = lattice()
	to.Label.Padding = 3
	to.Padding = 4
	if a.log {
		to.Scale = plot.LogScale{}
	}
	to.Tick.Marker = plot.TickerFunc(a.ticks)
}

// bounds sets what the axes span: something, whatever the points are.
func (c chart) bounds(p *plot.Plot) {
	for _, b := range []struct {
		a    axis
		axis *plot.Axis
	}{{c.x, &p.X}, {c.y, &p.Y}} {
		to := b.axis
		if math.IsInf(to.Min, 0) || math.IsInf(to.Max, 0) {
			to.Min, to.Max = 1, 10
		}
		switch {
		case b.a.last > 0:
			to.Min, to.Max = 0, b.a.last
		case b.a.log:
			to.Min, to.Max = to.Min/1.15, to.Max*1.15
			if to.Max < 4*to.Min { // room for more than one label
				middle := math.Sqrt(to.Min * to.Max)
				to.Min, to.Max = middle/2, middle*2
			}
		case b.a.names != nil:
			to.Min, to.Max = -.4, float64(len(b.a.names))-.6
		case b.a.zero:
			to.Min, to.Max = 0, max(to.Max*1.08, 1e-9)
		case to.Min == to.Max:
			to.Min, to.Max = to.Min-1, to.Max+1
		}
	}
}

// ticks chooses where labels are.
func (a axis) ticks(low, high float64) (all []plot.Tick) {
	add := func(v float64, label string) {
		if v >= low-1e-9*math.Abs(low) && v <= high+1e-9*math.Abs(high) {
			all = append(all, plot.Tick{Value: v, Label: label})
		}
	}
	switch {
	case a.names != nil:
		step := (len(a.names) + 4) / 5
		for i := 0; i < len(a.names); i += step {
			add(float64(i), a.names[i])
		}
	case a.nines:
		for i, label := range []string{"0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %"} {
			add(float64(i), label)
		}
		add(math.Log10(2), "50 %")
	case a.log:
		steps := []float64{1}
		switch decades := math.Log10(high / low); {
		case decades < 1.6:
			steps = []float64{1, 2, 5}
		case decades < 3:
			steps = []float64{1, 3}
		}
		for e := math.Floor(math.Log10(low)); e <= math.Ceil(math.Log10(high)); e++ {
			for _, s := range steps {
				v := s * math.Pow(10, e)
				add(v, a.print(v))
			}
		}
		if len(all) > 7 {
			all = slices.DeleteFunc(all, func(t plot.Tick) bool { return int(math.Round(math.Log10(t.Value)))%2 != 0 })
		}
	default:
		step := math.Pow(10, math.Floor(math.Log10((high-low)/4)))
		for _, m := range []float64{1, 2, 5, 10} {
			if (high-low)/(step*m) <= 5 {
				step *= m
				break
			}
		}
		first := math.Ceil(low / step)
		for i := range 16 { // more do not fit; and a step may be too small to be added
			v := (first + float64(i)) * step
			if v > high {
				break
			}
			if math.Abs(v) < step/1e6 {
				v = 0
			}
			add(v, a.print(v))
		}
	}
	return all
}

func (s series) draw(p *plot.Plot, x, y axis) error {
	var pieces []plotter.XYs // between gaps
	var ranges []point
	gap := true
	for _, q := range s.points {
		if math.IsNaN(q.y) {
			gap = true
			continue
		}
		if x.log && q.x <= 0 || y.log && q.y <= 0 {
			continue // a logarithm knows no zero; the table has it
		}
		if gap {
			pieces, gap = append(pieces, nil), false
		}
		piece := &pieces[len(pieces)-1]
		*piece = append(*piece, plotter.XY{X: q.x, Y: q.y})
		if q.high > q.low && (!y.log || q.low > 0) {
			ranges = append(ranges, q)
		}
	}
	col := slotColor(s.Slot)
	for _, r := range ranges {
		bar, err := plotter.NewLine(plotter.XYs{{X: r.x, Y: r.low}, {X: r.x, Y: r.high}})
		if err != nil {
			return err
		}
		bar.Color, bar.Width = col, 1
		p.Add(bar)
	}
	radius := vg.Length(3)
	if len(pieces) > 1 {
		radius = 1.4
	}
	for _, xy := range pieces {
		if err := s.piece(p, xy, col, radius); err != nil {
			return err
		}
	}
	return nil
}

// piece draws the points between two gaps.
func (s series) piece(p *plot.Plot, xy plotter.XYs, col color.Color, radius vg.Length) error {
	if !s.bare && len(xy) > 1 {
		line, err := plotter.NewLine(xy)
		if err != nil {
			return err
		}
		line.Color, line.Width = col, 1.8
		if s.dashed {
			line.Dashes = []vg.Length{5, 3}
		}
		p.Add(line)
	}
	if s.marks || len(xy) == 1 {
		dots, err := plotter.NewScatter(xy)
		if err != nil {
			return err
		}
		dots.GlyphStyle = draw.GlyphStyle{Color: col, Radius: radius, Shape: draw.CircleGlyph{}}
		if s.hollow {
			dots.Shape = draw.RingGlyph{}
		}
		p.Add(dots)
	}
	return nil
}

// Header is the table's.
func (c chart) Header() []string {
	return []string{"series", c.x.label, c.y.label}
}

// maxRows bounds a chart's table; more points are thinned out.
const maxRows = 60

// Rows are the chart's points as text.
func (c chart) Rows() (rows [][]string) {
	total := 0
	for _, s := range c.Lines {
		total += len(s.points)
	}
	every := (total + maxRows - 1) / maxRows
	for _, s := range c.Lines {
		for i, q := range s.points {
			if every > 1 && i%every != 0 && i != len(s.points)-1 {
				continue
			}
			y := c.y.text(q.y)
			if q.high > q.low {
				y += " (" + c.y.text(q.low) + " to " + c.y.text(q.high) + ")"
			}
			rows = append(rows, []string{s.Name, c.x.text(q.x), y})
		}
	}
	return rows
}

func (a axis) text(v float64) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case a.names != nil && v >= 0 && int(v) < len(a.names):
		return a.names[int(v)]
	case a.nines:
		return fmt.Sprintf("%.6g %%", 100*(1-math.Pow(10, -v)))
	}
	return a.print(v)
}

// A key is one entry of a legend. Its sign are classes of style.
type key struct{ Name, Sign string }

// Keys are the legend: none where one line says it all.
func (c chart) Keys() (keys []key) {
	if len(c.Lines) == 1 && c.bands == nil && c.rules == nil {
		return nil
	}
	for _, s := range c.Lines {
		keys = append(keys, key{s.Name, fmt.Sprintf("s%d %s", s.Slot%slots, s.sign())})
	}
	for _, b := range c.bands {
		keys = append(keys, key{b.Name, fmt.Sprintf("s%d band bites", b.Slot%slots)})
	}
	if c.bands != nil {
		for i, name := range phaseNames {
			keys = append(keys, key{name, "band " + phaseSigns[i]})
		}
	}
	if c.rules != nil {
		keys = append(keys, key{"everything was read and judged", "rule"})
	}
	return keys
}

// sign is how the legend shows the series: a class of style.
func (s series) sign() string {
	switch {
	case s.bare && s.hollow:
		return "ring"
	case s.bare:
		return "dot"
	case s.dashed:
		return "dashed"
	}
	return "line"
}
