package main

import (
	"math"
	"slices"
	"time"
)

// sample is what one run of one contestant cost. A figure that does not apply
// is negative.
type sample struct {
	wall  time.Duration // start to end of the command
	flush time.Duration // fsync of its file after that
	cpu   time.Duration // user and system, of the command and its children
	rss   int64         // bytes, the largest of those processes
	own   time.Duration // the target's pause as the tool says
	seen  time.Duration // the longest absence of the target's beating thread
	disk  int64         // bytes the file occupies
	held  int64         // bytes of the victim's memory
	huge  float64       // the share of it that was in huge pages before
	rate  float64       // MiB a second that the victim wrote to meanwhile
	err   error
}

// durable is the time until the dump is in the file system for good.
func (s sample) durable() time.Duration { return s.wall + s.flush }

// row collects a contestant's samples, one a round, in the order of the rounds.
type row struct {
	tool    string
	place   string
	samples []sample
}

// err is the first error of the row's runs.
func (r *row) err() error {
	for _, s := range r.samples {
		if s.err != nil {
			return s.err
		}
	}
	return nil
}

// median of what f takes from the samples, NaN if there are none or one
// does not apply.
func (r *row) median(f func(sample) float64) float64 {
	if r == nil {
		return math.NaN()
	}
	var v []float64
	for _, s := range r.samples {
		x := f(s)
		if s.err != nil || x < 0 {
			return math.NaN()
		}
		v = append(v, x)
	}
	return median(v)
}

// ratio is the median of b/a over the rounds, by f: how many times better a is.
func ratio(a, b *row, f func(sample) float64) float64 {
	if a == nil || b == nil || a.err() != nil || b.err() != nil {
		return math.NaN()
	}
	var v []float64
	for i := range min(len(a.samples), len(b.samples)) {
		x, y := f(a.samples[i]), f(b.samples[i])
		if x <= 0 || y < 0 {
			return math.NaN()
		}
		v = append(v, y/x)
	}
	return median(v)
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	v = slices.Sorted(slices.Values(v))
	m := len(v) / 2
	if len(v)%2 == 1 {
		return v[m]
	}
	return (v[m-1] + v[m]) / 2
}

// spread is the slowest run over the fastest, of the durable times.
func (r *row) spread() float64 {
	if r == nil || r.err() != nil || len(r.samples) == 0 || r.samples[0].wall < 0 {
		return math.NaN()
	}
	low, high := math.Inf(1), 0.0
	for _, s := range r.samples {
		low, high = min(low, durableOf(s)), max(high, durableOf(s))
	}
	return high / low
}

// best is the shortest time of a contestant's runs.
func (r *row) best() time.Duration {
	if r == nil || r.err() != nil || len(r.samples) == 0 {
		return 0
	}
	least := r.samples[0].wall
	for _, s := range r.samples {
		least = min(least, s.wall)
	}
	return least
}

// most is the largest of what f takes from the samples, 0 if there are none.
func (r *row) most(f func(sample) float64) float64 {
	m := 0.0
	for _, s := range r.samples {
		m = max(m, f(s))
	}
	return m
}

func wallOf(s sample) float64    { return s.wall.Seconds() }
func durableOf(s sample) float64 { return s.durable().Seconds() }
func cpuOf(s sample) float64     { return s.cpu.Seconds() }
func rssOf(s sample) float64     { return float64(s.rss) / (1 << 20) }
func diskOf(s sample) float64    { return float64(s.disk) / (1 << 20) }
func shareOf(s sample) float64   { return float64(s.disk) / float64(s.held) }
func hugeOf(s sample) float64    { return s.huge }
func rateOf(s sample) float64    { return s.rate }
func ownOf(s sample) float64     { return s.own.Seconds() * 1000 }
func seenOf(s sample) float64    { return s.seen.Seconds() * 1000 }
