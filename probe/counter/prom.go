package counter

import (
	"context"
	"errors"
	"math"
	"strings"
	"time"

	"procdump/probe/prom"
)

// promPeriod is the least time between two fetches of a page.
const promPeriod = time.Second

// promPatience is how long a reading waits for a page under way. A page that
// comes later is the next reading's: one slow endpoint must not hold up the
// sampling of everything else.
const promPatience = 100 * time.Millisecond

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

// open fetches the page once, and waits for it.
func (s *series) open(Env, int) (sampler, error) {
	e, err := prom.New(s.url)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := e.Query(ctx, s.selector); err != nil {
		cancel()
		e.Close()
		return nil, err
	}
	return &fetcher{endpoint: e, selector: s.selector, ctx: ctx, cancel: cancel}, nil
}

// fetcher reads a series. Fetches run beside the readings, one at a time.
type fetcher struct {
	endpoint *prom.Endpoint
	selector prom.Selector
	ctx      context.Context
	cancel   context.CancelFunc

	pending chan fetched // of the fetch under way; nil if there is none
	began   time.Time    // the last fetch, in the time of the readings
	last    fetched
	have    bool
}

type fetched struct {
	v   float64
	at  time.Time // when the fetch began
	err error
}

func (f *fetcher) sample(now time.Time) (reading, error) {
	if now.IsZero() { // Open has fetched the page
		return reading{none: true}, nil
	}
	if f.pending == nil && (f.began.IsZero() || now.Sub(f.began) >= promPeriod) {
		f.began = now
		done := make(chan fetched, 1)
		f.pending = done
		go func() {
			v, err := f.endpoint.Query(f.ctx, f.selector)
			done <- fetched{v, now, err}
		}()
	}
	if f.pending != nil {
		timer := time.NewTimer(promPatience)
		defer timer.Stop()
		select {
		case f.last = <-f.pending:
			f.have, f.pending = true, nil
		case <-timer.C:
		}
	}
	if !f.have {
		return reading{none: true}, nil
	}
	if f.last.err != nil {
		return reading{}, f.last.err
	}
	return reading{num: f.last.v, at: f.last.at, none: math.IsNaN(f.last.v)}, nil
}

// Close ends a fetch under way.
func (f *fetcher) Close() error {
	f.cancel()
	if f.pending != nil {
		<-f.pending
	}
	return f.endpoint.Close()
}
