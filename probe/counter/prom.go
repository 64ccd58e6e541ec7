package counter

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"procdump/probe/prom"
)

// series is prom:URL#SELECTOR.
type series struct {
	url      string
	selector prom.Selector
}

func parseProm(rest string) (native, error) {
	url, selector, ok := strings.Cut(strings.TrimSpace(rest), "#")
	if !ok || selector == "" {
		return nil, errors.New(`want prom:URL#METRIC{label="value"}, as in prom:http://localhost:9090/metrics#go_goroutines`)
	}
	e, err := prom.New(url)
	if err != nil {
		return nil, err
	}
	e.Close()
	s, err := prom.ParseSelector(selector)
	if err != nil {
		return nil, err
	}
	return &series{url, s}, nil
}

func (s *series) String() string { return "prom:" + s.url + "#" + s.selector.String() }

func (s *series) unit() string { return "" }

func (s *series) perProcess() bool { return false }

// open fetches the page, and waits for it, unless another reader has the same
// series already or it may come late.
func (s *series) open(e Env, _ int) (sampler, error) {
	p, err := openPage(s.url)
	if err != nil {
		return nil, err
	}
	sought, first := p.seek(s.selector)
	if first && !e.Late {
		if _, err := p.endpoint.Query(p.ctx, s.selector); err != nil {
			p.close(sought)
			return nil, err
		}
	}
	return &fetcher{page: p, sought: sought}, nil
}

// fetcher reads a series of a page that is fetched beside the readings: a
// server that is slow, or none, holds up nobody.
type fetcher struct {
	page   *page
	sought *sought
	closed bool
}

func (f *fetcher) sample(now time.Time) (reading, error) {
	if now.IsZero() { // open has fetched the page
		return reading{none: true}, nil
	}
	last, good := f.page.value(f.sought, now)
	switch {
	case last.at.IsZero():
		return reading{none: true}, nil
	case last.Err == nil:
		return reading{num: last.Value, at: last.at, none: math.IsNaN(last.Value)}, nil
	case good.at.IsZero():
		return reading{}, last.Err
	}
	return reading{}, fmt.Errorf("%w (its last value, %v, is %v old and does not count)",
		last.Err, good.Value, now.Sub(good.at).Round(100*time.Millisecond))
}

// Close ends a fetch under way if nobody else reads the page.
func (f *fetcher) Close() error {
	if !f.closed {
		f.closed = true
		f.page.close(f.sought)
	}
	return nil
}
