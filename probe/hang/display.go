package hang

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jezek/xgb"
)

// ErrNoDisplay means that no X server can be asked about windows.
var ErrNoDisplay = errors.New("no X server")

// dialTime bounds connecting to an X server, from the call to its greeting.
const dialTime = 3 * time.Second

func init() {
	// The library writes to standard error when a server goes away.
	xgb.Logger = log.New(io.Discard, "", 0)
}

// display is where an X server may be, and the file with the key to it.
type display struct {
	name      string // DISPLAY
	authority string // XAUTHORITY
	root      string // of the process whose environment says so; "" for our own
}

// displays lists those of our own environment and of the process's.
func displays(proc string, pid int) []display {
	var all []display
	add := func(get func(string) string, root string) {
		d := display{name: get("DISPLAY"), authority: get("XAUTHORITY"), root: root}
		if d.authority == "" && get("HOME") != "" {
			d.authority = filepath.Join(get("HOME"), ".Xauthority")
		}
		if d.name != "" && !slices.Contains(all, d) {
			all = append(all, d)
		}
	}
	add(os.Getenv, "")
	dir := filepath.Join(proc, strconv.Itoa(pid))
	env, _ := os.ReadFile(filepath.Join(dir, "environ"))
	add(func(name string) string { return variable(env, name) }, filepath.Join(dir, "root"))
	return all
}

// variable looks one up in the text of /proc/PID/environ.
func variable(env []byte, name string) string {
	for entry := range bytes.SplitSeq(env, []byte{0}) {
		if value, ok := bytes.CutPrefix(entry, []byte(name+"=")); ok {
			return string(value)
		}
	}
	return ""
}

// noDisplay says why there is none to try.
func noDisplay(proc string, pid int) error {
	env, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "environ"))
	switch {
	case err != nil:
		return fmt.Errorf("%w: DISPLAY is not set, and the process's environment cannot be read: %w", ErrNoDisplay, err)
	case variable(env, "WAYLAND_DISPLAY") != "":
		return fmt.Errorf("%w: the process uses Wayland, which lets no other program ask its windows", ErrNoDisplay)
	}
	return fmt.Errorf("%w: DISPLAY is set neither here nor in the process's environment", ErrNoDisplay)
}

// connect connects to the server. The caller closes the second result, which
// closes the first.
func (d display) connect() (*xgb.Conn, net.Conn, error) {
	host, number, err := d.parse()
	if err != nil {
		return nil, nil, err
	}
	deadline := time.Now().Add(dialTime)
	conn, err := d.dial(host, number)
	if err != nil {
		return nil, nil, fmt.Errorf("%w at display %s: %w", ErrNoDisplay, d.name, err)
	}
	conn.SetDeadline(deadline)
	x, err := xgb.NewConnNet(&greeter{Conn: conn, greeting: greeting(d.cookie(host, number))})
	if err != nil {
		conn.Close()
		hint := ""
		if strings.Contains(err.Error(), "authentication") || errors.Is(err, io.EOF) {
			hint = "; set XAUTHORITY to the file with the session's key, or run as its user"
		}
		return nil, nil, fmt.Errorf("%w at display %s: %w%s", ErrNoDisplay, d.name, err, hint)
	}
	conn.SetDeadline(time.Time{})
	return x, conn, nil
}

// parse takes [HOST]:NUMBER[.SCREEN] apart (X(7)).
func (d display) parse() (host string, number int, err error) {
	i := strings.LastIndexByte(d.name, ':')
	if i < 0 {
		return "", 0, fmt.Errorf("%w: DISPLAY %q is not HOST:NUMBER", ErrNoDisplay, d.name)
	}
	text, _, _ := strings.Cut(d.name[i+1:], ".")
	if number, err = strconv.Atoi(text); err != nil || number < 0 || number > 65535-6000 {
		return "", 0, fmt.Errorf("%w: DISPLAY %q is not HOST:NUMBER", ErrNoDisplay, d.name)
	}
	host = strings.TrimPrefix(d.name[:i], "tcp/")
	if host == "unix" {
		host = ""
	}
	return host, number, nil
}

// dial tries the server's sockets: in the file system as the process sees it,
// in our own, without a file (Linux' abstract names), and TCP for other hosts.
func (d display) dial(host string, number int) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialTime}
	if host != "" {
		return dialer.Dial("tcp", net.JoinHostPort(host, strconv.Itoa(6000+number)))
	}
	name := "/tmp/.X11-unix/X" + strconv.Itoa(number)
	paths := []string{name, "@" + name}
	if d.root != "" {
		paths = slices.Insert(paths, 0, filepath.Join(d.root, name))
	}
	var first error
	for _, path := range paths {
		// A socket's path has at most 107 bytes (unix(7)).
		conn, err := dialer.Dial("unix", path)
		if err == nil {
			return conn, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// cookie finds the key of a display in the file XAUTHORITY, nil if there is none:
// servers may let local users in without.
func (d display) cookie(host string, number int) []byte {
	if d.authority == "" {
		return nil
	}
	path := d.authority
	if d.root != "" {
		path = filepath.Join(d.root, path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil
	}
	if host == "" || host == "localhost" {
		host, _ = os.Hostname()
	}
	return findCookie(text, host, strconv.Itoa(number))
}

const cookieName = "MIT-MAGIC-COOKIE-1"

// findCookie looks through the entries of an .Xauthority file (Xau(3)), which
// are in big-endian byte order:
//
//	family 2 | length 2, address | length 2, display number | length 2, method | length 2, data
//
// The families are 256 for this machine, by its name, and 65535 for any. The
// addresses of others are compared with nothing: the first entry for the
// display's number that fits in no other way is the best guess.
func findCookie(text []byte, host, number string) []byte {
	const familyLocal, familyWild = 256, 65535
	var guess []byte
	for len(text) >= 2 {
		family := binary.BigEndian.Uint16(text)
		text = text[2:]
		var parts [4][]byte
		for i := range parts {
			if len(text) < 2 || len(text) < 2+int(binary.BigEndian.Uint16(text)) {
				return guess
			}
			n := 2 + int(binary.BigEndian.Uint16(text))
			parts[i], text = text[2:n], text[n:]
		}
		if len(parts[1]) > 0 && string(parts[1]) != number || string(parts[2]) != cookieName {
			continue
		}
		if family == familyWild || family == familyLocal && string(parts[0]) == host {
			return parts[3]
		}
		if guess == nil {
			guess = parts[3]
		}
	}
	return guess
}

// greeting is a client's first message (X protocol, "Connection Setup"), in
// little-endian byte order.
func greeting(cookie []byte) []byte {
	name := ""
	if cookie != nil {
		name = cookieName
	}
	b := []byte{'l', 0, 11, 0, 0, 0}
	b = binary.LittleEndian.AppendUint16(b, uint16(len(name)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(cookie)))
	b = append(b, 0, 0)
	pad := func(n int) []byte { return make([]byte, -n&3) }
	b = append(append(b, name...), pad(len(name))...)
	return append(append(b, cookie...), pad(len(cookie))...)
}

// greeter replaces the first message to a server. The library takes the key
// only from our own environment, and where it is the process's that counts, it
// would greet without.
type greeter struct {
	net.Conn
	greeting []byte // nil once it is sent
}

func (g *greeter) Write(b []byte) (int, error) {
	if g.greeting == nil {
		return g.Conn.Write(b)
	}
	_, err := g.Conn.Write(g.greeting)
	g.greeting = nil
	return len(b), err
}
