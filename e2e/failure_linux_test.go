package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"procdump/victims"
	"procdump/victims/need"
)

// smallDisk mounts a tmpfs of so many KiB, with nothing in it.
func smallDisk(t testing.TB, kib int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("procdump-test", dir, "tmpfs", 0, "size="+strconv.Itoa(kib)+"k"); err != nil {
		need.Missing(t, "mount", err.Error())
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// TestDiskFull: whatever the kind and format, a full disk means exit code 1, a
// message that says so, no file and a victim that runs.
func TestDiskFull(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "dirty", "8")
	for _, d := range specs() {
		for _, more := range [][]string{nil, {"-z"}} {
			t.Run(d.String()+strings.Join(more, ""), func(t *testing.T) {
				dir := smallDisk(t, 64)
				args := append(append(d.args(), more...), strconv.Itoa(v.PID), filepath.Join(dir, "dump"+d.ext()))
				r := procdump(t, args...)
				if r.code != 1 {
					t.Errorf("want exit code 1: %v", r)
				}
				if text := strings.ToLower(r.stdout + r.stderr); !strings.Contains(text, "space") {
					t.Errorf("no word of space: %v", r)
				}
				wantNoFile(t, dir)
				wantAlive(t, v)
			})
		}
	}
}

// TestDiskFillsUp: the space is there when it is checked and gone while the
// dump is written.
func TestDiskFillsUp(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "dirty", "256")
	for _, format := range []string{"elf", "minidump"} {
		t.Run(format, func(t *testing.T) {
			for range 5 {
				if diskFillsUp(t, v, format) {
					return
				}
			}
			t.Error("the dump was faster than the hog five times: take a larger victim")
		})
	}
}

// diskFillsUp returns false if the dump was complete before the disk was full.
func diskFillsUp(t *testing.T, v *victims.Victim, format string) bool {
	t.Helper()
	dir := smallDisk(t, 300<<10)
	ext := spec{"-ma", format}.ext()
	cmd := exec.Command(binary(t), "-ma", "-format", format, strconv.Itoa(v.PID), filepath.Join(dir, "dump"+ext))
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	hog, err := os.Create(filepath.Join(dir, "hog"))
	if err != nil {
		t.Fatal(err)
	}
	defer hog.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if !awaitTracer(v.PID) {
			return
		}
		// The space was checked: now take what is left.
		block := make([]byte, 1<<20)
		for {
			if _, err := hog.Write(block); err != nil {
				return
			}
		}
	}()
	r := finish(t, cmd)
	if r.code == 0 {
		hog.Close() // its writer may still be waiting for the next victim
	}
	<-done
	os.Remove(hog.Name())
	if r.code == 0 {
		return false
	}
	if r.code != 1 || !strings.Contains(strings.ToLower(r.stdout+r.stderr), "space") {
		t.Errorf("want exit code 1 and a word of space: %v", r)
	}
	wantNoFile(t, dir)
	wantAlive(t, v)
	return true
}

// awaitTracer waits until somebody traces a process.
func awaitTracer(pid int) bool {
	for deadline := time.Now().Add(victims.Timeout); time.Now().Before(deadline); time.Sleep(50 * time.Microsecond) {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
		if err != nil {
			return false
		}
		if !bytes.Contains(b, []byte("TracerPid:\t0\n")) {
			return true
		}
	}
	return false
}

// begin starts a dump of a victim and returns once the victim is stopped. The
// memory is then still to be copied.
func begin(t *testing.T, v *victims.Victim, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	cmd := exec.Command(binary(t), args...)
	out := new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	if !awaitTracer(v.PID) {
		t.Fatalf("the victim was not stopped")
	}
	return cmd, out
}

// TestCancelled: Ctrl-C, SIGTERM and -cancel in the middle of a dump.
func TestCancelled(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "dirty", "2048")
	pid := strconv.Itoa(v.PID)
	for name, cancel := range map[string]func(p *os.Process) (asked bool){
		"SIGINT":  func(p *os.Process) bool { return p.Signal(syscall.SIGINT) == nil },
		"SIGTERM": func(p *os.Process) bool { return p.Signal(syscall.SIGTERM) == nil },
		"-cancel": func(*os.Process) bool { return procdump(t, "-cancel", pid).code == 0 },
	} {
		for _, how := range []string{"-r 0", "-r 0 -z", "-r 1"} {
			t.Run(name+how, func(t *testing.T) {
				dir := t.TempDir()
				// A dump may be complete before the cancellation arrives.
				for range 5 {
					cmd, out := begin(t, v, append(strings.Fields("-ma "+how), pid, filepath.Join(dir, "dump.core"))...)
					asked := cancel(cmd.Process)
					cmd.Wait()
					code := cmd.ProcessState.ExitCode()
					wantAlive(t, v)
					if code == 0 {
						os.RemoveAll(dir)
						os.Mkdir(dir, 0o755)
						continue
					}
					if code != 130 || !asked || !strings.Contains(strings.ToLower(out.String()), "cancel") {
						t.Errorf("exit code %d, asked %v; want 130 and a word of the cancellation: %s", code, asked, out)
					}
					wantNoFile(t, dir)
					return
				}
				t.Error("five dumps of 2 GiB were each complete before the cancellation")
			})
		}
	}
}

// TestTimeLimit: -at is over before the dump is complete.
func TestTimeLimit(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "dirty", "3072")
	dir := t.TempDir()
	// Compressed, it takes longer than a second on any machine.
	r := procdump(t, "-ma", "-z", "-at", "1", strconv.Itoa(v.PID), filepath.Join(dir, "dump.core"))
	if r.code == 0 {
		t.Fatal("3 GiB were compressed within a second: take more")
	}
	if r.code != 1 || !strings.Contains(r.stdout+r.stderr, "time limit") {
		t.Errorf("want exit code 1 and a word of the limit: %v", r)
	}
	wantNoFile(t, dir)
	wantAlive(t, v)
}

// TestTargetDies: the target is killed while it is dumped.
func TestTargetDies(t *testing.T) {
	need.Root(t)
	for _, format := range []string{"elf", "minidump"} {
		t.Run(format, func(t *testing.T) {
			v := victims.Start(t, "dirty", "1024")
			dir := t.TempDir()
			cmd, out := begin(t, v, "-ma", "-r", "0", "-format", format, strconv.Itoa(v.PID), filepath.Join(dir, "dump"+spec{"", format}.ext()))
			v.Kill()
			timer := time.AfterFunc(limit, func() { cmd.Process.Kill() })
			cmd.Wait()
			timer.Stop()
			switch code := cmd.ProcessState.ExitCode(); code {
			case 0:
				t.Logf("the dump was complete before the target died: %s", out)
			case 1, 5:
				wantNoFile(t, dir)
			default:
				t.Errorf("exit code %d, want 1 or 5: %s", code, out)
			}
			if strings.Contains(out.String(), "goroutine ") {
				t.Errorf("a panic: %s", cut(out.String()))
			}
		})
	}
}
