package output

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"procdump/victims/need"
)

// open returns a Source or ends the test where BPF is missing.
func open(t testing.TB) *Source {
	t.Helper()
	need.Root(t)
	s, err := Open()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission) {
		need.Missing(t, "bpf", err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// build compiles the victim; flags may say -m32.
func build(t testing.TB, flags ...string) string {
	t.Helper()
	gcc := need.Tool(t, "gcc")
	key := strings.Join(flags, " ")
	if exe, ok := built[key]; ok {
		return exe
	}
	out := filepath.Join(folder, "writer"+key)
	args := append([]string{"-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", out, "testdata/writer.c"}, flags...)
	if msg, err := exec.Command(gcc, args...).CombinedOutput(); err != nil {
		t.Fatalf("build victim: %v\n%s", err, msg)
	}
	built[key] = out
	return out
}

var (
	built  = map[string]string{} // by flags
	folder string                // of the victims
)

func TestMain(m *testing.M) {
	var err error
	if folder, err = os.MkdirTemp("", "output"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(folder)
	os.Exit(code)
}

// victim is a running program that is told what to write.
type victim struct {
	*exec.Cmd
	in io.WriteCloser
}

func start(t testing.TB, exe string, stdout, stderr *os.File) *victim {
	t.Helper()
	v := &victim{Cmd: exec.Command(exe)}
	var err error
	if v.in, err = v.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	v.Stdout, v.Stderr = stdout, stderr
	if err := v.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.in.Close(); v.Process.Kill(); v.Wait() })
	return v
}

func (v *victim) tell(t testing.TB, command string) {
	t.Helper()
	if _, err := io.WriteString(v.in, command+"\n"); err != nil {
		t.Fatal(err)
	}
}

func file(t testing.TB, name string) *os.File {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
