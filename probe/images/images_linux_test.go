package images

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"procdump/internal/sys/bpf"
	"procdump/victims/need"
)

const patience = 30 * time.Second

var folder string // of what is compiled

func TestMain(m *testing.M) {
	var err error
	if folder, err = os.MkdirTemp("", "images"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(folder)
	os.Exit(code)
}

// compile makes a program or library once.
func compile(t testing.TB, name string, args ...string) string {
	t.Helper()
	gcc := need.Tool(t, "gcc")
	out := filepath.Join(folder, name)
	if _, err := os.Stat(out); err == nil {
		return out
	}
	if msg, err := exec.Command(gcc, append([]string{"-O1", "-Wall", "-Wextra", "-Werror", "-o", out}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("compile %s: %v\n%s", name, err, msg)
	}
	return out
}

func library(t testing.TB, name string, flags ...string) string {
	t.Helper()
	src := filepath.Join(folder, "lib.c")
	if err := os.WriteFile(src, []byte("int answer(void) { return 42; }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return compile(t, name, append([]string{"-shared", "-fPIC", src}, flags...)...)
}

// victim loads and unloads as it is told.
type victim struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func start(t testing.TB, flags ...string) *victim {
	t.Helper()
	exe := compile(t, "loader"+strings.Join(flags, ""), append([]string{"testdata/loader.c"}, flags...)...)
	v := &victim{Cmd: exec.Command(exe)}
	var err error
	if v.in, err = v.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := v.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	v.out = bufio.NewScanner(out)
	v.Stderr = os.Stderr
	if err := v.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.in.Close(); v.Process.Kill(); v.Wait() })
	v.tell(t, "ready")
	return v
}

func (v *victim) tell(t testing.TB, format string, args ...any) {
	t.Helper()
	if _, err := fmt.Fprintf(v.in, format+"\n", args...); err != nil {
		t.Fatal(err)
	}
	if !v.out.Scan() {
		t.Fatal("the victim has ended")
	}
}

// openBPF watches a process, and ends the test where there is no BPF.
func openBPF(t testing.TB, pid int) *Watcher {
	t.Helper()
	need.Root(t)
	m, err := bpf.OpenMappings()
	if err != nil {
		need.Missing(t, "bpf", err.Error())
	}
	m.Close()
	w, err := Open(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	if strings.Contains(w.Method(), "every 100ms") {
		t.Fatalf("falls back: %s", w.Method())
	}
	return w
}

func next(t testing.TB, w *Watcher) Event {
	t.Helper()
	select {
	case e, ok := <-w.Events():
		if !ok {
			t.Fatal("no more events")
		}
		return e
	case <-time.After(patience):
		t.Fatalf("no event within %v", patience)
	}
	return Event{}
}

func expect(t testing.TB, w *Watcher, kind Kind, path string) Event {
	t.Helper()
	e := next(t, w)
	if e.Kind != kind || e.Path != path || e.Size == 0 || e.Addr == 0 || time.Since(e.Time).Abs() > patience {
		t.Fatalf("%v %s at %#x+%#x (%v), want %v %s", e.Kind, e.Path, e.Addr, e.Size, e.Time, kind, path)
	}
	return e
}

func TestEveryLoadAndUnload(t *testing.T) {
	for _, flags := range [][]string{nil, {"-m32"}} {
		t.Run(strings.Join(flags, ""), func(t *testing.T) {
			a := library(t, "liba"+strings.Join(flags, "")+".so", flags...)
			b := library(t, "libb"+strings.Join(flags, "")+".so", flags...)
			v := start(t, flags...)
			w := openBPF(t, v.Process.Pid)
			v.tell(t, "advise") // must not look like an unloading
			v.tell(t, "open %s", a)
			up := expect(t, w, Mapped, a)
			v.tell(t, "close")
			if down := expect(t, w, Unmapped, a); down.Addr != up.Addr || down.Size != up.Size || down.Time.Before(up.Time) {
				t.Errorf("mapped %+v, unmapped %+v", up, down)
			}
			v.tell(t, "cycle 100 %s", b)
			for range 100 {
				expect(t, w, Mapped, b)
				expect(t, w, Unmapped, b)
			}
			v.tell(t, "cycle 1 %s", a)
			expect(t, w, Mapped, a)
			expect(t, w, Unmapped, a)
		})
	}
}

func TestOtherWaysToMap(t *testing.T) {
	lib := library(t, "libc1.so")
	v := start(t)
	w := openBPF(t, v.Process.Pid)
	v.tell(t, "protect %s", lib)
	first := expect(t, w, Mapped, lib)
	v.tell(t, "move")
	if e := expect(t, w, Unmapped, lib); e.Addr != first.Addr {
		t.Errorf("unmapped at %#x, was at %#x", e.Addr, first.Addr)
	}
	if e := expect(t, w, Mapped, lib); e.Addr == first.Addr {
		t.Error("mapped where it was")
	}
	v.tell(t, "cover")
	expect(t, w, Unmapped, lib)
}

func TestExecShowsTheNewImages(t *testing.T) {
	lib := library(t, "libd.so")
	v := start(t)
	w := openBPF(t, v.Process.Pid)
	v.tell(t, "open %s", lib)
	expect(t, w, Mapped, lib)
	if _, err := fmt.Fprintf(v.in, "exec %s\n", v.Path); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for !seen[v.Path] || !seen["libc"] || !seen["ld"] {
		e := next(t, w)
		if e.Kind != Mapped {
			t.Errorf("%v %s", e.Kind, e.Path)
		}
		name, _, _ := strings.Cut(filepath.Base(e.Path), "-")
		name, _, _ = strings.Cut(name, ".")
		seen[name], seen[e.Path] = true, true
	}
	v.tell(t, "cycle 1 %s", lib)
	expect(t, w, Mapped, lib)
	expect(t, w, Unmapped, lib)
}

func TestTwoWatchersAndTheEnd(t *testing.T) {
	lib := library(t, "libe.so")
	v, u := start(t), start(t)
	w1, w2, w3 := openBPF(t, v.Process.Pid), openBPF(t, v.Process.Pid), openBPF(t, u.Process.Pid)
	v.tell(t, "open %s", lib)
	expect(t, w1, Mapped, lib)
	expect(t, w2, Mapped, lib)
	w1.Close()
	v.tell(t, "close")
	expect(t, w2, Unmapped, lib)
	u.tell(t, "open %s", lib)
	expect(t, w3, Mapped, lib)
	v.in.Close()
	v.Wait()
	select {
	case e, ok := <-w2.Events():
		if ok {
			t.Errorf("%+v at the end", e)
		}
	case <-time.After(patience):
		t.Error("the end is not seen")
	}
	w2.Close()
	w3.Close()
	engineMu.Lock()
	defer engineMu.Unlock()
	if running != nil || users != 0 {
		t.Errorf("engine %v stays with %d users", running, users)
	}
}

func TestPolling(t *testing.T) {
	lib := library(t, "libf.so")
	v := start(t)
	w, err := OpenPolling(v.Process.Pid, 5*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for range 3 {
		v.tell(t, "open %s", lib)
		expect(t, w, Mapped, lib)
		v.tell(t, "close")
		expect(t, w, Unmapped, lib)
	}
	v.in.Close()
	v.Wait()
	select {
	case e, ok := <-w.Events():
		if ok {
			t.Errorf("%+v at the end", e)
		}
	case <-time.After(patience):
		t.Error("the end is not seen")
	}
}

func TestOpenOfNobody(t *testing.T) {
	if _, err := Open(1 << 21); err == nil {
		t.Error("watches a process that is not there")
	}
	if running != nil {
		t.Error("engine stays")
	}
}
