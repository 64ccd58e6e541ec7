package counter

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// pageServer serves two series; while it is held it answers nobody.
func pageServer(t *testing.T) (url string, fetches *atomic.Int64, hold *atomic.Bool) {
	t.Helper()
	fetches, hold = new(atomic.Int64), new(atomic.Bool)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fetches.Add(1)
		if hold.Load() {
			<-r.Context().Done()
			return
		}
		fmt.Fprint(w, "a 1\nb 2\n")
	}))
	t.Cleanup(s.Close)
	return s.URL, fetches, hold
}

// TestPageShared: all readers of an address have one fetch a period, and each
// its own series.
func TestPageShared(t *testing.T) {
	url, fetches, _ := pageServer(t)
	var readers []Reader
	for range 50 {
		readers = append(readers, open(t, "prom:"+url+"#a", 0), open(t, "prom:"+url+"#b", 0))
	}
	opening := fetches.Load()
	if opening > 2 {
		t.Errorf("%d fetches to open %d readers of two series", opening, len(readers))
	}
	clock := time.Now()
	for round := range 3 {
		clock = clock.Add(promPeriod)
		for i, r := range readers {
			want := float64(1 + i%2)
			waitFor(t, "a value", func() bool {
				v, ok, err := r.Read(clock)
				if err != nil || ok && v != want {
					t.Fatalf("round %d, reader %d: %v %v, want %v", round, i, v, err, want)
				}
				return ok
			})
		}
		waitFor(t, "the fetch", func() bool { return fetches.Load() == opening+int64(round)+1 })
	}
	if n := fetches.Load() - opening; n != 3 {
		t.Errorf("%d fetches in 3 periods, want one in each", n)
	}
}

// TestPageHoldsNobody: a server that does not answer keeps no reading waiting:
// all are done before the fetch has given up.
func TestPageHoldsNobody(t *testing.T) {
	url, fetches, hold := pageServer(t)
	var readers []Reader
	for range 200 {
		readers = append(readers, open(t, "prom:"+url+"#a", 0))
	}
	opening := fetches.Load()
	hold.Store(true)
	clock := time.Now()
	for i, r := range readers {
		if _, _, err := r.Read(clock); err != nil {
			t.Fatalf("reading %d came after the timeout: %v", i, err)
		}
	}
	waitFor(t, "the timeout", func() bool {
		_, _, err := readers[0].Read(clock)
		return err != nil
	})
	if n := fetches.Load() - opening; n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

// TestPageLate: a server that comes later is no error of Open where that may be.
func TestPageLate(t *testing.T) {
	url, _, hold := pageServer(t)
	hold.Store(true)
	c, err := Parse("prom:" + url + "#a")
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Open(Env{Late: true}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	clock := time.Now()
	waitFor(t, "the error", func() bool {
		_, _, err := r.Read(clock)
		return err != nil
	})
	hold.Store(false)
	waitFor(t, "the value", func() bool {
		clock = clock.Add(promPeriod)
		v, ok, err := r.Read(clock)
		return err == nil && ok && v == 1
	})
}

// TestPageClosed: the last reader takes its page along.
func TestPageClosed(t *testing.T) {
	url, _, _ := pageServer(t)
	c, err := Parse("prom:" + url + "#a")
	if err != nil {
		t.Fatal(err)
	}
	var readers [2]Reader
	for i := range readers {
		if readers[i], err = c.Open(Env{}, 0); err != nil {
			t.Fatal(err)
		}
	}
	there := func() bool {
		pages.Lock()
		defer pages.Unlock()
		return pages.byURL[url] != nil
	}
	readers[0].Close()
	readers[0].Close()
	if !there() {
		t.Error("the page is gone while it is read")
	}
	if readers[1].Close(); there() {
		t.Error("the page is left")
	}
}
