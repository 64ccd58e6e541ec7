package hang

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestNotAccepted: the kernel completes connections that the server does not
// accept; they are no answer.
func TestNotAccepted(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", ":0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Logf("%s: %v", address, err)
			continue
		}
		defer l.Close()
		target := l.Addr().String()
		if strings.HasPrefix(address, ":") { // a socket for both families
			target = strings.Replace(target, "[::]", "127.0.0.1", 1)
		}
		e := endpoint(t, "tcp://"+target, time.Second)
		// At the limit the request may still be under way: its stage is known.
		if reason := await(t, e, Hung); !strings.Contains(reason, target) || !strings.Contains(reason, "not accepted for") {
			t.Errorf("reason %q", reason)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close()
			}
		}()
		await(t, e, Answering)
	}
}

// TestDefaults: a server that does not accept is hung after 5 s, and not before.
func TestDefaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 5 s")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	e, err := URL("tcp://"+l.Addr().String(), os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	begin := time.Now()
	await(t, e, Hung)
	if took := time.Since(begin); took < Limit {
		t.Errorf("hung after %v", took)
	}
}

// TestFullBacklog: no connection is completed once the backlog is full.
func TestFullBacklog(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(sa.(*syscall.SockaddrInet4).Port)).String()
	var held []net.Conn
	for range 10 {
		c, err := net.DialTimeout("tcp", address, 200*time.Millisecond)
		if err != nil {
			break
		}
		held = append(held, c)
	}
	defer func() {
		for _, c := range held {
			c.Close()
		}
	}()
	if len(held) == 10 {
		t.Fatal("the backlog never became full")
	}
	if reason := await(t, endpoint(t, "tcp://"+address, 300*time.Millisecond), Hung); !strings.Contains(reason, "no answer") {
		t.Errorf("reason %q", reason)
	}
}

func TestTables(t *testing.T) {
	local, remote := netip.MustParseAddrPort("127.0.0.1:8080"), netip.MustParseAddrPort("127.0.0.1:40000")
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	line := func(st, inode string) string {
		return "   1: 0100007F:1F90 0100007F:9C40 " + st + " 00000000:00000000 00:00000000 00000000     0        0 " + inode + " 1 0 20\n"
	}
	mapped := "   2: 0000000000000000FFFF00000100007F:1F90 0000000000000000FFFF00000100007F:9C40 01 0:0 00:0 0     0        0 0 1\n"
	for _, c := range []struct {
		name, text string
		want       bool
	}{
		{"waits", head + line("01", "0"), true},
		{"waits, closed by us", head + line("08", "0"), true},
		{"accepted", head + line("01", "12345"), false},
		{"closed by the server", head + line("05", "0"), false},
		{"not there", head, false},
		{"IPv6 socket", head + mapped, true},
		{"the client's end", head + "   1: 0100007F:9C40 0100007F:1F90 01 0:0 0:0 0 0 0 0 1\n", false},
		{"cut off", head + "   1: 0100007F:1F90 0100007F:9C40 01", false},
	} {
		path := filepath.Join(t.TempDir(), "tcp")
		if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := unaccepted([]string{filepath.Join(t.TempDir(), "missing"), path}, local, remote); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
