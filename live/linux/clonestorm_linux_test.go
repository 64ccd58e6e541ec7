package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"procdump/victims/need"
)

// tryClone stops a process, clones it and lets it go on. It tells whether there
// was a clone.
func tryClone(t *testing.T, pid int) bool {
	t.Helper()
	target, err := Open(pid, Options{Clone: true})
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	s, err := target.Stop(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Resume()
	err = s.Clone(CloneOptions{})
	var no *NoClone
	if err != nil && !errors.As(err, &no) {
		t.Fatal(err)
	}
	return err == nil
}

// TestCloneUnderSignals: none of the signals that come while a process is cloned
// is lost, and job control stops it and lets it go on as ever.
func TestCloneUnderSignals(t *testing.T) {
	const queued = syscall.Signal(39) // glibc's SIGRTMIN + 5: each one counts
	for _, variant := range []string{"", "i386"} {
		t.Run("nothing"+variant, func(t *testing.T) {
			t.Parallel()
			b := startProgram(t, "blocked", variant, "nothing")
			var sent atomic.Int64
			done, ended := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(ended)
				for n := 0; ; n++ {
					select {
					case <-done:
						return
					default:
					}
					if syscall.Kill(b.pid, queued) == nil {
						sent.Add(1)
					}
					if n%8 == 7 {
						_ = syscall.Kill(b.pid, syscall.SIGSTOP)
						time.Sleep(time.Duration(n%5) * 100 * time.Microsecond)
						_ = syscall.Kill(b.pid, syscall.SIGCONT)
					}
					time.Sleep(time.Duration(n%7) * 50 * time.Microsecond)
				}
			}()
			clones := 0
			for i := 0; i < 40 || clones < 10 && i < 2000; i++ {
				if tryClone(t, b.pid) {
					clones++
				}
			}
			close(done)
			<-ended
			if clones < 10 {
				t.Errorf("%d clones", clones)
			}
			want := fmt.Sprintf(" signals=%d ", sent.Load())
			eventually(t, "it has taken"+want, func() bool { return strings.Contains(b.check(t), want) })
			before := b.check(t)
			eventually(t, "it goes on", func() bool { return b.check(t) != before })
			eventually(t, "nothing is left", func() bool { return len(leftovers(t, b.pid)) == 0 })
		})
	}
}

// TestCloneFrozen: a process whose cgroup is frozen stops, but performs no call.
// It is let be, in a limited time, and goes on when it is thawed.
func TestCloneFrozen(t *testing.T) {
	need.Root(t)
	top := t.TempDir()
	if err := syscall.Mount("none", top, "cgroup2", 0, ""); err != nil {
		need.Missing(t, "mount", "mount cgroup2: "+err.Error())
	}
	t.Cleanup(func() { _ = syscall.Unmount(top, syscall.MNT_DETACH) })
	for _, variant := range []string{"", "i386"} {
		for _, state := range []string{"nothing", "sleep"} {
			t.Run(variant+state, func(t *testing.T) {
				t.Parallel()
				b := startProgram(t, "blocked", variant, state)
				dir := filepath.Join(top, "procdump-frozen-"+strconv.Itoa(b.pid))
				if err := os.Mkdir(dir, 0o755); err != nil {
					need.Missing(t, "cgroup", err.Error())
				}
				set := func(file, text string) {
					if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0); err != nil {
						t.Fatal(err)
					}
				}
				set("cgroup.procs", strconv.Itoa(b.pid))
				t.Cleanup(func() {
					_ = syscall.Kill(b.pid, syscall.SIGKILL)
					for deadline := time.Now().Add(patience); syscall.Rmdir(dir) != nil && time.Now().Before(deadline); {
						time.Sleep(time.Millisecond)
					}
				})
				set("cgroup.freeze", "1")
				eventually(t, "it is frozen", func() bool {
					b, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
					return err == nil && strings.Contains(string(b), "frozen 1")
				})
				if tryClone(t, b.pid) {
					t.Error("it was cloned")
				}
				set("cgroup.freeze", "0")
				before := b.check(t)
				eventually(t, "it goes on", func() bool { return b.check(t) != before })
				if !tryClone(t, b.pid) {
					t.Error("it was not cloned when it was thawed")
				}
				before = b.check(t)
				eventually(t, "it goes on once more", func() bool { return b.check(t) != before })
				if l := leftovers(t, b.pid); len(l) > 0 {
					t.Errorf("it has children left: %v", l)
				}
			})
		}
	}
}
