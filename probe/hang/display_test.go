package hang

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNoDisplay(t *testing.T) {
	proc := t.TempDir()
	dir := filepath.Join(proc, "50")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ own, env, want string }{
		{"", "A=b\x00", "DISPLAY is set neither here"},
		{"", "WAYLAND_DISPLAY=wayland-0\x00", "Wayland"},
		{"", "A=b\x00DISPLAY=:59001\x00", "at display :59001"},
		{":59002", "A=b\x00", "at display :59002"},
		{"nonsense", "", `DISPLAY "nonsense"`},
		{":x", "", `DISPLAY ":x"`},
		{":70000", "", `DISPLAY ":70000"`},
	} {
		t.Setenv("DISPLAY", c.own)
		if err := os.WriteFile(filepath.Join(dir, "environ"), []byte(c.env), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := openX11(proc, 50, true)
		if !errors.Is(err, ErrNoDisplay) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("DISPLAY %q, environment %q: %v, want %q", c.own, c.env, err, c.want)
		}
	}
	t.Setenv("DISPLAY", "")
	if _, err := openX11(proc, 51, true); !errors.Is(err, ErrNoDisplay) || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("no process: %v", err)
	}
}

func TestDisplayName(t *testing.T) {
	for _, c := range []struct {
		name, host string
		number     int
	}{{":0", "", 0}, {":1.2", "", 1}, {"unix:3", "", 3}, {"host:10.0", "host", 10}, {"tcp/host:1", "host", 1}, {"::1:2", "::1", 2}} {
		host, number, err := display{name: c.name}.parse()
		if host != c.host || number != c.number || err != nil {
			t.Errorf("%s: %q %d %v, want %q %d", c.name, host, number, err, c.host, c.number)
		}
	}
}

func authEntry(family uint16, parts ...string) []byte {
	b := binary.BigEndian.AppendUint16(nil, family)
	for _, p := range parts {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(p))), p...)
	}
	return b
}

func TestFindCookie(t *testing.T) {
	file := append(authEntry(256, "host", "1", "XDM-AUTHORIZATION-1", "x"), authEntry(256, "host", "1", cookieName, "one")...)
	file = append(file, authEntry(256, "host", "2", cookieName, "two")...)
	file = append(file, authEntry(0, "\x7f\x00\x00\x01", "3", cookieName, "guess")...)
	file = append(file, authEntry(65535, "", "4", cookieName, "wild")...)
	for _, c := range []struct{ host, number, want string }{
		{"host", "1", "one"}, {"host", "2", "two"}, {"other", "2", "two"}, {"host", "3", "guess"}, {"host", "4", "wild"}, {"host", "5", ""},
	} {
		if got := findCookie(file, c.host, c.number); string(got) != c.want {
			t.Errorf("%s:%s: %q, want %q", c.host, c.number, got, c.want)
		}
	}
	for n := range len(file) { // cut off anywhere
		findCookie(file[:n], "host", "4")
	}
	if got := greeting([]byte("0123456789abcdef")); len(got) != 12+20+16 || binary.LittleEndian.Uint16(got[6:]) != 18 || binary.LittleEndian.Uint16(got[8:]) != 16 {
		t.Errorf("greeting %q", got)
	}
}
