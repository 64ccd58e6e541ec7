package images

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// traced returns a tracker that writes what it says into a text.
func traced() (*tracker, *strings.Builder) {
	var s strings.Builder
	return &tracker{emit: func(e Event) { s.WriteString(e.Kind.String() + " " + e.Path + "\n") }}, &s
}

func TestTracker(t *testing.T) {
	a, b := fileID{1, 2}, fileID{1, 3}
	at := time.Unix(1, 0)
	for _, c := range []struct {
		name string
		do   func(*tracker)
		want string
	}{
		{"whole", func(k *tracker) {
			k.mapped(a, span{10, 20}, "a", at)
			k.unmapped(span{0, 100}, at)
		}, "mapped a\nunmapped a\n"},
		{"the data lie over its end", func(k *tracker) {
			k.mapped(a, span{10, 20}, "a", at)
			k.unmapped(span{15, 20}, at)
			k.unmapped(span{10, 15}, at)
		}, "mapped a\nunmapped a\n"},
		{"a hole, then filled", func(k *tracker) {
			k.mapped(a, span{10, 20}, "a", at)
			k.unmapped(span{12, 13}, at)
			k.put(a, span{12, 13}, "a", at)
			k.unmapped(span{10, 19}, at)
			k.unmapped(span{19, 20}, at)
		}, "mapped a\nunmapped a\n"},
		{"twice at different places", func(k *tracker) {
			k.mapped(a, span{10, 20}, "a", at)
			k.mapped(a, span{30, 40}, "a", at)
			k.unmapped(span{10, 20}, at)
		}, "mapped a\nmapped a\nunmapped a\n"},
		{"another over it", func(k *tracker) {
			k.mapped(a, span{10, 20}, "a", at)
			k.mapped(b, span{5, 25}, "b", at)
		}, "mapped a\nunmapped a\nmapped b\n"},
		{"nothing of ours", func(k *tracker) {
			k.mapped(a, span{10, 20}, "a", at)
			k.unmapped(span{20, 30}, at)
			k.unmapped(span{0, 10}, at)
		}, "mapped a\n"},
		{"in step", func(k *tracker) {
			k.mapped(a, span{10, 20}, "a", at)
			k.sync([]mapping{{span{10, 20}, a, "a"}}, at)
		}, "mapped a\n"},
		{"in step with other cuts", func(k *tracker) {
			k.mapped(a, span{10, 15}, "a", at)
			k.mapped(a, span{15, 20}, "a", at)
			k.sync([]mapping{{span{10, 12}, a, "a"}, {span{12, 20}, a, "a"}}, at)
		}, "mapped a\n"},
		{"out of step", func(k *tracker) {
			k.mapped(a, span{10, 20}, "a", at)
			k.sync([]mapping{{span{10, 20}, b, "b"}}, at)
		}, "mapped a\nunmapped a\nmapped b\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, s := traced()
			c.do(k)
			if s.String() != c.want {
				t.Errorf("got\n%swant\n%s", s, c.want)
			}
		})
	}
}

func TestReadMaps(t *testing.T) {
	proc := t.TempDir()
	dir := filepath.Join(proc, "7")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"maps": `55d0c0000000-55d0c0001000 r--p 00000000 fe:01 12 /bin/x
55d0c0001000-55d0c0003000 r-xp 00001000 fe:01 12 /bin/x
7f0000000000-7f0000001000 r-xp 00000000 00:2a 99  /tmp/with space (deleted)
7f0000002000-7f0000003000 rwxp 00000000 00:00 0 
7ffc00000000-7ffc00001000 r-xp 00000000 00:00 0 [vdso]
damaged
`,
		"mountinfo": `21 1 254:1 / / rw - ext4 /dev/vda1 rw
22 21 0:42 /sub /mnt/a\040b rw - btrfs none rw
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := readMaps(proc, 7)
	want := []mapping{
		{span{0x55d0c0001000, 0x55d0c0003000}, fileID{254<<32 | 1, 12}, "/bin/x"},
		{span{0x7f0000000000, 0x7f0000001000}, fileID{42, 99}, "/tmp/with space"},
	}
	if err != nil || len(got) != len(want) || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	for _, c := range []struct {
		device uint64
		path   string
		want   string
	}{
		{254<<32 | 1, "/lib/y.so", "/lib/y.so"},
		{42, "/sub/lib/z.so", "/mnt/a b/lib/z.so"},
		{42, "/subway/z.so", "/subway/z.so"},
		{7, "/lib/y.so", "/lib/y.so"},
	} {
		if p := seenAs(proc, 7, c.device, c.path); p != c.want {
			t.Errorf("%s of device %#x is %s, want %s", c.path, c.device, p, c.want)
		}
	}
	if _, err := readMaps(proc, 8); err == nil {
		t.Error("reads what is not there")
	}
}
