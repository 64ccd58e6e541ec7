package e2e

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"procdump/victims"
)

// metrics serves jobs on an address until the test ends or it is closed.
type metrics struct {
	*http.Server
	jobs    atomic.Int64
	fetches atomic.Int64
}

func serveMetrics(t *testing.T, address string) (m *metrics, url string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	m = &metrics{}
	m.Server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		m.fetches.Add(1)
		fmt.Fprintf(w, "jobs %d\n", m.jobs.Load())
	})}
	go m.Serve(l)
	t.Cleanup(func() { m.Close() })
	return m, "http://" + l.Addr().String() + "/metrics"
}

// TestEndpointGoes: an endpoint that answers no more is told of once, holds up
// no other trigger of any process, and counts again when it is back.
func TestEndpointGoes(t *testing.T) {
	const n = 30
	name := sleepers(t, n)
	server, url := serveMetrics(t, "127.0.0.1:0")
	w := watch(t, "-all", "-p", "prom:"+url+"#jobs", "5", "-s", "0", name, "FOLDER")
	w.await("watching", n)
	for deadline := time.Now().Add(victims.Timeout); server.fetches.Load() < 3 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	server.Close()
	gone := w.await("warning", 1)
	if !strings.Contains(gone.Message, "refused") {
		t.Errorf("warning %q, want that the connection is refused", gone.Message)
	}
	back, _ := serveMetrics(t, strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/metrics"))
	back.jobs.Store(7)
	w.await("complete", n)
	if code := w.end(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if all := w.events("warning"); len(all) != 1 {
		t.Errorf("%d warnings, want one: %v", len(all), all)
	}
}

// TestEndpointMissing: an endpoint that is not there is an error at the start,
// said once.
func TestEndpointMissing(t *testing.T) {
	name := sleepers(t, 5)
	begin := time.Now()
	r := procdump(t, "-json", "-all", "-p", "prom:http://127.0.0.1:1/metrics#jobs", "5", name, t.TempDir()+"/")
	var errs []string
	for _, e := range r.events {
		if e.Event == "error" {
			errs = append(errs, e.Message)
		}
	}
	if r.code != 1 || len(errs) != 1 || !strings.Contains(errs[0], "refused") {
		t.Errorf("errors %q after %v; %v", errs, time.Since(begin), r)
	}
}

// TestEndpointLate: an endpoint may come with the process that is waited for.
func TestEndpointLate(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	name := "late" + fmt.Sprint(time.Now().UnixNano()%1e6)
	w := watch(t, "-w", "-p", "prom:http://"+address+"/metrics#jobs", "5", "-s", "0", name, "FOLDER")
	w.await("note", 1)
	sleepersNamed(t, name, 1)
	w.await("watching", 1)
	w.await("warning", 1)
	server, _ := serveMetrics(t, address)
	server.jobs.Store(9)
	if e := w.await("complete", 1); e.Path == "" {
		t.Error("no dump")
	}
	if code := w.end(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}
