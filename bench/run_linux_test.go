package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

func TestPauseOf(t *testing.T) {
	const events = `{"event":"start","schema":1}
{"event":"initiated","pid":7,"path":"x"}
{"event":"complete","pid":7,"pauseMicros":1234,"method":"clone","sizeBytes":9}
`
	if d, err := pauseOf(events, "clone"); err != nil || d != 1234*time.Microsecond {
		t.Errorf("%v, %v", d, err)
	}
	for _, s := range []string{"", "{", `{"event":"complete","pauseMicros":-1,"method":"clone"}`, `{"event":"failed"}`} {
		if _, err := pauseOf(s, "clone"); err == nil {
			t.Errorf("%q has a pause", s)
		}
	}
	if _, err := pauseOf(events, "pre-copy"); err == nil {
		t.Error("a clone counts as a pre-copy")
	}
}

// TestGuard runs the guard on a file of the test's own.
func TestGuard(t *testing.T) {
	for _, old := range []string{"core\n", "|/usr/lib/handler %p %u\n", "\n"} {
		file := filepath.Join(t.TempDir(), "core_pattern")
		if err := os.WriteFile(file, []byte(old), 0o600); err != nil {
			t.Fatal(err)
		}
		in, end := io.Pipe()
		said, out := io.Pipe()
		done := make(chan error)
		go func() { done <- guardCorePattern([]string{"/tmp/core.%p"}, in, out, file) }()
		if _, err := said.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if b, _ := os.ReadFile(file); string(b) != "/tmp/core.%p\n" {
			t.Errorf("pattern is %q meanwhile", b)
		}
		end.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if b, _ := os.ReadFile(file); string(b) != old {
			t.Errorf("pattern is %q afterwards, was %q", b, old)
		}
	}
}

// TestGuardOverlap: another program that saves and restores the pattern without
// a lock overlaps the guard; afterwards neither's pattern may be left.
func TestGuardOverlap(t *testing.T) {
	defer func(d time.Duration) { patience = d }(patience)
	patience = 5 * time.Second
	const ours, theirs = "/ours.%p", "/theirs.%p"
	file := filepath.Join(t.TempDir(), "core_pattern")
	is := func(want string) bool { s, _ := readPattern(file); return s == want }
	begin := func(pattern string) (end func() chan error) {
		in, stop := io.Pipe()
		said, out := io.Pipe()
		done := make(chan error, 1)
		go func() { done <- guardCorePattern([]string{pattern}, in, out, file) }()
		if _, err := said.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		return func() chan error { stop.Close(); return done }
	}
	set := func(pattern string) {
		if err := os.WriteFile(file, []byte(pattern+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	set("core")
	end := begin(ours)
	set(theirs) // the other begins, having saved ours
	done := end()
	set(ours) // the other ends
	if err := <-done; err != nil || !is("core") {
		t.Errorf("other began later: %v", err)
	}

	set(theirs) // the other began first, having saved "core"
	end = begin(ours)
	set("core") // the other ends
	patience = 50 * time.Millisecond
	if <-end(); !is("core") {
		t.Error("other began first")
	}

	patience = 5 * time.Second
	end = begin(ours)
	second := make(chan func() chan error)
	go func() { second <- begin("/second.%p") }()
	select {
	case <-second:
		t.Fatal("two guards at once")
	case <-time.After(50 * time.Millisecond):
	}
	if err := <-end(); err != nil {
		t.Error(err)
	}
	if err := <-(<-second)(); err != nil || !is("core") {
		t.Errorf("two guards: %v", err)
	}
}

// TestLimit compares what the limit copies with what the victim holds.
func TestLimit(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("no gcc")
	}
	program, err := buildVictim(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []shape{{mib: 8, percent: 100, threads: 3}, {mib: 64, percent: 10, threads: 2}} {
		v, err := startVictim(program, s)
		if err != nil {
			t.Fatal(err)
		}
		defer v.stop()
		// Before the copy: as gcore does, this puts the zero page in the holes.
		mem, err := os.Open("/proc/" + strconv.Itoa(v.pid) + "/mem")
		if err != nil {
			t.Skip(err)
		}
		defer mem.Close()
		want := make([]byte, v.size)
		if _, err := mem.ReadAt(want, int64(v.addr)); err != nil {
			t.Skip(err)
		}
		file := filepath.Join(t.TempDir(), "memory")
		for _, how := range []string{limitEarly, limitTwo} {
			err = copyMemory([]string{strconv.Itoa(v.pid), strconv.FormatUint(v.addr, 10), strconv.FormatInt(v.size, 10), file, how})
			if errors.Is(err, os.ErrPermission) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%+v, %s: %d bytes differ from the victim's %d", s, how, len(got), len(want))
			}
		}
		if touched := int64(s.mib) << 20 * int64(s.percent) / 100; v.touched > touched || v.touched < touched*99/100 {
			t.Errorf("%+v: touched %d bytes, want %d", s, v.touched, touched)
		}
		if _, disk, err := settle(filepath.Dir(file)); err != nil || disk < v.touched || disk > v.touched+1<<20 {
			t.Errorf("%+v: file occupies %d bytes for %d, %v", s, disk, v.touched, err)
		}
	}
}

// TestMaps: the victim has as many mappings as it is asked for.
func TestMaps(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("no gcc")
	}
	program, err := buildVictim(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	v, err := startVictim(program, shape{mib: 1, percent: 100, threads: 2, maps: 3000})
	if err != nil {
		t.Fatal(err)
	}
	defer v.stop()
	maps, err := os.ReadFile("/proc/" + strconv.Itoa(v.pid) + "/maps")
	if n := bytes.Count(maps, []byte("\n")); err != nil || n < 3000 || n > 3100 {
		t.Errorf("%d mappings, %v", n, err)
	}
}

// TestVictimTells: the victim says how much it writes, and the kernel how much of it
// is in huge pages.
func TestVictimTells(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("no gcc")
	}
	program, err := buildVictim(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, dirty := range []int{0, 4} {
		v, err := startVictim(program, shape{mib: 16, percent: 100, threads: 2, dirty: dirty})
		if err != nil {
			t.Fatal(err)
		}
		defer v.stop()
		if huge, err := v.huge(); err != nil || huge != 0 {
			t.Errorf("%v of it in huge pages, %v", huge, err)
		}
		time.Sleep(300 * time.Millisecond)
		// On a machine that is busy it writes less, never much more.
		if _, rate, err := v.gap(); err != nil || (rate > 0) != (dirty > 0) || rate > 1.2*float64(dirty) {
			t.Errorf("%v MiB/s of %d, %v", rate, dirty, err)
		}
	}
	v, err := startVictim(program, shape{mib: 16, percent: 100, threads: 2, huge: true})
	if err != nil {
		t.Fatal(err)
	}
	defer v.stop()
	if huge, err := v.huge(); err != nil || huge < 0 || huge > 1 {
		t.Errorf("%v of it in huge pages, %v", huge, err)
	} else {
		t.Logf("%.2f of it in huge pages", huge)
	}
}

func TestChosen(t *testing.T) {
	long := 0
	for _, c := range cases() {
		if c.long {
			long++
		}
	}
	if list, err := chosen(options{short: true}); err != nil || long == 0 || len(list) != len(cases())-long {
		t.Errorf("-short: %d cases, %v", len(list), err)
	}
	if list, err := chosen(options{only: "sparse,4GiB"}); err != nil || len(list) != 2 || list[1].name != "4GiB" {
		t.Errorf("-only: %v, %v", list, err)
	}
	if _, err := chosen(options{only: "nothing"}); err == nil {
		t.Error("-only accepts anything")
	}
}
