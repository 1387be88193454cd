package report

import (
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// A band is what lasted, behind the lines and as high as the drawing: one kind
// of fault, by its phases.
type band struct {
	Name  string
	Slot  int
	spans [phases][]span
	marks []float64 // moments: when it bit
}

// A span is from one value of the axis to another.
type span struct{ from, to float64 }

// The phases of a band are tints of its colour.
const phases = 3

var (
	phaseNames = [phases]string{"injected, until it bites", "bites, until the recovery begins", "recovers, until healthy"}
	phaseSigns = [phases]string{"inject", "bites", "recover"} // classes of style
	tints      = [phases]string{".12", ".38", ".22"}
)

// tintColor stands for a colour of the page, thinned.
func tintColor(slot, phase int) color.RGBA {
	return color.RGBA{8, uint8(phase) + 1, uint8(slot%slots) + 1, 255}
}

// Plot draws the band; it has no say in what the axes span.
func (b band) Plot(c draw.Canvas, p *plot.Plot) {
	x, _ := p.Transforms(&c)
	at := func(v float64) vg.Length { return min(max(x(v), c.Min.X), c.Max.X) }
	for phase, spans := range b.spans {
		var path vg.Path
		for _, s := range spans {
			from, to := at(s.from), at(s.to)
			path.Move(vg.Point{X: from, Y: c.Min.Y})
			path.Line(vg.Point{X: to, Y: c.Min.Y})
			path.Line(vg.Point{X: to, Y: c.Max.Y})
			path.Line(vg.Point{X: from, Y: c.Max.Y})
			path.Close()
		}
		if len(path) > 0 {
			c.SetColor(tintColor(b.Slot, phase))
			c.Fill(path)
		}
	}
	upright(c, b.marks, at, draw.LineStyle{Color: slotColor(b.Slot), Width: .8})
}

// rules are moments: dashed lines as high as the drawing.
type rules []float64

// Plot draws the rules; they have no say in what the axes span.
func (r rules) Plot(c draw.Canvas, p *plot.Plot) {
	x, _ := p.Transforms(&c)
	upright(c, r, x, draw.LineStyle{Color: ink(), Width: .7, Dashes: []vg.Length{1.5, 3}})
}

func upright(c draw.Canvas, values []float64, x func(float64) vg.Length, style draw.LineStyle) {
	var path vg.Path
	for _, v := range values {
		path.Move(vg.Point{X: x(v), Y: c.Min.Y})
		path.Line(vg.Point{X: x(v), Y: c.Max.Y})
	}
	if len(path) > 0 {
		c.SetLineStyle(style)
		c.Stroke(path)
	}
}
