package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"procdump/victims"
	"procdump/victims/need"
)

// TestServersUnderLoad dumps servers from clones while clients ask them: none of
// the clients sees an error.
func TestServersUnderLoad(t *testing.T) {
	need.Root(t)
	for name, start := range map[string]func(*testing.T) (pid int, dial func() (client, error)){"redis": startRedis, "nginx": startNginx} {
		t.Run(name, func(t *testing.T) {
			pid, dial := start(t)
			load := beginLoad(t, dial)
			dumps := 3
			if need.Long() {
				dumps = 10
			}
			path := filepath.Join(t.TempDir(), "x.core")
			for range dumps {
				before := load.answers.Load()
				r := procdump(t, "-ma", "-r", "-o", "-json", strconv.Itoa(pid), path)
				if r.code != 0 || !strings.Contains(r.stdout, `"method":"clone"`) {
					t.Fatal(r)
				}
				load.await(before + 100)
			}
			load.end()
		})
	}
}

// client is a connection to a server. ask asks once, and looks at the answer.
type client interface {
	ask(n int) error
	Close() error
}

// load is clients who ask as fast as they are answered.
type load struct {
	t       *testing.T
	answers atomic.Int64
	longest atomic.Int64 // ns
	stop    chan struct{}
	clients sync.WaitGroup
	ended   sync.Once
}

func beginLoad(t *testing.T, dial func() (client, error)) *load {
	l := &load{t: t, stop: make(chan struct{})}
	t.Cleanup(l.end)
	for i := range 4 {
		c, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		l.clients.Go(func() {
			defer c.Close()
			for n := i; ; n += 4 {
				select {
				case <-l.stop:
					return
				default:
				}
				begin := time.Now()
				if err := c.ask(n); err != nil {
					t.Errorf("a client, at %d: %v", n, err)
					return
				}
				l.answers.Add(1)
				for took := int64(time.Since(begin)); ; {
					if most := l.longest.Load(); took <= most || l.longest.CompareAndSwap(most, took) {
						break
					}
				}
			}
		})
	}
	l.await(100)
	return l
}

// await waits for as many answers in all.
func (l *load) await(answers int64) {
	l.t.Helper()
	for deadline := time.Now().Add(victims.Timeout); l.answers.Load() < answers; time.Sleep(time.Millisecond) {
		if l.t.Failed() || time.Now().After(deadline) {
			l.t.Fatalf("%d answers, waiting for %d", l.answers.Load(), answers)
		}
	}
}

func (l *load) end() {
	l.ended.Do(func() {
		close(l.stop)
		l.clients.Wait()
		l.t.Logf("%d answers, the slowest after %v", l.answers.Load(), time.Duration(l.longest.Load()))
	})
}

// serve starts a server and waits for its socket.
func serve(t *testing.T, socket, program string, args ...string) int {
	t.Helper()
	cmd := exec.Command(program, args...)
	out := new(strings.Builder)
	cmd.Stdout, cmd.Stderr = out, out
	if err := victims.StartCommand(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(out.String())
		}
	})
	for deadline := time.Now().Add(victims.Timeout); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			return cmd.Process.Pid
		}
	}
	t.Fatalf("%s does not listen", program)
	return 0
}

// startRedis starts a Redis with 32 MiB of values.
func startRedis(t *testing.T) (int, func() (client, error)) {
	program := need.Tool(t, "redis-server")
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	pid := serve(t, socket, program, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", dir)
	dial := func() (client, error) {
		c, err := net.Dial("unix", socket)
		return &redisClient{c, bufio.NewReader(c)}, err
	}
	c, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for n := range redisKeys {
		if err := c.(*redisClient).set(n); err != nil {
			t.Fatal(err)
		}
	}
	return pid, dial
}

const redisKeys = 1024

type redisClient struct {
	net.Conn
	in *bufio.Reader
}

// value is 32 KiB that follow from the key.
func (*redisClient) value(key int) string { return strings.Repeat(fmt.Sprintf("%08d", key), 4096) }

func (c *redisClient) set(key int) error {
	v := c.value(key)
	if _, err := fmt.Fprintf(c, "*3\r\n$3\r\nSET\r\n$8\r\n%08d\r\n$%d\r\n%s\r\n", key, len(v), v); err != nil {
		return err
	}
	if line, err := c.in.ReadString('\n'); err != nil || line != "+OK\r\n" {
		return fmt.Errorf("SET: %q, %w", line, err)
	}
	return nil
}

func (c *redisClient) ask(n int) error {
	key := n % redisKeys
	if n%4 == 0 {
		return c.set(key)
	}
	if _, err := fmt.Fprintf(c, "*2\r\n$3\r\nGET\r\n$8\r\n%08d\r\n", key); err != nil {
		return err
	}
	want := fmt.Sprintf("$32768\r\n%s\r\n", c.value(key))
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c.in, got); err != nil || string(got) != want {
		return fmt.Errorf("GET %d: %.40q, %w", key, got, err)
	}
	return nil
}

// startNginx starts an nginx; the process is its worker.
func startNginx(t *testing.T) (int, func() (client, error)) {
	program := need.Tool(t, "nginx")
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	socket, conf := filepath.Join(dir, "s"), filepath.Join(dir, "conf")
	text := fmt.Sprintf(`daemon off; pid %s/pid; error_log stderr; user root;
events {}
http { access_log off; server { listen unix:%s; location / { root %s; } } }
`, dir, socket, dir)
	if err := errors.Join(os.WriteFile(conf, []byte(text), 0o600), os.WriteFile(filepath.Join(dir, "page"), []byte(nginxPage), 0o644)); err != nil {
		t.Fatal(err)
	}
	master := serve(t, socket, program, "-p", dir, "-c", conf)
	// The socket is there before the worker is.
	worker := 0
	for deadline := time.Now().Add(victims.Timeout); worker == 0; time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", master, master))
		if worker, _ = strconv.Atoi(strings.TrimSpace(string(b))); err != nil || time.Now().After(deadline) {
			t.Fatalf("nginx has the children %q, %v", b, err)
		}
	}
	return worker, func() (client, error) {
		return nginxClient{&http.Client{Timeout: victims.Timeout, Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "unix", socket)
			}}}}, nil
	}
}

var nginxPage = strings.Repeat("0123456789abcdef", 4096)

type nginxClient struct{ *http.Client }

func (c nginxClient) ask(int) error {
	r, err := c.Get("http://nginx/page")
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if b, err := io.ReadAll(r.Body); err != nil || r.StatusCode != http.StatusOK || string(b) != nginxPage {
		return fmt.Errorf("status %s, %d bytes, %w", r.Status, len(b), err)
	}
	return nil
}

func (c nginxClient) Close() error {
	c.CloseIdleConnections()
	return nil
}
