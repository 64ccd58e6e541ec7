package main

import (
	"math"
	"slices"
)

// reading is what one turn at watching yields. A figure that does not apply is
// negative.
type reading struct {
	micros []float64 // what each single case took, or the cost of one unit
	core   float64   // percent of one core
	rss    int64     // bytes, peak
	caught int       // how many of
	of     int       // these were seen
	err    error
}

// cost is a reading of nothing but a cost, or of durations.
func cost(micros ...float64) reading {
	return reading{micros: micros, core: -1, rss: -1, caught: -1, of: -1}
}

// watchRow collects the readings of a contestant, one a round, in the order of
// the rounds.
type watchRow struct {
	who      string
	figure   string    // what was measured
	base     *watchRow // what it is compared with, nil if there is no such thing
	readings []reading
}

// err is the first error of the row's turns.
func (r *watchRow) err() error {
	for _, x := range r.readings {
		if x.err != nil {
			return x.err
		}
	}
	return nil
}

// all are the durations of all rounds.
func (r *watchRow) all() (v []float64) {
	for _, x := range r.readings {
		v = append(v, x.micros...)
	}
	return v
}

// median of what f takes from the readings, NaN if there are none or one does
// not apply.
func (r *watchRow) median(f func(reading) float64) float64 {
	if r == nil || r.err() != nil {
		return math.NaN()
	}
	var v []float64
	for _, x := range r.readings {
		if y := f(x); y >= 0 {
			v = append(v, y)
		} else {
			return math.NaN()
		}
	}
	return median(v)
}

// most is the largest of what f takes from the readings, NaN if there are none
// or one does not apply.
func (r *watchRow) most(f func(reading) float64) float64 {
	if math.IsNaN(r.median(f)) {
		return math.NaN()
	}
	m := 0.0
	for _, x := range r.readings {
		m = max(m, f(x))
	}
	return m
}

// ratio is the median over the rounds of the row's figure by that of what it is
// compared with; less is better.
func (r *watchRow) ratio() float64 {
	if r == nil || r.base == nil || r.err() != nil || r.base.err() != nil {
		return math.NaN()
	}
	var v []float64
	for i := range min(len(r.readings), len(r.base.readings)) {
		x := median(r.readings[i].micros) / median(r.base.readings[i].micros)
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return math.NaN()
		}
		v = append(v, x)
	}
	return median(v)
}

// share is how much of what there was to see was seen, NaN if nothing was.
func (r *watchRow) share() float64 {
	caught, of := 0, 0
	for _, x := range r.readings {
		caught, of = caught+x.caught, of+x.of
	}
	if of <= 0 {
		return math.NaN()
	}
	return float64(caught) / float64(of)
}

func coreOf(r reading) float64 { return r.core }
func peakOf(r reading) float64 {
	if r.rss < 0 {
		return -1
	}
	return float64(r.rss) / (1 << 20)
}

// percentile is the smallest value that p percent of v do not exceed, NaN if
// there is none.
func percentile(v []float64, p int) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	v = slices.Sorted(slices.Values(v))
	return v[(len(v)*p+99)/100-1]
}
