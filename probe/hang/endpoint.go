package hang

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"syscall"
	"time"
)

// Endpoint asks a server for an answer, at most once a second and never twice
// at a time.
//
// A web server answers if it sends complete response headers; every status is
// an answer, and so is what is no HTTP. A TCP server answers if it accepts the
// connection. The kernel completes connections that nobody has accepted yet as
// long as the backlog is not full, so /proc/net/tcp is looked at too: if it
// shows the server's end, that has to be accepted; for a server elsewhere, the
// completed connection is the answer.
//
// A server that refuses connections is down rather than hung; after Limit it
// counts as hung, and the reason says "down". A host that cannot be found or
// reached says nothing about the process: the state is Unknown.
type Endpoint struct {
	name   string
	limit  time.Duration
	period time.Duration
	try    func(context.Context) error // one request; nil is an answer
	idle   func()                      // ends what a request leaves behind

	mu       sync.Mutex
	answered bool      // there was an answer
	began    time.Time // the last request; zero: none yet
	pending  bool      // it is under way
	stage    string    // what it waits for, where that is known
	since    time.Time // the first request without an answer since the last answer
	why      string    // what became of the last request
	lost     string    // why nothing can be said about the process; "" if something can
	cancel   context.CancelFunc
	age      int // of what is observed: Forget begins a new one
	running  sync.WaitGroup
	closed   bool
}

// URL prepares asking http://…, https://… or tcp://HOST:PORT. Certificates are
// not verified: who answers is not hung, whoever it is. Redirects are answers,
// and no proxy is used. pid is the server's process, 0 if unknown: in a network
// namespace of its own, its connections are found there. The host's name must
// exist now; the server need not run yet.
func URL(address string, pid int) (*Endpoint, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("hang: %w", err)
	}
	e := &Endpoint{name: u.Redacted(), limit: Limit, period: Period, idle: func() {}}
	switch u.Scheme {
	case "http", "https":
		if u.Hostname() == "" {
			return nil, fmt.Errorf("hang: address %q: no host", address)
		}
		e.web(u.String())
	case "tcp":
		if u.Hostname() == "" || u.Port() == "" || u.Path != "" && u.Path != "/" {
			return nil, fmt.Errorf("hang: address %q: want tcp://HOST:PORT", address)
		}
		e.tcp(u.Host, pid)
	default:
		return nil, fmt.Errorf("hang: address %q: want http://…, https://… or tcp://HOST:PORT", address)
	}
	if net.ParseIP(u.Hostname()) == nil {
		ctx, cancel := context.WithTimeout(context.Background(), Limit)
		defer cancel()
		if _, err := net.DefaultResolver.LookupHost(ctx, u.Hostname()); err != nil {
			return nil, fmt.Errorf("hang: %w", err)
		}
	}
	return e, nil
}

func (e *Endpoint) web(address string) {
	transport := &http.Transport{
		// Each request makes its own connection, so that a server that no
		// longer accepts any is noticed.
		DisableKeepAlives:  true,
		DisableCompression: true,
		ForceAttemptHTTP2:  true,
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: true},
	}
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	e.idle = transport.CloseIdleConnections
	e.try = func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return err
		}
		req.Header.Set("User-Agent", "procdump")
		resp, err := client.Do(req)
		if err != nil {
			var u *url.Error
			if errors.As(err, &u) {
				err = u.Err
			}
			return err
		}
		return resp.Body.Close()
	}
}

func (e *Endpoint) tcp(address string, pid int) {
	e.try = func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		defer conn.Close()
		e.mu.Lock()
		if ctx.Err() == nil { // else another request may be under way
			e.stage = notAccepted
		}
		e.mu.Unlock()
		return awaitAccept(ctx, conn, pid)
	}
}

// Check begins a request if none is under way and it is time for one.
func (e *Endpoint) Check(now time.Time) (State, string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return Unknown, "", fmt.Errorf("hang: %s: %w", e.name, net.ErrClosed)
	}
	if !e.pending && (e.began.IsZero() || now.Sub(e.began) >= e.period) {
		e.ask(now)
	}
	if e.lost != "" {
		return Unknown, e.name + ": " + e.lost, nil
	}
	since, why := e.since, e.why
	if since.IsZero() && e.pending {
		since, why = e.began, e.stage
	}
	silent := now.Sub(since)
	switch {
	case !since.IsZero() && silent >= e.limit:
		if why == "" {
			why = "no answer"
		}
		return Hung, fmt.Sprintf("%s: %s for %s", e.name, why, seconds(silent)), nil
	case !e.since.IsZero():
		return Silent, fmt.Sprintf("%s: %s for %s", e.name, e.why, seconds(silent)), nil
	case e.answered:
		return Answering, "", nil
	}
	return Unknown, e.name + ": no answer yet", nil
}

// ask begins a request. The lock is held.
func (e *Endpoint) ask(now time.Time) {
	ctx, cancel := context.WithTimeout(context.Background(), e.limit)
	e.pending, e.stage, e.began, e.cancel = true, "", now, cancel
	age := e.age
	e.running.Add(1)
	go func() {
		defer e.running.Done()
		defer cancel()
		err := e.try(ctx)
		e.mu.Lock()
		defer e.mu.Unlock()
		if age != e.age {
			return
		}
		e.learn(now, err)
	}()
}

// learn takes in what became of the request begun at that time.
func (e *Endpoint) learn(began time.Time, err error) {
	failure, lost := judge(err)
	e.pending, e.lost = false, lost
	switch {
	case lost != "":
		e.since, e.why = time.Time{}, ""
	case failure == "":
		e.answered, e.since, e.why = true, time.Time{}, ""
	default:
		if e.since.IsZero() {
			e.since = began
		}
		e.why = failure
	}
}

const notAccepted = "connection not accepted"

// judge tells what an error of a request means: nothing if the server has
// answered, a failure of the server, or a reason why it says nothing about it.
func judge(err error) (failure, lost string) {
	var dns *net.DNSError
	var netErr net.Error
	switch {
	case err == nil:
		return "", ""
	case errors.As(err, &dns):
		return "", "cannot be asked: " + err.Error()
	case errors.Is(err, errNotAccepted):
		return notAccepted, ""
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return "no answer", ""
	case errors.Is(err, syscall.ECONNREFUSED):
		return "down: connection refused", ""
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed without an answer", ""
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return "", "cannot be asked: " + err.Error()
	}
	// Bytes came that are no HTTP or no TLS: the process is at work.
	return "", ""
}

// Forget drops what was observed, and the request under way.
func (e *Endpoint) Forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.forget()
}

func (e *Endpoint) forget() {
	if e.cancel != nil {
		e.cancel()
	}
	e.age++
	e.pending, e.answered = false, false
	e.since, e.began, e.why, e.lost = time.Time{}, time.Time{}, "", ""
}

// Close ends the request under way and waits for its end.
func (e *Endpoint) Close() error {
	e.mu.Lock()
	e.closed = true
	e.forget()
	e.mu.Unlock()
	e.running.Wait()
	e.idle()
	return nil
}
