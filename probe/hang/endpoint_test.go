package hang

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// endpoint opens one whose patience is short.
func endpoint(t *testing.T, address string, limit time.Duration) *Endpoint {
	t.Helper()
	e, err := URL(address, 0)
	if err != nil {
		t.Fatal(err)
	}
	e.limit, e.period = limit, 20*time.Millisecond
	t.Cleanup(func() { e.Close() })
	return e
}

func await(t *testing.T, c Checker, want State) (reason string) {
	t.Helper()
	waitUntil(t, want.String(), func() bool {
		s, r, err := c.Check(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		reason = r
		return s == want
	})
	return reason
}

func waitUntil(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited 30 s for: %s", what)
		}
	}
}

func TestWebServer(t *testing.T) {
	var stuck atomic.Bool
	var status atomic.Int32
	status.Store(200)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if stuck.Load() {
			<-r.Context().Done()
			return
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(int(status.Load()))
	})
	for _, s := range []*httptest.Server{httptest.NewServer(h), httptest.NewTLSServer(h)} {
		defer s.Close()
		s.Config.ErrorLog = nil
		e := endpoint(t, s.URL, 200*time.Millisecond)
		if state, _, _ := e.Check(time.Now()); state != Unknown && state != Answering {
			t.Errorf("before an answer: %s", state)
		}
		await(t, e, Answering)
		for _, code := range []int32{500, 404, 302, 204} {
			status.Store(code)
			e.Forget()
			await(t, e, Answering)
		}
		stuck.Store(true)
		if reason := await(t, e, Hung); !strings.Contains(reason, s.URL) || !strings.Contains(reason, "no answer for") {
			t.Errorf("reason %q", reason)
		}
		// It stays hung while it is asked again.
		for range 20 {
			if state, _, _ := e.Check(time.Now()); state != Hung {
				t.Errorf("became %s without an answer", state)
			}
			time.Sleep(20 * time.Millisecond)
		}
		stuck.Store(false)
		await(t, e, Answering)
	}
}

// TestPatience: it is the limit that makes silence a hang, and an answer within
// it is one.
func TestPatience(t *testing.T) {
	e := &Endpoint{name: "x", limit: Limit, period: time.Hour} // it begins none by itself
	at := func(s float64) time.Time { return time.Unix(1000, 0).Add(time.Duration(s * float64(time.Second))) }
	ask := func(s float64) { e.pending, e.began = true, at(s) }
	expect := func(s float64, want State, words string) {
		t.Helper()
		state, reason, err := e.Check(at(s))
		if state != want || err != nil || !strings.Contains(reason, words) {
			t.Errorf("after %v s: %s (%s), %v, want %s (%s)", s, state, reason, err, want, words)
		}
	}
	ask(0)
	expect(4.9, Unknown, "no answer yet")
	expect(5, Hung, "no answer for 5 s")
	e.learn(at(0), nil)
	expect(5.5, Answering, "")
	ask(6)
	expect(10.9, Answering, "")
	expect(11, Hung, "no answer for 5 s")
	e.learn(at(6), nil)
	// Failures one after the other are one silence.
	ask(12)
	e.learn(at(12), errNotAccepted)
	expect(12.5, Silent, "not accepted for 0.5 s")
	ask(13)
	e.learn(at(13), errNotAccepted)
	ask(14)
	expect(16.5, Silent, "not accepted for 4.5 s")
	expect(17, Hung, "not accepted for 5 s")
	e.learn(at(14), nil)
	expect(17, Answering, "")
	// What says nothing about the server ends it, too.
	ask(18)
	e.learn(at(18), errNotAccepted)
	ask(19)
	e.learn(at(19), &net.DNSError{Err: "no such host", Name: "x"})
	expect(30, Unknown, "cannot be asked")
	ask(30)
	e.learn(at(30), nil)
	expect(31, Answering, "")
	ask(32)
	e.Forget()
	if e.pending || !e.began.IsZero() {
		t.Error("the request under way is not forgotten")
	}
}

func TestDown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	for _, scheme := range []string{"tcp://", "http://"} {
		e := endpoint(t, scheme+address, 300*time.Millisecond)
		if reason := await(t, e, Hung); !strings.Contains(reason, "down: connection refused for") {
			t.Errorf("reason %q", reason)
		}
	}
}

// TestNotHTTP: a server that says anything is at work.
func TestNotHTTP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("SSH-2.0-OpenSSH_9.2p1 Debian\r\n"))
			c.(*net.TCPConn).CloseWrite()
			time.AfterFunc(time.Second, func() { c.Close() })
		}
	}()
	await(t, endpoint(t, "http://"+l.Addr().String(), time.Minute), Answering)
	await(t, endpoint(t, "https://"+l.Addr().String(), time.Minute), Answering)
	await(t, endpoint(t, "tcp://"+l.Addr().String(), time.Minute), Answering)
}

// TestClosedWithoutAnswer: accepting and closing is no answer of a web server.
func TestClosedWithoutAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	if reason := await(t, endpoint(t, "http://"+l.Addr().String(), 300*time.Millisecond), Hung); !strings.Contains(reason, "closed without an answer") {
		t.Errorf("reason %q", reason)
	}
	await(t, endpoint(t, "tcp://"+l.Addr().String(), time.Minute), Answering)
}

func TestAddresses(t *testing.T) {
	for _, a := range []string{"", "localhost", "localhost:80", "ftp://localhost", "http://", "tcp://localhost", "tcp://:80", "tcp://localhost:80/x", "http://%zz"} {
		if e, err := URL(a, 0); err == nil {
			e.Close()
			t.Errorf("%q: no error", a)
		}
	}
	if _, err := URL("http://no-such-host.invalid/", 0); err == nil || !strings.Contains(err.Error(), "no-such-host.invalid") {
		t.Errorf("host that does not exist: %v", err)
	}
	e, err := URL("http://user:secret@127.0.0.1:1/", 0)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(e.name, "secret") {
		t.Errorf("the password is in %s", e.name)
	}
	e.Close()
	if _, _, err := e.Check(time.Now()); err == nil {
		t.Error("closed, and still checked")
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		err          error
		failed, lost bool
	}{
		{nil, false, false},
		{&net.DNSError{Err: "no such host", Name: "x", IsTimeout: true}, false, true},
		{&net.OpError{Op: "dial", Err: net.UnknownNetworkError("x")}, false, true},
		{tls.RecordHeaderError{Msg: "not TLS"}, false, false},
		{errNotAccepted, true, false},
	} {
		failure, lost := judge(c.err)
		if (failure != "") != c.failed || (lost != "") != c.lost {
			t.Errorf("%v: %q, %q", c.err, failure, lost)
		}
	}
}
