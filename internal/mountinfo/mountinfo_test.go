package mountinfo

import (
	"slices"
	"testing"
)

func TestParse(t *testing.T) {
	got := slices.Collect(Parse([]byte(`36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
22 1 0:20 / /sys rw - sysfs sysfs rw
nonsense
23 1 0:21 / /net\134 rw shared:2 propagate_from:3 - fuse.sshfs a\040b:/ rw
25 1 0:23 / /empty rw - tmpfs  rw,size=1k
26 1 0:24 / /short rw - tmpfs
27 1 0:25 / /shorter rw -
28 1 0:26 / /last ro - proc proc rw`)))
	want := []Mount{
		{"98:0", "/mnt1", "/mnt 2", "rw,noatime", "ext3", "/dev/root", "rw,errors=continue"},
		{"0:20", "/", "/sys", "rw", "sysfs", "sysfs", "rw"},
		{"0:21", "/", `/net\`, "rw", "fuse.sshfs", "a b:/", "rw"},
		{"0:23", "/", "/empty", "rw", "tmpfs", "", "rw,size=1k"},
		{"0:24", "/", "/short", "rw", "tmpfs", "", ""},
		{"0:26", "/", "/last", "ro", "proc", "proc", "rw"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	for range Parse([]byte("22 1 0:20 / /sys rw - sysfs sysfs rw\n22 1 0:20 / /sys rw - sysfs sysfs rw\n")) {
		break // it ends where nobody asks for more
	}
}

func TestUnescape(t *testing.T) {
	for text, want := range map[string]string{`/a`: "/a", `/a\040b`: "/a b", `\134`: `\`, `a\`: `a\`, `\04`: `\04`, `\999`: `\999`, `\011\012`: "\t\n"} {
		if got := unescape(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// FuzzParse holds that no text makes it panic, and that there are no more
// mounts than lines.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`1 2 0:26 /../.. /my\040x rw - cgroup c rw,cpu` + "\n"))
	f.Fuzz(func(t *testing.T, table []byte) {
		lines := 1 + len(slices.DeleteFunc(slices.Clone(table), func(b byte) bool { return b != '\n' }))
		for range Parse(table) {
			lines--
		}
		if lines < 0 {
			t.Errorf("%q has more mounts than lines", table)
		}
	})
}
