package kexec

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRead(t *testing.T) {
	root := t.TempDir()
	put := func(name, content string) {
		t.Helper()
		file := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := Read(root); err != nil || s != (State{}) {
		t.Errorf("no kexec: %+v, %v", s, err)
	}
	put("sys/kernel/kexec_crash_loaded", "1\n")
	if _, err := Read(root); err == nil {
		t.Error("no error without kexec_crash_size")
	}
	put("sys/kernel/kexec_crash_size", "134217728\n")
	if s, err := Read(root); err != nil || s != (State{Supported: true, Loaded: true, Reserved: 128 << 20}) {
		t.Errorf("%+v, %v", s, err)
	}
	put("sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
	put("proc/sys/kernel/kexec_load_disabled", "1\n")
	if s, err := Read(root); err != nil || s.Lockdown != "integrity" || !s.Disabled {
		t.Errorf("%+v, %v", s, err)
	}
	put("sys/kernel/kexec_crash_loaded", "x")
	if _, err := Read(root); err == nil {
		t.Error("no error for a word that is no number")
	}
}

func TestExplain(t *testing.T) {
	for errno, want := range map[error]error{
		unix.EADDRNOTAVAIL: ErrTooSmall, unix.EPERM: ErrRefused, unix.EKEYREJECTED: ErrSignature,
		unix.ENOEXEC: ErrImage, unix.EBUSY: ErrBusy, unix.ENOSYS: errors.ErrUnsupported, unix.EIO: unix.EIO,
	} {
		if err := explain("load", errno); !errors.Is(err, want) || !errors.Is(err, errno) {
			t.Errorf("%v: %v, want %v", errno, err, want)
		}
	}
	if err := explain("load", nil); err != nil {
		t.Error(err)
	}
}

func TestMemory(t *testing.T) {
	f, err := Memory("test", func(w io.Writer) error { _, err := io.WriteString(w, "content"); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := io.ReadAll(f); err != nil || string(b) != "content" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := f.Write([]byte("x")); err == nil {
		t.Error("it can be written")
	}
	if _, err := Memory("test", func(io.Writer) error { return io.ErrUnexpectedEOF }); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v", err)
	}
}
