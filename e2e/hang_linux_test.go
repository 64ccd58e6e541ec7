package e2e

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"procdump/victims"
	"procdump/victims/need"
)

// hangTest is a hang that must be dumped, after one that passes in time.
type hangTest struct {
	name   string
	victim victims.Spec
	watch  string // what to watch; PORT is the victim's
	brief  string // the order that makes the victim silent for less than 5 s
	lasts  string // and the one for longer
	reason string // that the trigger's reason begins with; "": no dump is due

	v *victims.Victim
	w *watcher
}

// TestHangs watches programs that stop answering, for a moment and then for
// long, all at the same time.
func TestHangs(t *testing.T) {
	t.Parallel()
	env := []string{"DISPLAY=" + xServer(t)}
	server, window := victims.Spec{Name: "server"}, victims.Spec{Name: "window", Env: env}
	// A second window, of a process that nobody watches, hangs all the time.
	tell(t, victims.StartSpec(t, window), "block 60000")
	all := []*hangTest{
		{name: "window", victim: window, watch: "-h", brief: "block 2000", lasts: "block 60000",
			reason: `Hung: window "Trouble" (WINDOW) has not answered _NET_WM_PING for `},
		{name: "no accept", victim: server, watch: "-hp http://127.0.0.1:PORT", brief: "stall 2000", lasts: "stall 60000",
			reason: "Hung: http://127.0.0.1:PORT: no answer for "},
		{name: "no answer", victim: server, watch: "-hp http://127.0.0.1:PORT/page", brief: "mute 2000", lasts: "mute 60000",
			reason: "Hung: http://127.0.0.1:PORT/page: no answer for "},
		{name: "tcp", victim: server, watch: "-hp tcp://localhost:PORT", brief: "stall 2000", lasts: "stall 60000",
			reason: "Hung: tcp://localhost:PORT: connection not accepted for "},
		{name: "tcp that accepts", victim: server, watch: "-hp tcp://127.0.0.1:PORT", brief: "stall 2000", lasts: "mute 8000"},
	}
	for _, c := range all {
		c.start(t)
	}
	for _, c := range all {
		tell(t, c.v, c.brief)
	}
	for _, c := range all {
		c.v.Next(t)
	}
	// All answer again: time for two questions and some looks.
	time.Sleep(2500 * time.Millisecond)
	for _, c := range all {
		if early := c.w.events("trigger"); len(early) > 0 {
			t.Errorf("%s: dumped after %q for %q", c.name, c.brief, early[0].Reason)
		}
		tell(t, c.v, c.lasts)
	}
	for _, c := range all {
		t.Run(c.name, c.finish)
	}
}

func (c *hangTest) start(t *testing.T) {
	c.v = victims.StartSpec(t, c.victim)
	facts := strings.NewReplacer("PORT", c.v.Ready["port"], "WINDOW", c.v.Ready["window"])
	c.reason = facts.Replace(c.reason)
	c.w = watch(t, append(strings.Fields(facts.Replace(c.watch)), pidArg(c.v), "FOLDER")...)
	c.w.await("watching", 1)
}

// finish wants the dump, or none.
func (c *hangTest) finish(t *testing.T) {
	if c.reason == "" {
		c.v.Next(t)
		c.w.stop()
		wantNoFile(t, c.w.folder)
		return
	}
	if e := c.w.await("trigger", 1); !strings.HasPrefix(e.Reason, c.reason) {
		t.Errorf("reason %q, want %q at its start", e.Reason, c.reason)
	}
	c.w.await("complete", 1)
	if code := c.w.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	files := dumpsIn(t, c.w)
	if len(files) != 1 {
		t.Fatalf("dumps %v, want one", files)
	}
	if got := stateIn(t, c.v, files[0]); got != c.lasts {
		t.Errorf("the dump shows state %q, want %q", got, c.lasts)
	}
	c.v.Signal(syscall.SIGUSR1)
	c.v.Next(t)
	wantAlive(t, c.v)
}

// xServer starts Xvfb and returns its DISPLAY.
func xServer(t *testing.T) string {
	t.Helper()
	xvfb := need.Tool(t, "Xvfb")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var log bytes.Buffer
	cmd := exec.Command(xvfb, "-displayfd", "3", "-nolisten", "tcp", "-screen", "0", "320x200x24")
	cmd.ExtraFiles = []*os.File{w}
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	err = cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	r.SetReadDeadline(time.Now().Add(victims.Timeout))
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("start Xvfb: %v", err)
	}
	return ":" + strings.TrimSpace(line)
}

// TestNoWindow: that windows cannot be asked is said at the start,
// and threads are watched nevertheless.
func TestNoWindow(t *testing.T) {
	t.Parallel()
	display := xServer(t)
	for _, c := range []struct{ name, display, arg, want string }{
		{"window", display, "mute", "do not list _NET_WM_PING"},
		{"trouble", "", "", "no X server"},
		{"trouble", display, "", "no window has its _NET_WM_PID"},
		{"trouble", ":4999", "", "no X server at display :4999"},
	} {
		v := victims.StartSpec(t, victims.Spec{Name: c.name, Args: []string{c.arg}, Env: []string{"DISPLAY=" + c.display}})
		w := watch(t, "-h", pidArg(v), "FOLDER")
		w.await("watching", 1)
		if e := w.await("warning", 1); !strings.Contains(e.Message, "-h looks for threads in uninterruptible sleep only: ") || !strings.Contains(e.Message, c.want) {
			t.Errorf("%s: warning %q, want %q in it", c.display, e.Message, c.want)
		}
		w.stop()
		wantNoFile(t, w.folder)
	}
}

// httpsServer is a web server; its arguments are the files of its certificate.
const httpsServer = `
import http.server, ssl, sys
s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
c.load_cert_chain(sys.argv[1])
s.socket = c.wrap_socket(s.socket, server_side=True, do_handshake_on_connect=False)
print(s.server_port, flush=True)
s.serve_forever()
`

// TestHungHTTPS watches a server, with a certificate that nobody vouches for,
// that is stopped for a while and then for longer. 501 is an answer.
func TestHungHTTPS(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(need.Tool(t, "python3"), "-c", httpsServer, selfSigned(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url := "https://localhost:" + strings.TrimSpace(port)
	w := watch(t, "-hp", url, strconv.Itoa(cmd.Process.Pid), "FOLDER")
	w.await("watching", 1)
	stop := func(sig syscall.Signal, d time.Duration) {
		cmd.Process.Signal(sig)
		time.Sleep(d)
	}
	stop(syscall.SIGSTOP, 2*time.Second)
	stop(syscall.SIGCONT, 2500*time.Millisecond)
	if n := len(w.events("trigger")); n > 0 {
		t.Errorf("%d dumps of a server that answered again", n)
	}
	stop(syscall.SIGSTOP, 0)
	if e := w.await("trigger", 1); !strings.Contains(e.Reason, "Hung: "+url+": no answer for ") {
		t.Errorf("reason %q", e.Reason)
	}
	w.await("complete", 1)
	if code := w.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if files := dumpsIn(t, w); len(files) != 1 || readAnyCore(t, files[0]).Info.Reason != w.events("trigger")[0].Reason {
		t.Errorf("dumps %v, want one with the reason", files)
	}
}

// selfSigned writes a key and a certificate of its own and returns the file.
func selfSigned(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nobody"}, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "pem")
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})...)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestNoServer: an address that cannot be asked is told at the start.
func TestNoServer(t *testing.T) {
	t.Parallel()
	v := victims.Start(t, "trouble")
	for _, url := range []string{"ftp://localhost/", "tcp://localhost", "http://no-such-host.invalid/"} {
		if r := procdump(t, "-hp", url, pidArg(v), t.TempDir()); r.code == 0 || !strings.Contains(r.stderr, strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/")) {
			t.Errorf("%s: %v", url, r)
		}
	}
	wantAlive(t, v)
}
