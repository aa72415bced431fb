package main

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/prometheus/promql"
)

// In pixels. Grafana's grid has 24 columns.
const (
	column, row = 44, 30
	gap         = 8
	header      = 50
	// Of a letter on average, in fonts as wide as they come: what fits then fits in others.
	letter, titleLetter = 6.3, 7.6
	legendRow           = 13
	legendRows          = 7
)

// Told apart by the colour-blind too (Okabe and Ito, without the yellow that white swallows).
// Whoever comes later has the same colours, dashed.
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#555"}

const style = `<style>text{font:11px system-ui,sans-serif;fill:#57606a}.t{font-size:13px;font-weight:600;fill:#24292f}` +
	`.h{font-size:17px;font-weight:600;fill:#24292f}.n{font-size:30px;fill:#24292f}.m,.n{text-anchor:middle}.e{text-anchor:end}` +
	`.p{fill:#fff;stroke:#d0d7de}.g{stroke:#e4e8ec}.l{fill:none;stroke-width:1.6;stroke-linejoin:round;stroke-linecap:round}</style>`

// A canvas is the room of a panel, and what is drawn there.
type canvas struct {
	strings.Builder
	w, h float64
}

func draw(d *dashboard, r *run) (string, error) {
	page := canvas{w: 24*column + gap, h: header + gap}
	var panels strings.Builder
	for _, p := range d.Panels {
		at := p.GridPos
		c := canvas{w: float64(at.W*column - gap), h: float64(at.H*row - gap)}
		c.text("t", 10, 19, c.w-20, p.Title)
		switch {
		case p.Type != "stat" && p.Type != "timeseries":
			return "", fmt.Errorf("panel %q: cannot draw the type %q", p.Title, p.Type)
		case units[p.FieldConfig.Defaults.Unit] == nil:
			return "", fmt.Errorf("panel %q: does not know the unit %q", p.Title, p.FieldConfig.Defaults.Unit)
		case len(p.lines) == 0:
			c.text("m", c.w/2, c.h/2+8, c.w, "No data")
		case p.Type == "stat":
			c.numbers(&p)
		default:
			c.graph(&p, r)
		}
		fmt.Fprintf(&panels, "\n<g transform=\"translate(%d %d)\"><title>%s</title>", gap+at.X*column, header+at.Y*row, html.EscapeString(p.Description))
		fmt.Fprintf(&panels, `<rect class="p" width="%g" height="%g" rx="3"/>%s</g>`, c.w, c.h, c.String())
		page.h = max(page.h, float64(header+(at.Y+at.H)*row))
	}
	fmt.Fprintf(&page, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" role="img"><title>%s</title>`, page.w, page.h, html.EscapeString(d.Title))
	fmt.Fprintf(&page, `%s<rect width="%g" height="%g" rx="6" fill="#f6f8fa"/>`, style, page.w, page.h)
	page.text("h", 12, 24, page.w/2, d.Title)
	page.text("", 12, 41, page.w/2, d.Description)
	page.text("e", page.w-12, 41, page.w/2, fmt.Sprintf("%.1f minutes, a scrape every %.1f s", r.span().Minutes(), r.interval().Seconds()))
	return page.String() + panels.String() + "\n</svg>\n", nil
}

// numbers are the last values, which is what the dashboard's panels reduce to. As in Grafana, one alone needs no name.
func (c *canvas) numbers(p *panel) {
	width := c.w / float64(len(p.lines))
	for i, l := range p.lines {
		middle, v := width*(float64(i)+0.5), l.points[len(l.points)-1].F
		size := sizeOf(v, p.FieldConfig.Defaults.Unit)
		c.text("n", middle, c.h/2+18, c.w, say(v/size.by, size.after))
		if len(p.lines) > 1 {
			c.text("m", middle, c.h-10, width, l.name)
		}
	}
}

func (c *canvas) graph(p *panel, r *run) {
	low, high := bounds(p)
	size := sizeOf(max(high, -low), p.FieldConfig.Defaults.Unit)
	top, bottom := 34.0, c.h-c.legend(p.lines)-26
	values := ticks(low/size.by, high/size.by, (bottom-top)/24)
	low, high = values[0], values[len(values)-1]
	left, right := 0.0, c.w-16
	for _, v := range values {
		left = max(left, 16+width(say(v, size.after)))
	}
	x := func(minutes float64) float64 { return left + minutes/r.span().Minutes()*(right-left) }
	y := func(v float64) float64 { return bottom - (v-low)/(high-low)*(bottom-top) }

	for _, v := range values {
		fmt.Fprintf(c, `<path class="g" d="M%g %gH%g"/>`, tenths(left), tenths(y(v)), right)
		c.text("e", left-5, y(v)+4, left, say(v, size.after))
	}
	for _, v := range ticks(0, r.span().Minutes(), 5) {
		if v <= r.span().Minutes() {
			c.text("m", x(v), bottom+15, c.w, say(v, " min"))
		}
	}
	for i, l := range p.lines {
		c.stroke(i, path(l.points, r.step().Milliseconds(), func(point promql.FPoint) (float64, float64) {
			return x(float64(point.T-r.scrapes[0]) / 60e3), y(point.F / size.by)
		}))
	}
}

// path leads through points; where some are missing it breaks off. Each step is told from the last, in tenths of
// pixels: that is short, and no error adds up.
func path(points []promql.FPoint, step int64, on func(promql.FPoint) (float64, float64)) string {
	var path strings.Builder
	var before [2]float64
	for i, point := range points {
		x, y := on(point)
		x, y = tenths(x), tenths(y)
		if i == 0 || point.T-points[i-1].T > step {
			// Of no length, a step shows as a dot.
			fmt.Fprintf(&path, "M%g %gh0", x, y)
		} else if y == before[1] {
			fmt.Fprintf(&path, "h%g", tenths(x-before[0]))
		} else {
			fmt.Fprintf(&path, "l%g %g", tenths(x-before[0]), tenths(y-before[1]))
		}
		before = [2]float64{x, y}
	}
	return path.String()
}

// legend names the lines, in columns at the bottom. It tells how high they are.
func (c *canvas) legend(lines []line) float64 {
	widest := 0.0
	for _, l := range lines {
		widest = max(widest, 28+width(l.name))
	}
	columns := max(1, int((c.w-10)/widest))
	rows := min((len(lines)+columns-1)/columns, legendRows)
	for i, l := range lines {
		x, y := 10+float64(i%columns)*widest, c.h-10-float64(rows-1-i/columns)*legendRow
		if left := len(lines) - i; i == legendRows*columns-1 && left > 1 {
			c.text("", x, y+4, widest, fmt.Sprintf("and %d more", left))
			break
		}
		c.stroke(i, fmt.Sprintf("M%g %gh10", x, y))
		c.text("", x+14, y+4, c.w-x-20, l.name)
	}
	return float64(rows * legendRow)
}

func bounds(p *panel) (float64, float64) {
	low, high := math.Inf(1), math.Inf(-1)
	if least := p.FieldConfig.Defaults.Min; least != nil {
		low, high = *least, *least
	}
	for _, l := range p.lines {
		for _, point := range l.points {
			low, high = min(low, point.F), max(high, point.F)
		}
	}
	return low, high
}

// ticks are round numbers from below low to above high, in no more steps than asked for, or little more.
func ticks(low, high, steps float64) []float64 {
	if high <= low {
		high = low + 1
	}
	rough := (high - low) / min(max(steps, 2), 5)
	step := math.Pow(10, math.Floor(math.Log10(rough)))
	for _, factor := range []float64{2, 2.5, 2} {
		if step < rough*0.999 {
			step *= factor
		}
	}
	var found []float64
	for k := math.Floor(low/step + 1e-9); ; k++ {
		found = append(found, k*step)
		if k*step >= high-step*1e-9 {
			return found
		}
	}
}

// What numbers of at least `by` are divided by, and what is said after them.
type size struct {
	by    float64
	after string
}

// Those of Grafana that the dashboard uses, and their like.
var units = map[string][]size{
	"": short(""), "none": short(""), "short": short(""), "ops": short(" ops/s"), "reqps": short(" req/s"),
	"s":       {{1e-6, " µs"}, {1e-3, " ms"}, {1, " s"}, {60, " min"}, {3600, " h"}},
	"percent": {{1, "%"}}, "percentunit": {{0.01, "%"}},
}

func short(after string) []size { return []size{{1, after}, {1e3, " K" + after}, {1e6, " M" + after}} }

// sizeOf suits numbers up to the greatest.
func sizeOf(greatest float64, unit string) size {
	found := units[unit][0]
	for _, larger := range units[unit] {
		if larger.by <= math.Abs(greatest) {
			found = larger
		}
	}
	return found
}

// say rounds to four digits that count.
func say(v float64, after string) string {
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'e', 3, 64), 64)
	if v == 0 && after != "%" {
		return "0"
	}
	return strconv.FormatFloat(rounded, 'f', -1, 64) + after
}

func tenths(v float64) float64 { return math.Round(v*10) / 10 }

func width(s string) float64 { return letter * float64(utf8.RuneCountInString(s)) }

// stroke draws the path of line i.
func (c *canvas) stroke(i int, path string) {
	dashes := ""
	if i >= len(colours) {
		dashes = ` stroke-dasharray="4 4"`
	}
	fmt.Fprintf(c, `<path class="l" stroke="%s"%s d="%s"/>`, colours[i%len(colours)], dashes, path)
}

// text that finds no room ends in dots.
func (c *canvas) text(class string, x, y, room float64, s string) {
	most := int(room / letter)
	if class == "t" || class == "h" {
		most = int(room / titleLetter)
	}
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:max(most-1, 0)]) + "…"
	}
	fmt.Fprintf(c, `<text class="%s" x="%g" y="%g">%s</text>`, class, tenths(x), tenths(y), html.EscapeString(s))
}
