package bpf

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"procdump/victims/need"
)

// asNobody makes the test binary try as a user without privileges.
const asNobody = "BPF_TEST_AS_NOBODY"

func TestMain(m *testing.M) {
	if os.Getenv(asNobody) != "" {
		_, err := OpenWrites()
		if errors.Is(err, fs.ErrPermission) {
			os.Stdout.WriteString("permission: ")
		}
		if err != nil {
			os.Stdout.WriteString(err.Error())
		}
		os.Exit(0)
	}
	if os.Getenv(asFlood) != "" {
		writeForEver()
	}
	if pid, err := strconv.Atoi(os.Getenv(asWatcher)); err == nil {
		fmt.Fprintln(os.Stderr, watchAndTell(pid))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// tried ends the test if there is no BPF here.
func tried(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission) {
		need.Missing(t, "bpf", err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestWithoutPrivileges(t *testing.T) {
	need.Root(t)
	w, err := OpenWrites()
	tried(t, err)
	w.Close()
	// The test binary lies where others may not look.
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	cmd := exec.Command("/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{self}
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), asNobody+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if s := string(out); !strings.HasPrefix(s, "permission: watching writes: needs CAP_BPF and CAP_PERFMON: run as root") {
		t.Errorf("says %q", s)
	}
}

func TestWritesOfOneProcess(t *testing.T) {
	need.Root(t)
	w, err := OpenWrites()
	tried(t, err)
	defer w.Close()
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	if err := w.Watch(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	if _, err := in.Write([]byte("through cat\n")); err != nil {
		t.Fatal(err)
	}
	var p Piece
	if err := w.Read(&p, time.Now().Add(30*time.Second)); err != nil {
		t.Fatal(err)
	}
	if p.PID != cmd.Process.Pid || p.FD != 1 || string(p.Data) != "through cat\n" || p.Rest != 0 || !p.First || p.Cut {
		t.Errorf("%+v %q", p, p.Data)
	}
	if d := p.At.Sub(before); d < -time.Second || d > 30*time.Second {
		t.Errorf("at %v, begun at %v", p.At, before)
	}
	if err := w.Unwatch(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if err := w.Read(&p, time.Now().Add(20*time.Millisecond)); !errors.Is(err, ErrTimeout) {
		t.Errorf("%v, want %v", err, ErrTimeout)
	}
	go func() {
		time.Sleep(20 * time.Millisecond)
		w.Close()
	}()
	if err := w.Read(&p, time.Time{}); !errors.Is(err, ErrClosed) {
		t.Errorf("%v, want %v", err, ErrClosed)
	}
	if err := w.Watch(0); err == nil {
		t.Error("watches process 0")
	}
}

// TestWatchingIsABit has neighbours watched and unwatched.
func TestWatchingIsABit(t *testing.T) {
	need.Root(t)
	w, err := OpenWrites()
	tried(t, err)
	defer w.Close()
	word := func() (v uint64) {
		if err := w.tap.watched.Lookup(uint32(1), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, pid := range []int{64, 65, 127} {
		if err := w.Watch(pid); err != nil {
			t.Fatal(err)
		}
	}
	if v := word(); v != 1|2|1<<63 {
		t.Errorf("%#x", v)
	}
	if err := w.Unwatch(65); err != nil {
		t.Fatal(err)
	}
	if v := word(); v != 1|1<<63 {
		t.Errorf("%#x", v)
	}
	for _, pid := range []int{-1, 0, maxPID} {
		if err := w.Watch(pid); err == nil {
			t.Errorf("watches %d", pid)
		}
	}
}

func TestKernelTypes(t *testing.T) {
	k, err := loadKernel()
	tried(t, err)
	if off, err := k.offset("dentry", "d_name", "name"); err != nil || off <= 0 {
		t.Errorf("%d, %v", off, err)
	}
	if _, err := k.offset("dentry", "d_name", "nonsense"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v", err)
	}
	if _, err := k.offset("no_such_structure", "x"); err == nil {
		t.Error("finds a structure that is not there")
	}
	if _, err := k.callFunction(call{functions: []string{"vfs_write"}}); !errors.Is(err, errNoFunction) {
		t.Errorf("takes a function with other parameters: %v", err)
	}
}

func TestJoinParts(t *testing.T) {
	for in, want := range map[string]string{
		"libc.so.6\x00lib\x00usr\x00": "/usr/lib/libc.so.6",
		"memfd:x\x00":                 "/memfd:x",
	} {
		if got := joinParts([]byte(in)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestExecPause keeps a process at its execve(2) that nobody traces: it goes on
// by itself, and is forgotten.
func TestExecPause(t *testing.T) {
	need.Root(t)
	e, err := OpenExecPause()
	if err != nil {
		if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, os.ErrPermission) {
			need.Missing(t, "bpf", err.Error())
		}
		t.Fatal(err)
	}
	defer e.Close()
	cmd := exec.Command("sh", "-c", "read x; exec true")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := e.Add(cmd.Process.Pid); err != nil {
		t.Error(err)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	var n uint32
	if err := e.pids.Lookup(uint32(cmd.Process.Pid), &n); err == nil {
		t.Error("it was not kept")
	}
}
