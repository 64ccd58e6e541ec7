package linux

import (
	"os"
	"path/filepath"
	"testing"

	"procdump/snapshot"
)

func TestParseMaps(t *testing.T) {
	for _, c := range []struct {
		line string
		want snapshot.Region
	}{
		{"55ab34b85000-55ab34b87000 r--p 00001000 fe:0a 247766                     /usr/bin/sleep\n",
			snapshot.Region{Range: snapshot.Range{Addr: 0x55ab34b85000, Size: 0x2000}, Perm: snapshot.Read, Offset: 0x1000,
				Dev: 0xfe<<32 | 0xa, Inode: 247766, Path: "/usr/bin/sleep"}},
		{"7f0000000000-7f0000001000 rw-s 00000000 00:01 12 /memfd:a b (deleted)\n",
			snapshot.Region{Range: snapshot.Range{Addr: 0x7f0000000000, Size: 0x1000}, Perm: snapshot.Read | snapshot.Write | snapshot.Shared,
				Dev: 1, Inode: 12, Path: "/memfd:a b", Deleted: true}},
		{"7ffc8f8ac000-7ffc8f8ce000 rw-p 00000000 00:00 0                          [stack]\n",
			snapshot.Region{Range: snapshot.Range{Addr: 0x7ffc8f8ac000, Size: 0x22000}, Perm: snapshot.Read | snapshot.Write, Path: "[stack]"}},
		{"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n",
			snapshot.Region{Range: snapshot.Range{Addr: 0xffffffffff600000, Size: 0x1000}, Perm: snapshot.Execute, Path: "[vsyscall]"}},
		{"00400000-00401000 r-xp 00000000 08:01 5 /tmp/a\\012b\n",
			snapshot.Region{Range: snapshot.Range{Addr: 0x400000, Size: 0x1000}, Perm: snapshot.Read | snapshot.Execute,
				Dev: 8<<32 | 1, Inode: 5, Path: "/tmp/a\nb"}},
		{"00400000-00401000 r-xp 00000000 00:00 0 \n",
			snapshot.Region{Range: snapshot.Range{Addr: 0x400000, Size: 0x1000}, Perm: snapshot.Read | snapshot.Execute}},
	} {
		got, err := parseMaps([]byte(c.line))
		if err != nil || len(got) != 1 || got[0] != c.want {
			t.Errorf("%q:\n got %+v, %v\nwant %+v", c.line, got, err, c.want)
		}
	}
	for _, bad := range []string{"\n", "zz-1 r--p 0 0:0 0\n", "10-5 r--p 0 0:0 0\n", "10-20 r-\n"} {
		if got, err := parseMaps([]byte(bad)); err == nil {
			t.Errorf("%q: parsed as %+v", bad, got)
		}
	}
}

func TestReadSmaps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "smaps")
	text := `7f00-8f00 rw-p 00000000 00:00 0                          [heap]
Size:                  4 kB
Rss:                  16 kB
Shared_Clean:          0 kB
Shared_Dirty:          4 kB
Anonymous:            12 kB
Swap:                  8 kB
VmFlags: rd wr mr mw me ac dd um
9f00-af00 r--s 00000000 08:01 7 /f
Rss:                   0 kB
Shared_Clean:         64 kB
VmFlags: rd sh io pf
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readSmaps(path)
	if err != nil || len(got) != 2 {
		t.Fatalf("%d regions, %v", len(got), err)
	}
	if g := got[0]; g.Resident != 16<<10 || g.Private != 12<<10 || g.Swapped != 8<<10 || g.Forked != 4<<10 || g.Flags != snapshot.DontDump|snapshot.Userfault || g.Path != "[heap]" {
		t.Errorf("heap: %+v", g)
	}
	if g := got[1]; g.Flags != snapshot.IO|snapshot.PFNMap || g.Resident != 0 || g.Forked != 0 {
		t.Errorf("file: %+v", g)
	}
}

func TestMergeFlagsKnowsWhatIsNew(t *testing.T) {
	region := func(lo, hi uint64, path string, flags snapshot.RegionFlags) snapshot.Region {
		return snapshot.Region{Range: snapshot.Range{Addr: lo, Size: hi - lo}, Path: path, Perm: snapshot.Read, Flags: flags}
	}
	before := []snapshot.Region{region(0x1000, 0x2000, "[heap]", 0), region(0x5000, 0x6000, "", snapshot.DontDump),
		region(0x9000, 0xa000, "[stack]", snapshot.GrowsDown)}
	for _, c := range []struct {
		name     string
		maps     []snapshot.Region
		complete bool
	}{
		{"unchanged", []snapshot.Region{region(0x1000, 0x2000, "[heap]", 0), region(0x5000, 0x6000, "", 0), region(0x9000, 0xa000, "[stack]", 0)}, true},
		{"heap and stack have grown", []snapshot.Region{region(0x1000, 0x3000, "[heap]", 0), region(0x5000, 0x6000, "", 0), region(0x8000, 0xa000, "[stack]", 0)}, true},
		{"one is gone", []snapshot.Region{region(0x5000, 0x6000, "", 0)}, true},
		{"one is new", []snapshot.Region{region(0x1000, 0x2000, "[heap]", 0), region(0x3000, 0x4000, "", 0), region(0x5000, 0x6000, "", 0)}, false},
		{"one is split", []snapshot.Region{region(0x5000, 0x5800, "", 0), region(0x5800, 0x6000, "", 0)}, false},
	} {
		if got := mergeFlags(c.maps, before); got != c.complete {
			t.Errorf("%s: complete %v, want %v", c.name, got, c.complete)
		}
		for _, g := range c.maps {
			if g.Range == before[1].Range && g.Flags&snapshot.DontDump == 0 {
				t.Errorf("%s: the flag of %v is lost", c.name, g.Range)
			}
		}
	}
}

func TestParseStat(t *testing.T) {
	st, err := parseStat([]byte("42 (a) b (c) T 1 40 41 0 -1 4194304 0 0 0 0 150 25 0 0 20 -5 3 0 777 0 0\n"))
	if err != nil {
		t.Fatal(err)
	}
	if st.comm != "a) b (c" || st.state != 'T' || st.ppid != 1 || st.pgrp != 40 || st.session != 41 || st.nice != -5 ||
		st.userTime.Milliseconds() != 1500 || st.systemTime.Milliseconds() != 250 || st.start.Milliseconds() != 7770 {
		t.Errorf("%+v", st)
	}
	for _, bad := range []string{"", "1 (x", "1 (x) R 1"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was parsed", bad)
		}
	}
}

func TestRemoteFileSystems(t *testing.T) {
	for typ, want := range map[string]bool{"ext4": false, "tmpfs": false, "fuse.sshfs": true, "fuseblk": true, "nfs4": true, "overlay": false, "9p": true} {
		if got := remoteFS(typ); got != want {
			t.Errorf("%s: %v, want %v", typ, got, want)
		}
	}
}

func TestMapsDev(t *testing.T) {
	// makedev(0x1234, 0xabcde) of glibc.
	const dev = 0xabcde&0xff | 0x1234&0xfff<<8 | 0xabcde&^0xff<<12 | 0x1234&^0xfff<<32
	if got := mapsDev(dev); got != 0x1234<<32|0xabcde {
		t.Errorf("%#x", got)
	}
}
