package hang

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
)

// mostWindows bounds the windows of a server that are looked at.
const mostWindows = 20000

// atoms are the names of properties and messages (EWMH 1.5, ICCCM).
type atoms struct {
	clientList, pid, clientMachine, protocols, ping, name, utf8 xproto.Atom
}

func internAtoms(x *xgb.Conn) (a atoms, err error) {
	for _, c := range []struct {
		to   *xproto.Atom
		name string
	}{
		{&a.clientList, "_NET_CLIENT_LIST"}, {&a.pid, "_NET_WM_PID"}, {&a.clientMachine, "WM_CLIENT_MACHINE"},
		{&a.protocols, "WM_PROTOCOLS"}, {&a.ping, "_NET_WM_PING"}, {&a.name, "_NET_WM_NAME"}, {&a.utf8, "UTF8_STRING"},
	} {
		r, err := xproto.InternAtom(x, false, uint16(len(c.name)), c.name).Reply()
		if err != nil {
			return atoms{}, err
		}
		*c.to = r.Atom
	}
	return a, nil
}

// windowsOf lists the windows of a process that can be pinged, and tells how
// many it has that cannot. Asked are the windows that the window manager lists,
// or, where there is no window manager, all.
func windowsOf(x *xgb.Conn, a atoms, pid int) (found []xproto.Window, mute int, err error) {
	host, _ := os.Hostname()
	for _, screen := range xproto.Setup(x).Roots {
		listed, err := property(x, screen.Root, a.clientList, xproto.AtomWindow)
		if err != nil {
			return nil, 0, err
		}
		candidates := make([]xproto.Window, 0, len(listed)/4)
		for ; len(listed) >= 4; listed = listed[4:] {
			candidates = append(candidates, xproto.Window(binary.LittleEndian.Uint32(listed)))
		}
		own, err := ofProcess(x, a, candidates, pid, host)
		if err != nil {
			return nil, 0, err
		}
		if len(own) == 0 {
			if candidates, err = tree(x, screen.Root); err != nil {
				return nil, 0, err
			}
			if own, err = ofProcess(x, a, candidates, pid, host); err != nil {
				return nil, 0, err
			}
		}
		for _, w := range own {
			ok, err := answersPings(x, a, w)
			if err != nil {
				return nil, 0, err
			}
			if ok {
				found = append(found, w)
			} else {
				mute++
			}
		}
	}
	return found, mute, nil
}

// tree lists all windows below one. A window that ends meanwhile has none.
func tree(x *xgb.Conn, root xproto.Window) ([]xproto.Window, error) {
	all := []xproto.Window{}
	for level := []xproto.Window{root}; len(level) > 0 && len(all) < mostWindows; {
		cookies := make([]xproto.QueryTreeCookie, len(level))
		var next []xproto.Window
		for len(level) > 0 {
			n := min(len(level), batch)
			for i := range n {
				cookies[i] = xproto.QueryTree(x, level[i])
			}
			for i := range n {
				r, err := cookies[i].Reply()
				if closed(err) {
					return nil, err
				}
				if err == nil {
					next = append(next, r.Children...)
				}
			}
			level = level[n:]
		}
		all = append(all, next...)
		level = next
	}
	return all, nil
}

// batch is how many requests are sent before their replies are read: the
// library holds no more than 1,000.
const batch = 256

// ofProcess picks the windows whose _NET_WM_PID is the process, on this host.
func ofProcess(x *xgb.Conn, a atoms, windows []xproto.Window, pid int, host string) (own []xproto.Window, err error) {
	cookies := make([]xproto.GetPropertyCookie, batch)
	for len(windows) > 0 {
		n := min(len(windows), batch)
		for i := range n {
			cookies[i] = xproto.GetProperty(x, false, windows[i], a.pid, xproto.AtomCardinal, 0, 1)
		}
		for i := range n {
			r, err := cookies[i].Reply()
			if closed(err) {
				return nil, err
			}
			if err != nil || r.Format != 32 || len(r.Value) < 4 || binary.LittleEndian.Uint32(r.Value) != uint32(pid) {
				continue
			}
			machine, err := property(x, windows[i], a.clientMachine, xproto.GetPropertyTypeAny)
			if err != nil {
				return nil, err
			}
			if m := strings.TrimRight(string(machine), "\x00"); m == "" || m == "localhost" || strings.EqualFold(m, host) {
				own = append(own, windows[i])
			}
		}
		windows = windows[n:]
	}
	return own, nil
}

// answersPings tells whether a window lists _NET_WM_PING among its protocols.
func answersPings(x *xgb.Conn, a atoms, w xproto.Window) (bool, error) {
	value, err := property(x, w, a.protocols, xproto.AtomAtom)
	for ; len(value) >= 4; value = value[4:] {
		if xproto.Atom(binary.LittleEndian.Uint32(value)) == a.ping {
			return true, nil
		}
	}
	return false, err
}

// property reads a property of a window; one that is not there, or of a window
// that is gone, is empty.
func property(x *xgb.Conn, w xproto.Window, name, kind xproto.Atom) ([]byte, error) {
	const most = 1 << 16 // in units of 4 bytes
	r, err := xproto.GetProperty(x, false, w, name, kind, 0, most).Reply()
	if err != nil {
		if closed(err) {
			return nil, err
		}
		return nil, nil
	}
	return r.Value, nil
}

// title names a window for people.
func title(x *xgb.Conn, a atoms, w xproto.Window) string {
	text, err := property(x, w, a.name, a.utf8)
	if err == nil && len(text) == 0 {
		text, _ = property(x, w, xproto.AtomWmName, xproto.GetPropertyTypeAny)
	}
	name := strings.ToValidUTF8(strings.TrimRight(string(text), "\x00"), "?")
	if r := []rune(name); len(r) > 60 {
		name = string(r[:59]) + "…"
	}
	return fmt.Sprintf("window %q (0x%x)", name, uint32(w))
}

// closed tells an error of the connection from one that the server answers.
func closed(err error) bool {
	_, answered := err.(xgb.Error)
	return err != nil && !answered
}
