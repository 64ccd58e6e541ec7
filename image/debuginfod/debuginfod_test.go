package debuginfod

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// server serves files by their path and counts what it is asked for.
type server struct {
	*httptest.Server
	files map[string]string
	asked []string
}

func serve(t *testing.T, files map[string]string) *server {
	t.Helper()
	s := &server{files: files}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked = append(s.asked, r.URL.Path)
		switch body, ok := s.files[r.URL.Path]; {
		case body == "broken":
			w.WriteHeader(http.StatusInternalServerError)
		case body == "silent":
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		case body == "elsewhere":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		case ok:
			fmt.Fprint(w, body)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// environment is one with a cache of the test's own, unless it says otherwise.
func environment(t *testing.T, vars ...string) func(string) string {
	t.Helper()
	all := map[string]string{"DEBUGINFOD_CACHE_PATH": t.TempDir()}
	for _, v := range vars {
		name, value, _ := strings.Cut(v, "=")
		all[name] = value
	}
	return func(name string) string { return all[name] }
}

var id = []byte{0xab, 1, 2, 3, 4, 5, 6, 7}

const (
	path = "/buildid/ab01020304050607/"
	body = elfMagic + "a file"
)

func anything(string) error { return nil }

func fetched(t *testing.T, c *Client) string {
	t.Helper()
	file := c.Fetch(id, "debuginfo", anything)
	if file == "" {
		return ""
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestOff(t *testing.T) {
	for _, urls := range []string{"", "  ", "ima:enforcing"} {
		if c := New(t.Context(), environment(t, "DEBUGINFOD_URLS="+urls)); c != nil {
			t.Errorf("%q: %+v", urls, c)
		}
	}
}

// TestFetch gets a file from the second of two servers, and then from the cache,
// which has the folders and modes of elfutils.
func TestFetch(t *testing.T) {
	first, second := serve(t, nil), serve(t, map[string]string{path + "debuginfo": body})
	env := environment(t, "DEBUGINFOD_URLS="+first.URL+" "+second.URL+"/")
	c := New(t.Context(), env)
	for range 2 {
		if got := fetched(t, c); got != body {
			t.Errorf("got %q, %q", got, c.Warnings())
		}
	}
	if len(first.asked) != 1 || len(second.asked) != 1 || c.Warnings() != nil {
		t.Errorf("asked %q and %q; %q", first.asked, second.asked, c.Warnings())
	}
	st, err := os.Stat(filepath.Join(env("DEBUGINFOD_CACHE_PATH"), "ab01020304050607", "debuginfo"))
	if err != nil || st.Mode().Perm() != 0o400 {
		t.Errorf("%v, %v", st, err)
	}
	files, _ := filepath.Glob(filepath.Join(env("DEBUGINFOD_CACHE_PATH"), "*", "*"))
	if len(files) != 1 {
		t.Errorf("the cache holds %q", files)
	}
}

// TestMiss: that nobody has a file is remembered for the time that the cache
// states, and no failure.
func TestMiss(t *testing.T) {
	s := serve(t, nil)
	env := environment(t, "DEBUGINFOD_URLS="+s.URL)
	for range 2 {
		c := New(t.Context(), env)
		if got := fetched(t, c); got != "" || c.Warnings() != nil {
			t.Errorf("got %q, %q", got, c.Warnings())
		}
	}
	if len(s.asked) != 1 {
		t.Errorf("asked %q", s.asked)
	}
	s.files = map[string]string{path + "debuginfo": body}
	if err := os.WriteFile(filepath.Join(env("DEBUGINFOD_CACHE_PATH"), missFile), []byte("0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := fetched(t, New(t.Context(), env)); got != body {
		t.Errorf("got %q after the time", got)
	}
}

// TestFailures: whatever goes wrong is one warning, leaves nothing in the cache,
// and does not keep another server from being asked.
func TestFailures(t *testing.T) {
	closed := serve(t, nil)
	closed.Close()
	for _, c := range []struct{ name, body, url, more, warning string }{
		{"refused", "", closed.URL, "", "connection refused; it is not asked again"},
		{"broken", "broken", "", "", "500 Internal Server Error"},
		{"no ELF file", "<html>", "", "", "what came is no ELF file"},
		{"empty", "", "", "", "what came is no ELF file"},
		{"silent", "silent", "", "DEBUGINFOD_TIMEOUT=1", "fewer than 100 KiB came in 1s"},
		{"slow", "silent", "", "DEBUGINFOD_MAXTIME=1", "it took longer than 1s (DEBUGINFOD_MAXTIME)"},
		{"too large", body, "", "DEBUGINFOD_MAXSIZE=5", "more than 5 are not fetched"},
		{"redirected", "elsewhere", "", "", "redirected too often or to no server"},
		{"no server", "", "gopher://x", "", "unsupported protocol scheme"},
		{"another file", body + "other", "", "", "does not fit"},
		{"signature", body, "ima:enforcing", "", "signatures cannot be checked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad := serve(t, map[string]string{path + "debuginfo": c.body})
			url := c.url
			if url == "" || strings.HasPrefix(url, "ima:") {
				url += " " + bad.URL
			}
			env := environment(t, "DEBUGINFOD_URLS="+url, c.more)
			x := New(t.Context(), env)
			fits := func(file string) error {
				if b, err := os.ReadFile(file); err != nil || strings.HasSuffix(string(b), "other") {
					return errors.Join(err, errors.New("it does not fit"))
				}
				return nil
			}
			for range 2 {
				if file := x.Fetch(id, "debuginfo", fits); file != "" {
					t.Fatalf("got %s", file)
				}
			}
			w := x.Warnings()
			if len(w) != 1 || !strings.Contains(w[0], c.warning) {
				t.Errorf("warnings %q", w)
			}
			left, _ := filepath.Glob(filepath.Join(env("DEBUGINFOD_CACHE_PATH"), "*", "*"))
			if len(left) != 0 {
				t.Errorf("the cache holds %q", left)
			}
			if c.url == "ima:enforcing" || c.name == "too large" {
				return
			}
			good := serve(t, map[string]string{path + "debuginfo": body})
			x = New(t.Context(), environment(t, "DEBUGINFOD_URLS="+url+" "+good.URL, c.more))
			if bad := x.servers[0]; c.body == "silent" { // it would be given up, and the good one is to have its time
				x = New(t.Context(), environment(t, "DEBUGINFOD_URLS="+url+" "+good.URL))
				x.dead[bad] = true
			}
			if file := x.Fetch(id, "debuginfo", fits); file == "" {
				t.Errorf("the other server was not asked: %q", x.Warnings())
			}
		})
	}
}

// TestPassword: that of a server is in no warning.
func TestPassword(t *testing.T) {
	c := New(t.Context(), environment(t, "DEBUGINFOD_URLS=http://user:s3cret@127.0.0.1:1"))
	if fetched(t, c); len(c.Warnings()) != 1 || strings.Contains(c.Warnings()[0], "s3cret") {
		t.Errorf("%q", c.Warnings())
	}
	s := serve(t, map[string]string{path + "debuginfo": "broken"})
	c = New(t.Context(), environment(t, "DEBUGINFOD_URLS="+strings.Replace(s.URL, "//", "//user:s3cret@", 1)))
	if fetched(t, c); len(c.Warnings()) != 1 || strings.Contains(c.Warnings()[0], "s3cret") {
		t.Errorf("%q", c.Warnings())
	}
}

// TestBounds: no more is asked for when all is spent.
func TestBounds(t *testing.T) {
	s := serve(t, map[string]string{path + "debuginfo": body})
	for name, spend := range map[string]func(*Client){
		"requests": func(c *Client) { c.requests = maxRequests },
		"bytes":    func(c *Client) { c.left = 0 },
		"time":     func(c *Client) { c.deadline = time.Now().Add(-time.Second) },
	} {
		s.asked = nil
		c := New(t.Context(), environment(t, "DEBUGINFOD_URLS="+s.URL))
		spend(c)
		for range 3 {
			if got := fetched(t, c); got != "" || len(s.asked) > 0 {
				t.Errorf("%s: got %q", name, got)
			}
		}
		if w := c.Warnings(); len(w) != 1 || !strings.Contains(w[0], "no more is asked for") || strings.Contains(w[0], "failures") {
			t.Errorf("%s: warnings %q", name, w)
		}
	}
}

func TestCachePlaces(t *testing.T) {
	home := t.TempDir()
	for _, c := range []struct{ env, want string }{
		{"", filepath.Join(home, ".cache/debuginfod_client")},
		{"XDG_CACHE_HOME=/x", "/x/debuginfod_client"},
		{"HOME=", ""},
	} {
		env := environment(t, "HOME="+home, "DEBUGINFOD_CACHE_PATH=", c.env)
		if got := newCache(env).dir; got != c.want {
			t.Errorf("%q: %q", c.env, got)
		}
	}
	old := filepath.Join(home, ".debuginfod_client_cache")
	if err := os.Mkdir(old, 0o700); err != nil {
		t.Fatal(err)
	}
	if got := newCache(environment(t, "HOME="+home, "DEBUGINFOD_CACHE_PATH=")).dir; got != old {
		t.Errorf("the old folder is not used, but %q", got)
	}
}

// TestClean: files that were not used for long go, others stay.
func TestClean(t *testing.T) {
	dir := t.TempDir()
	c := cache{dir}
	long := time.Now().Add(-30 * 24 * time.Hour)
	files := map[string]bool{ // whether they stay
		"ab/debuginfo": false, "ab/executable.123": false, "cd/debuginfo": true, "notes/debuginfo": true, "ab/else": true, "ef/executable": false,
	}
	for name := range files {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte("x"), 0o600), os.Chtimes(file, long, long)); err != nil {
			t.Fatal(err)
		}
	}
	if path, _, err := c.find("cd", "debuginfo"); path == "" || err != nil { // that is a use
		t.Fatal(path, err)
	}
	c.clean() // the first time it notes when
	if _, err := os.Stat(filepath.Join(dir, "ab/debuginfo")); err != nil {
		t.Errorf("cleaned at once: %v", err)
	}
	if err := os.Chtimes(filepath.Join(dir, intervalFile), long, long); err != nil {
		t.Fatal(err)
	}
	c.clean()
	for name, stays := range files {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != stays {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "ef")); err == nil {
		t.Error("an empty folder stays")
	}
}
