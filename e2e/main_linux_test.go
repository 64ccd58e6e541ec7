package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"procdump/victims"
	"procdump/victims/need"
)

// limit bounds every single command: a hang is a failure with the command's name.
const limit = 3 * time.Minute

var tempDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "procdump-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	tempDir = dir
	os.Unsetenv("DEBUGINFOD_URLS") // reports need no network
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// buildOnce builds the program as the Makefile does. PROCDUMP_BINARY names one
// to be tested instead.
var buildOnce = sync.OnceValues(func() (string, error) {
	if given := os.Getenv("PROCDUMP_BINARY"); given != "" {
		return filepath.Abs(given)
	}
	root, err := victims.ModuleDir()
	if err != nil {
		return "", err
	}
	// The program for the crash kernel, which is embedded.
	generate := exec.Command("go", "generate", "./kernel/arm")
	generate.Dir = root
	if msg, err := generate.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build program for the crash kernel: %w\n%s", err, msg)
	}
	out := filepath.Join(tempDir, "procdump")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, "./cmd/procdump")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build procdump: %w\n%s", err, msg)
	}
	// Tests also run it as other users.
	if err := os.Chmod(tempDir, 0o755); err != nil {
		return "", err
	}
	return out, nil
})

func binary(t testing.TB) string {
	t.Helper()
	out, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// result is what a finished procdump left.
type result struct {
	code           int
	stdout, stderr string
	events         []event // with -json
}

// event is a JSON event, with the fields that the tests look at.
type event struct {
	Event       string    `json:"event"`
	Time        time.Time `json:"time"`
	PID         int       `json:"pid"`
	Path        string    `json:"path"`
	Kind        string    `json:"kind"`
	Format      string    `json:"format"`
	SizeBytes   int64     `json:"sizeBytes"`
	PauseMicros int64     `json:"pauseMicros"`
	Method      string    `json:"method"`
	Elapsed     int64     `json:"elapsedMicros"`
	KernelPath  string    `json:"kernelPath"`
	KernelDump  string    `json:"kernelDumpPath"`
	TextPath    string    `json:"textPath"`
	HTMLPath    string    `json:"htmlPath"`
	Message     string    `json:"message"`
	Reason      string    `json:"reason"`
	Text        string    `json:"text"`
	Status      string    `json:"status"`
	Open        []string  `json:"open"`
}

// completed returns the paths of the dumps that were written.
func (r result) completed() []string {
	var paths []string
	for _, e := range r.events {
		if e.Event == "complete" {
			paths = append(paths, e.Path)
		}
	}
	return paths
}

func (r result) String() string {
	return fmt.Sprintf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
}

// procdump runs the program to its end.
func procdump(t testing.TB, args ...string) result {
	t.Helper()
	return finish(t, exec.Command(binary(t), args...))
}

// finish runs a command that is procdump, or ends up as it, to its end.
func finish(t testing.TB, cmd *exec.Cmd) result {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	// A program that procdump launches may be one that ends with its input.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	defer r.Close()
	cmd.Stdin = r
	cmd.WaitDelay = 5 * time.Second // what it launched may hold the outputs open
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(limit, func() { cmd.Process.Signal(syscall.SIGQUIT) })
	err = cmd.Wait()
	if !timer.Stop() {
		t.Fatalf("%s: no end after %v\n%s\n%s", strings.Join(cmd.Args, " "), limit, &out, &errs)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatal(err)
	}
	res := result{code: cmd.ProcessState.ExitCode(), stdout: out.String(), stderr: errs.String()}
	for _, line := range strings.Split(res.stdout, "\n") {
		var e event
		if strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &e) == nil {
			res.events = append(res.events, e)
		}
	}
	return res
}

// spec is how to dump: one kind in one format.
type spec struct{ kind, format string }

func (s spec) String() string { return s.kind + "/" + s.format }

// ext is the extension that the format's files have.
func (s spec) ext() string {
	if s.format == "minidump" {
		return ".dmp"
	}
	return ".core"
}

// specs are all kinds in all formats. Custom takes the kernel's default filter
// and the pages of files besides.
func specs() []spec {
	var all []spec
	for _, format := range []string{"elf", "minidump"} {
		for _, kind := range []string{"-mm", "-mt", "-mp", "-ma", "-mc"} {
			all = append(all, spec{kind, format})
		}
	}
	return all
}

// args are the switches that ask for the dump.
func (s spec) args() []string {
	a := []string{s.kind}
	if s.kind == "-mc" {
		a = append(a, "37")
	}
	return append(a, "-format", s.format)
}

// dump writes a dump of a process and returns its path. It must succeed.
func dump(t testing.TB, pid int, s spec, more ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "dump"+s.ext())
	args := append(s.args(), "-json")
	args = append(args, more...)
	args = append(args, strconv.Itoa(pid), out)
	r := procdump(t, args...)
	if got := r.completed(); r.code != 0 || len(got) != 1 || got[0] != out {
		t.Fatalf("procdump %s: dumps %v, want %s; %v", strings.Join(args, " "), got, out, r)
	}
	return out
}

// command runs a judge's command and returns what it prints.
func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := output(name, args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, cut(out))
	}
	return out
}

// output is command where a failure is the caller's matter.
func output(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "DEBUGINFOD_URLS=", "HOME="+tempDir)
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return "", err
	}
	timer := time.AfterFunc(limit, func() { cmd.Process.Kill() })
	defer timer.Stop()
	if err := cmd.Wait(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, cut(errs.String()))
	}
	return out.String(), nil
}

// cut shortens a judge's text for a message.
func cut(s string) string {
	const most = 4000
	if len(s) <= most {
		return s
	}
	return s[:most/2] + "\n…\n" + s[len(s)-most/2:]
}

// needJudges ends the test unless every judge is there.
func needJudges(t testing.TB) {
	t.Helper()
	need.Root(t)
	need.Tool(t, "gdb")
	lldbPath(t)
	need.Tool(t, "eu-stack")
	breakpadTool(t, "minidump_stackwalk")
}

// freeze stops a victim with SIGSTOP so that every judge sees it in one state,
// once its leader sleeps: it says that it is ready a moment before.
func freeze(t testing.TB, v *victims.Victim) {
	t.Helper()
	for asleep, deadline := 0, time.Now().Add(victims.Timeout); asleep < 3 && time.Now().Before(deadline); asleep++ {
		if s := v.State(); s != 'S' && s != 'T' && s != 't' {
			asleep = 0
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err := v.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	awaitState(t, v, 'T')
}

func awaitState(t testing.TB, v *victims.Victim, want byte) {
	t.Helper()
	for deadline := time.Now().Add(victims.Timeout); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if v.State() == want {
			return
		}
	}
	t.Fatalf("victim %d is in state %c, want %c", v.PID, v.State(), want)
}

// wantAlive checks that the victim runs, untraced, and answers.
func wantAlive(t testing.TB, v *victims.Victim) {
	t.Helper()
	if tracer := statusField(t, v.PID, "TracerPid"); tracer != "0" {
		t.Errorf("victim %d is traced by %s", v.PID, tracer)
	}
	if _, err := v.Query("alive?"); err != nil {
		t.Errorf("victim %d (state %c) does not answer: %v", v.PID, v.State(), err)
	}
}

// statusField returns a field of /proc/PID/status.
func statusField(t testing.TB, pid int, field string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(b), "\n") {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("/proc/%d/status has no %s", pid, field)
	return ""
}

// wantNoFile checks that a folder holds nothing: no dump, no temporary file.
func wantNoFile(t testing.TB, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("%s was left behind", filepath.Join(dir, e.Name()))
	}
}
