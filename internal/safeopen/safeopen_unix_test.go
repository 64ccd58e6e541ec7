//go:build unix

package safeopen

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

var errOther = errors.New("it is no regular file")

func regular(st fs.FileInfo) error {
	if !st.Mode().IsRegular() {
		return errOther
	}
	return nil
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	file, pipe := filepath.Join(dir, "file"), filepath.Join(dir, "pipe")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	f, st, err := File(file, regular)
	if err != nil || st.Size() != 4 {
		t.Fatalf("%v, %v", st, err)
	}
	defer f.Close()
	b := make([]byte, 5)
	if n, _ := f.Read(b); string(b[:n]) != "text" {
		t.Errorf("%q", b[:n])
	}
	if f, _, err := File(pipe, regular); f != nil || err != errOther {
		t.Errorf("%v, %v", f, err)
	}
	if f, _, err := File(filepath.Join(dir, "none"), regular); f != nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, %v", f, err)
	}
}

// TestReplaced has a named pipe take the file's place as soon as it was looked at.
func TestReplaced(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	asked := 0
	replace := func(st fs.FileInfo) error {
		if asked++; asked == 1 {
			if err := errors.Join(os.Remove(file), syscall.Mkfifo(file, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		return regular(st)
	}
	done := make(chan error, 1)
	go func() {
		_, _, err := File(file, replace)
		done <- err
	}()
	select {
	case err := <-done:
		if err != errOther || asked != 2 {
			t.Errorf("%v; asked %d times", err, asked)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the opening waits for a writer")
	}
}
