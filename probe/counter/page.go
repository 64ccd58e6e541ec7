package counter

import (
	"context"
	"sync"
	"time"

	"procdump/probe/prom"
)

// promPeriod is the least time between two fetches of a page.
const promPeriod = time.Second

// page is a page of metrics. All readers of its address share it: it is fetched
// once for all of them, in a goroutine of its own.
type page struct {
	endpoint *prom.Endpoint
	url      string
	users    int // readers; belongs to pages
	ctx      context.Context
	cancel   context.CancelFunc
	fetches  sync.WaitGroup

	mu     sync.Mutex
	series map[string]*sought // by selector
	busy   bool               // a fetch is under way
	began  time.Time          // the last fetch, in the time of the readings
}

// sought is a series of a page; the page's mutex guards it.
type sought struct {
	selector prom.Selector
	users    int
	last     answer // at is zero: none yet
	good     answer // the last one without error
}

type answer struct {
	prom.Answer
	at time.Time // when the fetch began, in the time of the readings
}

var pages = struct {
	sync.Mutex
	byURL map[string]*page
}{byURL: map[string]*page{}}

func openPage(url string) (*page, error) {
	pages.Lock()
	defer pages.Unlock()
	p := pages.byURL[url]
	if p == nil {
		e, err := prom.New(url)
		if err != nil {
			return nil, err
		}
		p = &page{endpoint: e, url: url, series: map[string]*sought{}}
		p.ctx, p.cancel = context.WithCancel(context.Background())
		pages.byURL[url] = p
	}
	p.users++
	return p, nil
}

// close gives back a series, and the page with the last one.
func (p *page) close(s *sought) {
	p.mu.Lock()
	if s.users--; s.users == 0 {
		delete(p.series, s.selector.String())
	}
	p.mu.Unlock()
	pages.Lock()
	p.users--
	last := p.users == 0
	if last {
		delete(pages.byURL, p.url)
	}
	pages.Unlock()
	if last {
		p.cancel()
		p.fetches.Wait()
		_ = p.endpoint.Close()
	}
}

// seek asks for a series from the next fetch on; first tells that nobody has
// asked for it before.
func (p *page) seek(selector prom.Selector) (s *sought, first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s = p.series[selector.String()]; s == nil {
		s, first = &sought{selector: selector}, true
		p.series[selector.String()] = s
	}
	s.users++
	return s, first
}

// value returns the last answer for a series, and the last good one, and begins
// a fetch if it is time for the next one.
func (p *page) value(s *sought, now time.Time) (last, good answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.busy && (p.began.IsZero() || now.Sub(p.began) >= promPeriod) {
		p.busy, p.began = true, now
		p.fetches.Go(func() { p.fetch(now) })
	}
	return s.last, s.good
}

func (p *page) fetch(at time.Time) {
	p.mu.Lock()
	var all []*sought
	var selectors []prom.Selector
	for _, s := range p.series {
		all, selectors = append(all, s), append(selectors, s.selector)
	}
	p.mu.Unlock()
	answers := p.endpoint.QueryAll(p.ctx, selectors)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy = false
	for i, s := range all {
		s.last = answer{answers[i], at}
		if answers[i].Err == nil {
			s.good = s.last
		}
	}
}
