// Package prom reads one number from a Prometheus endpoint: it fetches the
// page and picks the series that a selector names.
//
// Understood are the text exposition format 0.0.4 and OpenMetrics 1.0:
//
//	# HELP http_requests_total Requests served.
//	# TYPE http_requests_total counter
//	http_requests_total{method="post",code="200"} 1027 1395066363000
//	http_requests_total{code="500"} 3 # {trace_id="KOO5S4vxi0o"} 1.0
//	# EOF
//
// Comments, types, timestamps and exemplars are checked for form and passed
// over. The protobuf format is not supported; the request does not ask for it.
//
// Formats: https://prometheus.io/docs/instrumenting/exposition_formats/ and
// https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md
package prom

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Timeout bounds one fetch, from connecting to the last byte.
const Timeout = 2 * time.Second

// MaxBody is the longest page that is read, in bytes after decompression.
const MaxBody = 16 << 20

// ErrTooLong means that the page is longer than MaxBody.
var ErrTooLong = errors.New("prom: page is longer than 16 MiB")

// Endpoint is a page of metrics. It is safe for concurrent use.
type Endpoint struct {
	name   string // what the user wrote
	url    string
	client *http.Client
}

// New prepares the fetching of a page; it connects to nothing yet. The address
// is an http or https URL, or unix:SOCKET:PATH for a server that listens on a
// socket of the file system; PATH is /metrics if left out.
func New(address string) (*Endpoint, error) {
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		MaxIdleConnsPerHost:    1,
		MaxResponseHeaderBytes: 1 << 20,
		ForceAttemptHTTP2:      true,
	}
	e := &Endpoint{name: address, url: address, client: &http.Client{Transport: transport, Timeout: Timeout}}
	if rest, ok := strings.CutPrefix(address, "unix:"); ok {
		socket, path, found := strings.Cut(rest, ":")
		if !found {
			path = "/metrics"
		}
		if !strings.HasPrefix(socket, "/") || !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("prom: address %q: want unix:/PATH/OF/SOCKET:/metrics", address)
		}
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}
		e.url = "http://localhost" + path
		return e, nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("prom: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("prom: address %q: want http://HOST:PORT/metrics, https://… or unix:/SOCKET:/metrics", address)
	}
	return e, nil
}

// Answer is the number that a selector picks of a page, or why there is none.
type Answer struct {
	Value float64
	Err   error
}

// Query fetches the page and returns the number that the selector picks.
func (e *Endpoint) Query(ctx context.Context, s Selector) (float64, error) {
	a := e.QueryAll(ctx, []Selector{s})[0]
	return a.Value, a.Err
}

// QueryAll fetches the page once and returns what each selector picks. If there
// is no page all of them say so.
func (e *Endpoint) QueryAll(ctx context.Context, all []Selector) []Answer {
	parts := make([]*evaluation, len(all))
	for i, s := range all {
		parts[i] = newEvaluation(s)
	}
	err := e.fetch(ctx, parts)
	out := make([]Answer, len(all))
	for i, p := range parts {
		a := &out[i]
		if a.Err = err; err == nil {
			a.Value, a.Err = p.result()
		}
		if a.Err != nil {
			*a = Answer{Err: fmt.Errorf("read metrics of %s: %w", e.name, a.Err)}
		}
	}
	return out
}

// fetch gives each sample of the page to all parts.
func (e *Endpoint) fetch(ctx context.Context, parts []*evaluation) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1")
	req.Header.Set("User-Agent", "procdump")
	resp, err := e.client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the address is named already
		}
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("server answers %s", resp.Status)
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch kind {
	case "text/plain", "application/openmetrics-text", "application/octet-stream", "":
	default:
		return fmt.Errorf("%w: server sends %s", ErrFormat, kind)
	}
	sc := NewScanner(&limited{r: resp.Body, left: MaxBody})
	for sc.Scan() {
		for _, p := range parts {
			p.add(sc.Sample())
		}
	}
	if err := sc.Err(); err != nil {
		return err
	}
	if kind == "application/openmetrics-text" && !sc.SawEOF() {
		return fmt.Errorf("%w: page was cut off: no # EOF at its end", ErrFormat)
	}
	return nil
}

// Close closes connections that are kept for the next fetch.
func (e *Endpoint) Close() error {
	e.client.CloseIdleConnections()
	return nil
}

// limited fails where io.LimitReader would feign the page's end.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(b []byte) (int, error) {
	if l.left <= 0 {
		// Only a byte beyond the limit makes the page too long.
		var one [1]byte
		if n, err := io.ReadFull(l.r, one[:]); n == 0 {
			return 0, err
		}
		return 0, ErrTooLong
	}
	n, err := l.r.Read(b[:min(int64(len(b)), l.left)])
	l.left -= int64(n)
	return n, err
}
