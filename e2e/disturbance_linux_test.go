package e2e

import (
	"bytes"
	le "encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"procdump/elfcore"
	"procdump/victims"
	"procdump/victims/need"
)

// TestCtrlZ: procdump does not stop with the victim in its hands.
func TestCtrlZ(t *testing.T) {
	v := victims.Start(t, "dirty", "256")
	cmd, out := begin(t, v, "-ma", "-r", "0", strconv.Itoa(v.PID), filepath.Join(t.TempDir(), "x.core"))
	for _, sig := range []syscall.Signal{syscall.SIGTSTP, syscall.SIGTTOU, syscall.SIGTTIN} {
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("procdump after Ctrl-Z: %v\n%s", err, out)
	}
	wantAlive(t, v)
}

// TestLaunchedSignals: a program that -x launches ignores no signal for
// procdump's sake.
func TestLaunchedSignals(t *testing.T) {
	// What it would ignore without procdump the test's own parents decided.
	want, err := exec.Command("grep", "SigIgn", "/proc/self/status").Output()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "status")
	r := procdump(t, "-x", t.TempDir()+"/", "sh", "-c", "grep SigIgn /proc/self/status >"+file+"; exec sleep 5")
	if r.code != 0 {
		t.Fatal(r)
	}
	b, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(b, want) {
		t.Errorf("the launched program says %q, %v; want %q", b, err, want)
	}
}

// TestExecUnderWay: of a process that executes a program every few
// milliseconds each dump is of one program, not of two.
func TestExecUnderWay(t *testing.T) {
	script := filepath.Join(t.TempDir(), "again")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexec "+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(script)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	for range 20 {
		file := dump(t, cmd.Process.Pid, spec{"-mm", "elf"}, "-o")
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		st, _ := f.Stat()
		r, err := elfcore.NewReader(f, st.Size())
		if err != nil {
			t.Fatal(err)
		}
		p, _ := r.Process()
		const atEntry = 9
		for b := p.Auxv; len(b) >= 16; b = b[16:] {
			if addr := le.LittleEndian.Uint64(b[8:]); le.LittleEndian.Uint64(b) == atEntry && p.FindRegion(addr) < 0 {
				t.Errorf("AT_ENTRY %#x is in no region of the core", addr)
			}
		}
		f.Close()
	}
}

// TestHangingDisk: a write that hangs does not hold the victim beyond the time
// limit.
func TestHangingDisk(t *testing.T) {
	need.Root(t)
	mkfs, freeze := need.Tool(t, "mkfs.ext4"), need.Tool(t, "fsfreeze")
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 1<<30); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs, "-q", image).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
		need.Missing(t, "mount", string(out))
	}
	defer exec.Command("umount", dir).Run()
	folder := filepath.Join(dir, "dumps") // lost+found is beside it
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	v := victims.Start(t, "dirty", "512")
	cmd, out := begin(t, v, "-ma", "-r", "0", "-at", "1", strconv.Itoa(v.PID), filepath.Join(folder, "x.core"))
	if b, err := exec.Command(freeze, "--freeze", dir).CombinedOutput(); err != nil {
		cmd.Wait()
		t.Fatalf("fsfreeze: %v: %s", err, b)
	}
	time.Sleep(1500 * time.Millisecond)
	status, err := os.ReadFile("/proc/" + strconv.Itoa(v.PID) + "/status")
	if b, ferr := exec.Command(freeze, "--unfreeze", dir).CombinedOutput(); ferr != nil {
		t.Fatalf("fsfreeze: %v: %s", ferr, b)
	}
	if err != nil || !bytes.Contains(status, []byte("TracerPid:\t0\n")) {
		t.Errorf("half a second after the time limit the victim is still held:\n%s", status)
	}
	cmd.Wait()
	if cmd.ProcessState.ExitCode() == 0 {
		t.Fatalf("the dump was faster than the freeze: take a larger victim\n%s", out)
	}
	wantNoFile(t, folder)
	wantAlive(t, v)
}
