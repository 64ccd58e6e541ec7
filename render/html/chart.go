package html

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"procdump/inspect"
	"procdump/render/page"
)

// maxPoints is how many samples a chart has.
const maxPoints = 1200

// Sizes of a chart's coordinates; it is stretched to the page's width.
const (
	chartWidth  = 1000
	chartHeight = 100
)

// chart is how a watched value went.
type chart struct {
	Name, Limit, Last string
	Points            string // of the line, in the chart's coordinates
	Area              string // the same, closed at the bottom
	LimitAt           string // percent from the top
	LabelBelow        bool   // the limit's label is below its line
	High, HighAt      string // the highest value, and percent from the top
	Low               string // value at the bottom
	From              string // time before the dump
	Dots              []dot
}

// dot is one sample.
type dot struct {
	X, Y  string // percent
	Title string
}

// newChart draws samples; false: there is nothing to draw.
func newChart(s *inspect.Samples, dumped *time.Time) (chart, bool) {
	points := s.Points[max(0, len(s.Points)-maxPoints):]
	if len(points) == 0 || !finite(s.Limit) {
		return chart{}, false
	}
	low, high := min(0, s.Limit), s.Limit
	for _, p := range points {
		if !finite(p.Value) {
			return chart{}, false
		}
		low, high = min(low, p.Value), max(high, p.Value)
	}
	if high -= low; high <= 0 || !finite(high) {
		high = 1
	}
	highest := low + high
	high = low + high*1.08 // room above the line
	end := points[len(points)-1].Time
	if dumped != nil && dumped.After(end) && dumped.Sub(end) < time.Hour {
		end = *dumped
	}
	begin := points[0].Time
	length := end.Sub(begin)
	if length <= 0 {
		length = time.Second
		begin = end.Add(-length)
	}
	fromTop := func(v float64) float64 { return 1 - (v-low)/(high-low) }
	sign := "≥"
	if s.Below {
		sign = "<"
	}
	c := chart{Name: s.Name, Limit: sign + " " + amount(s.Limit, s.Unit), Last: amount(points[len(points)-1].Value, s.Unit),
		LimitAt: per(fromTop(s.Limit)), LabelBelow: fromTop(s.Limit) < 0.2, High: amount(highest, s.Unit), HighAt: per(fromTop(highest)), Low: amount(low, s.Unit), From: "−" + span(length)}
	var line strings.Builder
	first, last := 0.0, 0.0
	for i, p := range points {
		x, y := min(max(float64(p.Time.Sub(begin))/float64(length), 0), 1), fromTop(p.Value)
		fmt.Fprintf(&line, "%.1f,%.2f ", x*chartWidth, y*chartHeight)
		c.Dots = append(c.Dots, dot{per(x), per(y), "−" + span(end.Sub(p.Time)) + ": " + amount(p.Value, s.Unit)})
		if i == 0 {
			first = x
		}
		last = x
	}
	c.Points = strings.TrimSpace(line.String())
	c.Area = fmt.Sprintf("%.1f,%d %s %.1f,%d", first*chartWidth, chartHeight, c.Points, last*chartWidth, chartHeight)
	return c, true
}

func finite(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) && math.Abs(f) < 1e300 }

func per(f float64) string { return fmt.Sprintf("%.3f%%", 100*f) }

// amount is a value with its unit.
func amount(v float64, unit string) string {
	if unit == "bytes" && v >= 0 && v < math.MaxUint64 {
		return page.Size(uint64(v))
	}
	n := strconv.FormatFloat(v, 'f', 1, 64)
	if v == math.Trunc(v) || math.Abs(v) >= 100 {
		n = strconv.FormatFloat(v, 'f', 0, 64)
	}
	return page.Join(" ", n, unit)
}

// span is a length of time.
func span(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d < 2*time.Minute:
		return strconv.FormatFloat(d.Seconds(), 'f', 0, 64) + " s"
	}
	return d.Round(time.Second).String()
}
