package prom

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// example is the one of the format's description, with a few additions.
const example = `# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}    3 1395066363000

# Escaping in label values:
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9

# Minimalistic line:
metric_without_timestamp_and_labels 12.47

# A weird metric from before the epoch:
something_weird{problem="division by zero"} +Inf -3982045

http_request_duration_seconds_bucket{le="0.05"} 24054
http_request_duration_seconds_bucket{le="+Inf"} 144320
	spaced { a = "x" , b="}," , } -Inf
nothing NaN
with_exemplar_bucket{le="0.1"} 8 123.5 # {trace_id="KOO5S4vxi0o"} 0.067 1520879607.789
exemplar_without_labels 9 # {} 0.5
{"dotted.name",a="b"} 5
{"bare.name"} 6
ns:recorded:sum 7
`

func TestSelect(t *testing.T) {
	for _, c := range []struct {
		selector string
		want     float64
		err      error
	}{
		{`metric_without_timestamp_and_labels`, 12.47, nil},
		{`metric_without_timestamp_and_labels{}`, 12.47, nil},
		{`http_requests_total{code="200"}`, 1027, nil},
		{`http_requests_total{code!="200"}`, 3, nil},
		{`http_requests_total{code=~"4.."}`, 3, nil},
		{`http_requests_total{code!~"4.*"}`, 1027, nil},
		{`http_requests_total{code=~"4"}`, 0, ErrNoSeries}, // a pattern fits the whole value
		{` http_requests_total { code = '400' , } `, 3, nil},
		{"http_requests_total{code=~`4\\d+`}", 3, nil},
		{`http_requests_total`, 0, ErrSeveral},
		{`http_requests_total{code="500"}`, 0, ErrNoSeries},
		{`no_such`, 0, ErrNoSeries},
		{`sum(http_requests_total)`, 1030, nil},
		{`SUM(http_requests_total{method="post"})`, 1030, nil},
		{`max(http_requests_total)`, 1027, nil},
		{`min(http_requests_total)`, 3, nil},
		{`avg(http_requests_total)`, 515, nil},
		{`count(http_requests_total)`, 2, nil},
		{`count(no_such)`, 0, nil},
		{`sum(no_such)`, 0, nil},
		{`max(no_such)`, 0, ErrNoSeries},
		{`msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT"}`, 1.458255915e9, nil},
		{`msdos_file_access_time_seconds{error="Cannot find file:\n\"FILE.TXT\""}`, 1.458255915e9, nil},
		{`something_weird`, math.Inf(1), nil},
		{`spaced{a="x",b="},"}`, math.Inf(-1), nil},
		{`nothing`, math.NaN(), nil},
		{`http_request_duration_seconds_bucket{le="+Inf"}`, 144320, nil},
		{`with_exemplar_bucket{le="0.1"}`, 8, nil},
		{`exemplar_without_labels`, 9, nil},
		{`metric_without_timestamp_and_labels{absent=""}`, 12.47, nil},
		{`{"dotted.name"}`, 5, nil},
		{`{"dotted.name",a="b"}`, 5, nil},
		{`{"bare.name"}`, 6, nil},
		{`{__name__=~"http_requests.*",code="400"}`, 3, nil},
		{`ns:recorded:sum`, 7, nil},
		{`max({__name__=~"nothing|ns:.*"})`, 7, nil},
	} {
		s, err := ParseSelector(c.selector)
		if err != nil {
			t.Errorf("%s: %v", c.selector, err)
			continue
		}
		got, err := s.Eval(NewScanner(strings.NewReader(example)))
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: %v, want %v", c.selector, err, c.err)
		}
		if got != c.want && !(math.IsNaN(got) && math.IsNaN(c.want)) {
			t.Errorf("%s = %v, want %v", c.selector, got, c.want)
		}
	}
}

func TestSelectorRefused(t *testing.T) {
	for _, s := range []string{
		"", "{}", "a{", "a}", "a{b}", "a{b=}", "a{b=x}", `a{b="x}`, `a{b=~"("}`, `a{b=="x"}`, `a{b!"x"}`, `a{b="x" c="y"}`,
		"rate(a)", "sum(a", "sum()", "sum(a))", "a b", "1a", `a{b="x"} > 3`, "a[5m]", `a{b="x"`, "a{`", "a{b=`",
	} {
		if _, err := ParseSelector(s); err == nil {
			t.Errorf("%q: no error", s)
		}
	}
}

// TestMessages wants the series in an error, so that the user can choose.
func TestMessages(t *testing.T) {
	for _, c := range []struct{ selector, want string }{
		{"http_requests_total", `http_requests_total{method="post",code="200"}, http_requests_total{method="post",code="400"}`},
		{"http_requests_total", `sum(http_requests_total)`},
		{`http_requests_total{code="500"}`, `there is http_requests_total{method="post",code="200"}`},
		{`{__name__=~".*name"}`, `{"dotted.name",a="b"}, {"bare.name"}`},
	} {
		s, err := ParseSelector(c.selector)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Eval(NewScanner(strings.NewReader(example)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s in it", c.selector, err, c.want)
		}
	}
	var many strings.Builder
	for i := range 30 {
		fmt.Fprintf(&many, "m{i=\"%d\"} 1\n", i)
	}
	s, _ := ParseSelector("m")
	if _, err := s.Eval(NewScanner(strings.NewReader(many.String()))); err == nil || !strings.Contains(err.Error(), "and 20 more") {
		t.Errorf("30 series: %v", err)
	}
}

func TestDamagedPages(t *testing.T) {
	for _, line := range []string{
		"a", "a x", "a 1 x", "a 1 2 3", "a{", `a{b="x} 1`, `a{b=x} 1`, `a{b "x"} 1`, `a{b="x" c="y"} 1`, `a{"b"} 1`, "{} 1", "1a 1",
		"a 0x10", "a 1_0", "a 1e999", "<html>", "a 1 # x", "a 1 # {} x", "a{b=\"\xff\"} 1", `a{b="x"} 1 # {c="d} 2`,
	} {
		sc := NewScanner(strings.NewReader("ok 1\n" + line + "\nafter 2\n"))
		n := 0
		for sc.Scan() {
			n++
		}
		if err := sc.Err(); !errors.Is(err, ErrFormat) || n != 1 {
			t.Errorf("%q: %d samples, %v; want 1 and ErrFormat", line, n, err)
		} else if !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: %v does not name line 2", line, err)
		}
	}
}

// filler is a long comment.
var filler = []byte("# " + strings.Repeat("x", 64<<10) + "\n")

// serve answers every request with one page.
func serve(t *testing.T, contentType string, status int, body []byte) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		w.Write(body)
	}))
	t.Cleanup(s.Close)
	return s.URL + "/metrics"
}

func query(t *testing.T, address, selector string) (float64, error) {
	t.Helper()
	e, err := New(address)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	s, err := ParseSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	return e.Query(context.Background(), s)
}

func TestQuery(t *testing.T) {
	long := append(bytes.Repeat(filler, MaxBody/len(filler)+1), "late 1\n"...)
	for _, c := range []struct {
		name, contentType string
		status            int
		body, want        string
	}{
		{"text", "text/plain; version=0.0.4; charset=utf-8", 200, example, ""},
		{"no type", "", 200, example, ""},
		{"OpenMetrics", "application/openmetrics-text; version=1.0.0; charset=utf-8", 200, example + "# EOF\n", ""},
		{"OpenMetrics cut off", "application/openmetrics-text; version=1.0.0", 200, example, "cut off"},
		{"page of another kind", "text/html; charset=utf-8", 200, "<html>", "text/html"},
		{"protobuf", "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily", 200, "\x01", "protobuf"},
		{"not found", "text/plain", 404, "404 page not found", "404"},
		{"not metrics", "text/plain", 200, "Hello, world!", "line 1"},
		{"too long", "text/plain", 200, string(long), "16 MiB"},
	} {
		v, err := query(t, serve(t, c.contentType, c.status, []byte(c.body)), "metric_without_timestamp_and_labels")
		switch {
		case c.want == "" && (err != nil || v != 12.47):
			t.Errorf("%s: %v, %v", c.name, v, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q in it", c.name, err, c.want)
		}
	}
}

// TestLimit: the limit is a page's length, not one byte less.
func TestLimit(t *testing.T) {
	for _, c := range []struct {
		size int
		want error
	}{{10, nil}, {11, ErrTooLong}} {
		b, err := io.ReadAll(&limited{r: strings.NewReader(strings.Repeat("x", c.size)), left: 10})
		if len(b) != 10 || !errors.Is(err, c.want) {
			t.Errorf("%d bytes: %d, %v, want %v", c.size, len(b), err, c.want)
		}
	}
}

// TestGzipBomb: the limit is one of the unpacked page.
func TestGzipBomb(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		for range 2 * MaxBody / len(filler) {
			if _, err := z.Write(filler); err != nil {
				return
			}
		}
		z.Close()
	}))
	defer s.Close()
	if _, err := query(t, s.URL, "a"); !errors.Is(err, ErrTooLong) {
		t.Errorf("got %v, want ErrTooLong", err)
	}
}

func TestSilentServer(t *testing.T) {
	done := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-done:
		case <-r.Context().Done():
		}
	}))
	defer s.Close()
	defer close(done)
	e, err := New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	sel, _ := ParseSelector("a")
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := e.Query(ctx, sel); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's end", err)
	}
	if e.client.Timeout != 2*time.Second {
		t.Errorf("timeout is %v", e.client.Timeout)
	}
	if _, err := e.Query(context.Background(), sel); err == nil || !strings.Contains(err.Error(), "Timeout") {
		t.Errorf("got %v, want a timeout", err)
	}
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + l.Addr().String() + "/metrics"
	l.Close()
	if _, err := query(t, address, "a"); err == nil || strings.Count(err.Error(), address) != 1 {
		t.Errorf("got %v, want an error that names %s once", err, address)
	}
}

func TestUnixSocket(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("sockets of the file system are tested on Linux")
	}
	socket := filepath.Join(t.TempDir(), "metrics.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "asked{path=%q} 1\n", r.URL.Path)
	}))
	s.Listener.Close()
	s.Listener = l
	s.Start()
	defer s.Close()
	for address, path := range map[string]string{"unix:" + socket: "/metrics", "unix:" + socket + ":/a/b": "/a/b"} {
		if v, err := query(t, address, fmt.Sprintf("asked{path=%q}", path)); err != nil || v != 1 {
			t.Errorf("%s: %v, %v", address, v, err)
		}
	}
}

func TestAddressesRefused(t *testing.T) {
	for _, a := range []string{"", "metrics", "ftp://host/metrics", "http://", "unix:", "unix:relative.sock", "unix:/x.sock:metrics", "http://%zz/"} {
		if _, err := New(a); err == nil {
			t.Errorf("%q: no error", a)
		}
	}
}

// FuzzParse reads pages and selectors of any form. What can be read has to be
// found again by the selector that its own String makes.
func FuzzParse(f *testing.F) {
	f.Add(example, `http_requests_total{code=~"4.."}`)
	f.Add("a{b=\"\\\\\\\"\\n\\x\"} 1 2 # {c=\"d\"} 3 4\n# EOF\n", `sum(a{b!="x",c!~'y'})`)
	f.Add("{\"a b\",\"c d\"=\"e\"} NaN", "{\"a b\"}")
	f.Fuzz(func(t *testing.T, page, selector string) {
		s, selErr := ParseSelector(selector)
		if selErr != nil && (s.text != "" || s.matchers != nil) {
			t.Errorf("selector %q: %v with %+v", selector, selErr, s)
		}
		sc := NewScanner(strings.NewReader(page))
		for sc.Scan() {
			sample := sc.Sample()
			own, err := ParseSelector(sample.String())
			if err != nil {
				if quotable(sample) {
					t.Fatalf("series %q: %v", sample.String(), err)
				}
				continue
			}
			if quotable(sample) && !own.Match(sample) {
				t.Fatalf("selector %s does not match its own series", own)
			}
		}
		if selErr == nil {
			s.Eval(NewScanner(strings.NewReader(page)))
		}
	})
}

// quotable tells whether String's Go quotes mean the same in a selector, and no
// label comes twice.
func quotable(s *Sample) bool {
	seen := map[string]bool{"__name__": true}
	if s.Name == "" || strings.ContainsFunc(s.Name, odd) {
		return false
	}
	for _, l := range s.Labels {
		if seen[l.Name] || strings.ContainsFunc(l.Name+l.Value, odd) {
			return false
		}
		seen[l.Name] = true
	}
	return true
}

func odd(r rune) bool { return r < ' ' && r != '\n' || r > '~' }
