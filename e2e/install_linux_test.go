package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"procdump/victims"
	"procdump/victims/need"
)

// sysctlFile and stateDir are what procdump -i makes on a machine.
const (
	sysctlFile = "/etc/sysctl.d/60-procdump.conf"
	stateDir   = "/var/lib/procdump"
)

// installer is a procdump where -i takes it from.
type installer struct {
	t      *testing.T
	exe    string
	folder string // of the dumps; it does not exist yet
	before string // the kernel's settings
}

// newInstaller prepares for -i by the command line. Whatever happens, the
// machine is in the end as it was.
func newInstaller(t *testing.T) *installer {
	t.Helper()
	need.Root(t)
	dir, err := os.MkdirTemp("/var/lib", "procdump-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// A handler at work may write there for a moment.
		for deadline := time.Now().Add(victims.Timeout); os.RemoveAll(dir) != nil && time.Now().Before(deadline); {
			time.Sleep(50 * time.Millisecond)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	i := &installer{t: t, exe: filepath.Join(dir, "procdump"), folder: filepath.Join(dir, "dumps")}
	copyProgram(t, binary(t), i.exe)
	ours := []string{sysctlFile, filepath.Join(stateDir, "handler.json")}
	release := guardKernel(t, append(ours, stateDir)...)
	i.before = kernelSettings(t)
	for _, f := range ours {
		if _, err := os.Stat(f); err == nil {
			need.Missing(t, "kernel", f+" is there: procdump is this machine's crash handler")
		}
	}
	t.Cleanup(func() {
		if _, err := os.Stat(filepath.Join(stateDir, "handler.json")); err == nil {
			i.uninstall()
		}
		release()
	})
	return i
}

func copyProgram(t testing.TB, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err == nil {
		_, err = io.Copy(out, in)
	}
	if err == nil {
		err = out.Chmod(0o755)
	}
	if err == nil {
		err = out.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// run runs the installed procdump; FOLDER in an argument is the dumps'.
func (i *installer) run(args ...string) result {
	i.t.Helper()
	for k := range args {
		args[k] = strings.ReplaceAll(args[k], "FOLDER", i.folder)
	}
	return finish(i.t, exec.Command(i.exe, args...))
}

// install runs -i, which must succeed. No crash of another program may be held
// for long.
func (i *installer) install(args ...string) *crashHandler {
	i.t.Helper()
	if r := i.run(append([]string{"-i", "-at", "60"}, args...)...); r.code != 0 || r.stderr != "" {
		i.t.Fatalf("-i %q: %v", args, r)
	}
	return &crashHandler{folder: i.folder}
}

// uninstall runs -u, which must give everything back.
func (i *installer) uninstall() {
	i.t.Helper()
	if r := i.run("-u"); r.code != 0 || r.stderr != "" {
		i.t.Errorf("-u: %v", r)
	}
	if now := kernelSettings(i.t); now != i.before {
		i.t.Errorf("kernel settings are %q, were %q", now, i.before)
	}
	for _, f := range []string{sysctlFile, filepath.Join(stateDir, "handler.json")} {
		if _, err := os.Stat(f); err == nil {
			i.t.Errorf("%s is still there", f)
		}
	}
}

// forEverybody lets every user run a program of the test's folder.
func forEverybody(exe string) string {
	for dir := exe; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		os.Chmod(dir, 0o755)
	}
	return exe
}

// TestInstall installs and uninstalls by the command line, and crashes programs
// of two users before, meanwhile and afterwards.
func TestInstall(t *testing.T) {
	exe := forEverybody(crasher(t, "cr-install"))
	i := newInstaller(t)
	runToEnd(t, nil, exe)
	r := i.run("-i", "-at", "60", "-ma", "-dc", "a comment", "FOLDER")
	for _, want := range []string{"dumped to " + i.folder + ".", "full", "PROCESSNAME_PID_EXCEPTIONCODE_YYMMDD_HHMMSS", "the newest 1000 dumps"} {
		if r.code != 0 || !strings.Contains(r.stdout, want) {
			t.Errorf("-i does not say %q: %v", want, r)
		}
	}
	h := &crashHandler{folder: i.folder}
	for file, want := range map[string]string{"/proc/sys/kernel/core_pattern": "|" + i.exe + " -j %P ", sysctlFile: i.exe} {
		if b, err := os.ReadFile(file); err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s: %q, %v, want %q in it", file, b, err, want)
		}
	}
	if status := runToEnd(t, nil, exe, "thread"); status.Signal() != syscall.SIGSEGV || !status.CoreDump() {
		t.Errorf("ended with %#x", status)
	}
	p := readCore(t, h.one(t, "cr-install"))
	if p.Threads[0].Name != "crasher" || p.Exception.Addr != 16 || p.Info.Comment != "a comment" || p.Info.Kind != "full" {
		t.Errorf("thread %q, %+v, note %+v", p.Threads[0].Name, p.Exception, p.Info)
	}
	wantOwner(t, h.one(t, "cr-install"), 0, 0)
	if err := os.Remove(h.one(t, "cr-install")); err != nil {
		t.Fatal(err)
	}
	asNobody(exe)
	wantOwner(t, h.one(t, "cr-install"), nobody, nobody)
	i.uninstall()
	runToEnd(t, nil, exe)
	h.one(t, "cr-install")
	if r := i.run("-u"); r.code == 0 || !strings.Contains(r.stderr, "not installed") {
		t.Errorf("-u again: %v", r)
	}
}

// asNobody runs a program that crashes.
func asNobody(exe string, args ...string) {
	cmd := exec.Command(exe, args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	cmd.Run()
}

func wantOwner(t *testing.T, path string, uid, gid uint32) {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if sys := st.Sys().(*syscall.Stat_t); sys.Uid != uid || sys.Gid != gid || st.Mode() != 0o600 {
		t.Errorf("%s: owner %d:%d, mode %v, want %d:%d", path, sys.Uid, sys.Gid, st.Mode(), uid, gid)
	}
}

// TestInstallRefuses: another tool's handler stays unless -o is given, and so
// does everything where a dump folder is not safe.
func TestInstallRefuses(t *testing.T) {
	i := newInstaller(t)
	const pattern = "/proc/sys/kernel/core_pattern"
	write := func(text string) {
		if err := os.WriteFile(pattern, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	now := func() string {
		b, _ := os.ReadFile(pattern)
		return string(b)
	}
	const theirs = "|/bin/false of another tool %p\n"
	write(theirs)
	if r := i.run("-i", "FOLDER"); r.code != 1 || !strings.Contains(r.stderr, "/bin/false") || !strings.Contains(r.stderr, "-o") || now() != theirs {
		t.Errorf("core_pattern %q; %v", now(), r)
	}
	i.install("-o", "FOLDER")
	if !strings.HasPrefix(now(), "|"+i.exe) {
		t.Errorf("core_pattern %q after -i -o", now())
	}
	if r := i.run("-u"); r.code != 0 || now() != theirs {
		t.Errorf("core_pattern %q, want %q back; %v", now(), theirs, r)
	}
	open := filepath.Join(filepath.Dir(i.folder), "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	os.Chmod(open, 0o777)
	if r := i.run("-i", "-o", open); r.code != 1 || !strings.Contains(r.stderr, "can be written by others") || now() != theirs {
		t.Errorf("core_pattern %q; %v", now(), r)
	}
	if _, err := os.Stat(sysctlFile); err == nil {
		t.Errorf("%s is left", sysctlFile)
	}
}

// TestInstallKeep wants the oldest dumps removed when there are too many, when
// they are too old and when they are too large, each told in the log. Programs
// of other tests may crash meanwhile and count, too.
func TestInstallKeep(t *testing.T) {
	exe := crasher(t, "cr-keep")
	i := newInstaller(t)
	h := i.install("-keep", "3,2h", "FOLDER/PROCESSNAME_EXCEPTIONCODE")
	other := filepath.Join(h.folder, "cr-keep_of-somebody-else.core")
	if err := os.WriteFile(other, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	crash := func(n int) {
		for range n {
			runToEnd(t, nil, exe)
		}
	}
	count := func(text string) int { return strings.Count(h.log(), text) }
	// balanced tells whether the log has a line for each dump that is gone.
	balanced := func() bool {
		dumped, removed := count(" on disk, "), count(" removed ")
		return len(h.dumps(t, "*")) == 1+dumped-removed
	}
	crash(5)
	eventually(t, "3 dumps", h, func() bool { return len(h.dumps(t, "*")) == 1+3 && balanced() })
	if count(": more than 3 dumps") < 2 {
		t.Errorf("the log does not tell of 2 dumps that were too many\n%s", h.log())
	}
	age(t, h.folder, 2, 3*time.Hour)
	crash(1)
	eventually(t, "the old dumps' end", h, func() bool { return count(": older than 2h") == 2 && balanced() })
	// Installed again, it has other limits.
	i.install("-keep", "1MB", "FOLDER/PROCESSNAME_EXCEPTIONCODE")
	const limit = 1 << 20
	crash(12) // of 100 KB or so
	for most := 40; most > 0 && count(": more than 1048576 bytes") == 0; most-- {
		crash(1)
	}
	if count(": more than 1048576 bytes of dumps") == 0 {
		t.Errorf("nothing was removed for its size\n%s", h.log())
	}
	eventually(t, "less than 1 MiB of dumps", h, func() bool {
		n := onDisk(h.dumps(t, "*"))
		return n > limit/4 && n <= limit+4096 && balanced()
	})
	if _, err := os.Stat(other); err != nil {
		t.Errorf("somebody else's file: %v", err)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, h *crashHandler, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(victims.Timeout); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s: %q\n%s", what, h.dumps(t, "*"), h.log())
		}
	}
}

// age makes the first n dumps of the handler's list older.
func age(t *testing.T, folder string, n int, by time.Duration) {
	t.Helper()
	lock, err := os.Open(filepath.Join(stateDir, "lock.ledger"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, ".procdump-dumps")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var ledger map[string]any
	if err := json.Unmarshal(b, &ledger); err != nil {
		t.Fatal(err)
	}
	for _, d := range ledger["dumps"].([]any)[:n] {
		d.(map[string]any)["time"] = time.Now().Add(-by)
	}
	if b, err = json.Marshal(ledger); err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func onDisk(files []string) (n int64) {
	for _, f := range files {
		if st, err := os.Stat(f); err == nil { // else it was just removed
			n += st.Sys().(*syscall.Stat_t).Blocks * 512
		}
	}
	return n
}

// TestInstallBeyondQuota crashes 50 processes at once where 20 of a program are
// dumped in a minute and 8 are kept: it is told which are not.
func TestInstallBeyondQuota(t *testing.T) {
	exe := crasher(t, "cr-quota")
	i := newInstaller(t)
	h := i.install("-rate", "20", "-keep", "8", "FOLDER")
	const n = 50
	var wg sync.WaitGroup
	var mu sync.Mutex
	var pids []int
	for range n {
		wg.Go(func() {
			cmd := exec.Command(exe, "thread")
			cmd.Run()
			mu.Lock()
			defer mu.Unlock()
			pids = append(pids, cmd.Process.Pid)
			if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGSEGV || !status.CoreDump() {
				t.Errorf("ended with %#x", status)
			}
		})
	}
	wg.Wait()
	// All that crash are told of; 8 dumps stay, of whatever program.
	eventually(t, "8 dumps", h, func() bool { return len(h.dumps(t, "*")) == 8 })
	log := h.log()
	told := func(expression string) (out []int) {
		for _, m := range regexp.MustCompile(expression).FindAllStringSubmatch(log, -1) {
			pid, _ := strconv.Atoi(m[1])
			out = append(out, pid)
		}
		return out
	}
	var kept []int
	for _, d := range h.dumps(t, "cr-quota") {
		kept = append(kept, readCore(t, d).PID)
	}
	refused := told(`cr-quota \((\d+)\), user 0, .* not dumped: .* has crashed 20 times within a minute`)
	removed := told(`removed .*/cr-quota_(\d+)_SIGSEGV.*: more than 8 dumps`)
	dumped := told(`cr-quota \((\d+)\), user 0, SIGSEGV.SEGV_MAPERR at 0x10: /`)
	if len(dumped) != 20 || len(kept) > 8 || len(kept)+len(removed) != 20 || len(refused) != 30 {
		t.Errorf("%d dumped, %d kept, %d removed, %d refused, want 20, 8, 12 and 30\n%s", len(dumped), len(kept), len(removed), len(refused), cut(log))
	}
	all := slices.Concat(kept, removed, refused)
	slices.Sort(all)
	slices.Sort(pids)
	if !slices.Equal(all, pids) {
		t.Errorf("kept, removed and refused are %v, crashed are %v", all, pids)
	}
	// The limit is one program's.
	another := crasher(t, "cr-another")
	runToEnd(t, nil, another)
	h.one(t, "cr-another")
}

// TestInstallContainer crashes programs in namespaces of their own, in a control
// group that is named as a container's: PID, owner and names are the host's.
func TestInstallContainer(t *testing.T) {
	unshare, setpriv := need.Tool(t, "unshare"), need.Tool(t, "setpriv")
	exe := forEverybody(crasher(t, "cr-box"))
	i := newInstaller(t)
	h := i.install("FOLDER/PROCESSNAME_PID_CONTAINERID_CGROUP")
	id, group, procs := containerGroup(t)
	enter := "echo $$ >" + procs + " && exec \"$@\""
	for _, c := range []struct {
		name  string
		args  []string
		owner uint32
	}{
		{"user namespace", []string{unshare, "-pfmUr", "--mount-proc", "sh", "-c", exe + " thread; true"}, 0},
		{"user nobody", []string{unshare, "-pfm", "--mount-proc", setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", exe + " thread; true"}, nobody},
	} {
		runToEnd(t, nil, "sh", append([]string{"-c", enter, "sh"}, c.args...)...)
		dump := h.one(t, "cr-box")
		p := readCore(t, dump)
		if want := fmt.Sprintf("cr-box_%d_%s_%s.core", p.PID, id[:12], group); filepath.Base(dump) != want {
			t.Errorf("%s: %s, want %s", c.name, dump, want)
		}
		if n := p.Info.NSPID; len(n) != 2 || n[0] != p.PID || n[1] >= 10 || p.UID != c.owner || p.Info.Container != id {
			t.Errorf("%s: PIDs %v of process %d, user %d, container %s", c.name, n, p.PID, p.UID, p.Info.Container)
		}
		if len(p.Threads) != 3 || p.Threads[0].Name != "crasher" || p.Threads[0].TID <= p.PID {
			t.Errorf("%s: threads %+v", c.name, p.Threads)
		}
		wantOwner(t, dump, c.owner, c.owner)
		os.Remove(dump)
	}
	runToEnd(t, nil, exe)
	if dump := h.one(t, "cr-box"); !regexp.MustCompile(`/cr-box_\d+_host_`).MatchString(dump) || strings.Contains(dump, group) {
		t.Errorf("outside of the container: %s", dump)
	}
}
