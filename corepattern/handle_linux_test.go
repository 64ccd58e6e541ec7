package corepattern

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"procdump/dumpkind"
	"procdump/elfcore"
	"procdump/snapshot"
)

// crashArgs are the kernel's for the fake process, which does not exist.
var crashArgs = strings.Fields("4000000 4000001 11 1763800000 1000 1000 1 0 host fake")

// handleCore gives a core to the handler through a pipe.
func handleCore(t *testing.T, s System, core []byte) int {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		w.Write(core)
		w.Close()
	}()
	return s.Handle(context.Background(), crashArgs, r)
}

// TestHandleFromStreamOnly handles a crash of a process that is gone.
func TestHandleFromStreamOnly(t *testing.T) {
	s, dir := machine(t)
	folder := filepath.Join(dir, "dumps")
	set := Settings{Folder: folder, Name: "PROCESSNAME-EXCEPTIONCODE", Kinds: []dumpkind.Kind{dumpkind.Mini, dumpkind.Full}, Comment: "hello"}
	if _, err := s.Install(set, false); err != nil {
		t.Fatal(err)
	}
	if code := handleCore(t, s, fakeCore(t, fakeProcess())); code != exitDumped {
		t.Fatalf("exit code %d\n%s", code, get(t, filepath.Join(folder, LogName)))
	}
	for _, kind := range []string{"mini", "full"} {
		path := filepath.Join(folder, "fake-SIGSEGV.SEGV_MAPERR_"+kind+".core")
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode() != 0o600 {
			t.Errorf("mode %v", st.Mode())
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r, err := elfcore.NewReader(f, st.Size())
		if err != nil {
			t.Fatal(err)
		}
		p, _ := r.Process()
		if p.Info.Reason != "Unhandled exception: SIGSEGV.SEGV_MAPERR at 0x10" || p.Info.Comment != "hello" || p.Info.Kind != kind || len(p.Info.Warnings) == 0 {
			t.Errorf("note %+v", p.Info)
		}
		stack := snapshot.Range{Addr: stackAddr + 30*page, Size: page}
		wantMemory(t, p, stack)
		if kind == "full" {
			wantMemory(t, p, snapshot.Range{Addr: heapAddr, Size: 1 << 20})
		}
	}
	if l := readLedger(folder); len(l.Dumps) != 2 || len(l.Reserved) != 0 {
		t.Errorf("ledger %+v", l)
	}
}

// TestHandleTellsWhatItLoses looks for the reasons in the log.
func TestHandleTellsWhatItLoses(t *testing.T) {
	s, dir := machine(t)
	folder := filepath.Join(dir, "dumps")
	core := fakeCore(t, fakeProcess())
	for _, c := range []struct {
		name string
		set  Settings
		core []byte
		want string
	}{
		{"no core", Settings{}, []byte("nonsense"), "read core: it ends after 8 bytes"},
		{"cut", Settings{}, core[:200], "read core: it ends after 200 bytes"},
		{"too large", Settings{Keep: Keep{Bytes: 1000}}, core, "no room"},
		{"no disk", Settings{Keep: Keep{Free: 1 << 60}}, core, "no room"},
	} {
		c.set.Folder = folder
		if _, err := s.Install(c.set, false); err != nil {
			t.Fatal(err)
		}
		os.Remove(filepath.Join(folder, LogName))
		if code := handleCore(t, s, c.core); code != exitLost {
			t.Errorf("%s: exit code %d", c.name, code)
		}
		if log := get(t, filepath.Join(folder, LogName)); !strings.Contains(log, "fake (4000000), user 1000, ") || !strings.Contains(log, "not dumped: "+c.want) || strings.Count(log, "\n") != 1 {
			t.Errorf("%s: log %q, want %q", c.name, log, c.want)
		}
	}
	if all, _ := filepath.Glob(filepath.Join(folder, "*fake*")); len(all) > 0 {
		t.Errorf("dumps %q", all)
	}
	// A folder that others can write now is not used.
	if err := os.Chmod(folder, 0o777); err != nil {
		t.Fatal(err)
	}
	if code := handleCore(t, s, core); code != exitLost {
		t.Errorf("exit code %d with a folder that anybody can write", code)
	}
	if code := handleCore(t, System{State: filepath.Join(dir, "none")}, core); code != exitLost {
		t.Errorf("exit code %d without settings", code)
	}
}

// TestHandleEndsInTime has a kernel that never gets on.
func TestHandleEndsInTime(t *testing.T) {
	s, dir := machine(t)
	if _, err := s.Install(Settings{Folder: filepath.Join(dir, "dumps"), TimeLimit: time.Second}, false); err != nil {
		t.Fatal(err)
	}
	// Another handler has the only place.
	slot, err := takeSlot(context.Background(), s.stateDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer slot.Close()
	st, err := s.readState()
	if err != nil {
		t.Fatal(err)
	}
	st.Settings.Parallel = 1
	if err := s.writeState(st); err != nil {
		t.Fatal(err)
	}
	if code := handleCore(t, s, fakeCore(t, fakeProcess())); code != exitLost {
		t.Errorf("exit code %d", code)
	}
	if log := get(t, filepath.Join(dir, "dumps", LogName)); !strings.Contains(log, errTimeLimit.Error()) {
		t.Errorf("log %q", log)
	}
}

func TestSlotsBoundTheWork(t *testing.T) {
	dir := t.TempDir()
	const places, handlers = 3, 20
	var now, most atomic.Int32
	var wg sync.WaitGroup
	for range handlers {
		wg.Go(func() {
			slot, err := takeSlot(context.Background(), dir, places)
			if err != nil {
				t.Error(err)
				return
			}
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(5 * time.Millisecond)
			now.Add(-1)
			slot.Close()
		})
	}
	wg.Wait()
	if most.Load() != places {
		t.Errorf("%d at a time, want %d", most.Load(), places)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errTimeLimit)
	for range places {
		slot, err := takeSlot(context.Background(), dir, places)
		if err != nil {
			t.Fatal(err)
		}
		defer slot.Close()
	}
	if _, err := takeSlot(ctx, dir, places); !errors.Is(err, errTimeLimit) {
		t.Errorf("a place beyond the last: %v", err)
	}
}

func TestJournal(t *testing.T) {
	dir := t.TempDir()
	j := journal{folder: dir, now: func() time.Time { return time.Unix(0, 0).UTC() }}
	j.file(oneLine("name\nforged line \x1b[31m \"x\""))
	path := filepath.Join(dir, LogName)
	if got := get(t, path); got != "1970-01-01T00:00:00Z name\\nforged line \\x1b[31m \"x\"\n" {
		t.Errorf("%q", got)
	}
	put(t, path, strings.Repeat("x", maxLog+1))
	j.file("next")
	if got := get(t, path); got != "1970-01-01T00:00:00Z next\n" || len(get(t, path+".1")) != maxLog+1 {
		t.Errorf("%q after a full log", got)
	}
	os.Remove(path)
	other := filepath.Join(dir, "other")
	put(t, other, "")
	if err := os.Symlink(other, path); err != nil {
		t.Fatal(err)
	}
	j.file("through a link")
	if got := get(t, other); got != "" {
		t.Errorf("wrote %q through a link", got)
	}
}
