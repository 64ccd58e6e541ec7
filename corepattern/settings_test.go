package corepattern

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"procdump/capture"
	"procdump/dumpkind"
)

func TestSettingsSurviveTheirFile(t *testing.T) {
	want := Settings{Folder: "/d", Name: "PID", Kinds: []dumpkind.Kind{dumpkind.Mini, dumpkind.Full}, Mask: 0x37, DropLargest: true,
		DontDump: true, Format: capture.FormatMinidump, Compress: true, Comment: "c", TimeLimit: time.Minute, Parallel: 3, PerMinute: 7,
		Keep: Keep{Count: 1, Bytes: 2, Age: 3, Free: 4}}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), `"kinds":["mini","full"]`) {
		t.Errorf("%s", b)
	}
	var got Settings
	if err := json.Unmarshal(b, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read back %+v, %v", got, err)
	}
	if err := json.Unmarshal([]byte(`{"kinds":["huge"]}`), &got); err == nil {
		t.Error("an unknown kind was read")
	}
}

func TestParseCrash(t *testing.T) {
	args := strings.Fields("1200 1201 11 1763800000 1000 1001 1 0 host")
	c, err := parseCrash(append(args, "my", "name"))
	want := Crash{PID: 1200, TID: 1201, Signal: 11, Time: time.Unix(1763800000, 0), UID: 1000, GID: 1001, Dumpable: 1, Host: "host", Name: "my name"}
	if err != nil || c != want {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := parseCrash(append(strings.Fields("1 1 6 1 4294967294 0 2 18446744073709551615 h"), "")); err != nil || c.CoreLimit != 1<<64-1 {
		t.Errorf("%+v, %v", c, err)
	}
	for _, bad := range []string{"", "1 2 3", "x 1201 11 1 1 1 1 0 h n", "0 0 11 1 1 1 1 0 h n", "1 1 -11 1 1 1 1 0 h n"} {
		if _, err := parseCrash(strings.Fields(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestOwner(t *testing.T) {
	const same, suid = "Name:\tx\nUid:\t7\t7\t7\t7\nGid:\t8\t8\t8\t8\n", "Uid:\t7\t0\t0\t0\nGid:\t8\t8\t8\t8\n"
	for _, c := range []struct {
		dumpable int
		status   string
		uid, gid int
	}{
		{1, same, 7, 8}, {1, "", 7, 8}, {2, same, 0, 0}, {1, suid, 0, 0}, {1, "Uid:\t7\t7\t7\t7\nGid:\t8\t9\t8\t8\n", 0, 0},
	} {
		if uid, gid := (Crash{UID: 7, GID: 8, Dumpable: c.dumpable}).owner([]byte(c.status)); uid != c.uid || gid != c.gid {
			t.Errorf("%+v: owner %d:%d", c, uid, gid)
		}
	}
}

func TestPattern(t *testing.T) {
	p, err := patternFor("/usr/local/bin/procdump")
	if err != nil || p != "|/usr/local/bin/procdump -j %P %I %s %t %u %g %d %c %h %e" {
		t.Errorf("%q, %v", p, err)
	}
	for _, bad := range []string{"/opt/my tools/procdump", "/opt/100%/procdump", "/" + strings.Repeat("x", 100)} {
		if _, err := patternFor(bad); err == nil || !strings.Contains(err.Error(), "make install") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestForeign(t *testing.T) {
	for pattern, want := range map[string]string{
		"core": "", "": "", "/var/cores/core.%p": "", "|": "",
		"|/usr/lib/systemd/systemd-coredump %P %u %g %s %t %c %h":            "systemd-coredump",
		"|/usr/share/apport/apport -p%p -s%s -c%c -d%d -P%P -u%u -g%g -- %E": "Ubuntu's apport",
		"|/usr/libexec/abrt-hook-ccpp %s %c %p":                              "abrt",
		"|/bin/sh /root/crash.sh":                                            "/bin/sh /root/crash.sh",
		"|/opt/x/dumper":                                                     "dumper",
		"@@/run/crash.socket":                                                "the server of socket /run/crash.socket",
	} {
		if got := foreign(pattern); got != want {
			t.Errorf("foreign(%q) = %q, want %q", pattern, got, want)
		}
	}
}

func TestSplitPath(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(dir, "PID")
	if err := os.Mkdir(there, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][2]string{
		dir: {dir, ""}, dir + "/new": {dir + "/new", ""}, dir + "/new/": {dir + "/new", ""}, there: {there, ""},
		dir + "/x_PID": {dir, "x_PID"}, dir + "/CONTAINERID.dmp": {dir, "CONTAINERID.dmp"}, there + "/CGROUP": {there, "CGROUP"}, "/PID": {"/", "PID"},
	} {
		if folder, name := SplitPath(path); folder != want[0] || name != want[1] {
			t.Errorf("%s: folder %q, name %q", path, folder, name)
		}
	}
}
