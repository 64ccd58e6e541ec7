package systemlog

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// listen makes a log server that reads nothing by itself, and an empty file for
// the kernel's log.
func listen(t *testing.T) (logs, *net.UnixConn) {
	t.Helper()
	l := logs{network: "unixgram", server: filepath.Join(t.TempDir(), "log"), kernel: filepath.Join(t.TempDir(), "kmsg")}
	if err := os.WriteFile(l.kernel, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenUnixgram(l.network, &net.UnixAddr{Name: l.server, Net: l.network})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return l, c
}

func TestWrite(t *testing.T) {
	l, server := listen(t)
	l.write(Notice, "all is well")
	l.write(Warning, "all is lost")
	for _, want := range [][2]string{{"<29>", ": all is well\n"}, {"<28>", ": all is lost\n"}} {
		b := make([]byte, 1000)
		if err := server.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := server.Read(b)
		if got := string(b[:n]); err != nil || !strings.HasPrefix(got, want[0]) || !strings.Contains(got, " procdump[") || !strings.HasSuffix(got, want[1]) {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	if b, err := os.ReadFile(l.kernel); err != nil || len(b) > 0 {
		t.Errorf("the kernel's log has %q: %v", b, err)
	}
}

func TestWriteNoServer(t *testing.T) {
	l, server := listen(t)
	server.Close()
	l.write(Warning, "all is lost")
	if b, err := os.ReadFile(l.kernel); err != nil || string(b) != "<28>procdump: all is lost\n" {
		t.Errorf("the kernel's log has %q: %v", b, err)
	}
}

// TestWriteHangingServer has a server that does not read, until no more lines
// fit into its socket.
func TestWriteHangingServer(t *testing.T) {
	l, server := listen(t)
	c, err := net.DialUnix(l.network, nil, server.LocalAddr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for err == nil {
		if err = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err == nil {
			_, err = c.Write([]byte("x"))
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.write(Notice, "all is well")
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Error("waits for the server")
	}
}
