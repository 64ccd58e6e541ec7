package rescue

import (
	"os"
	"strings"
	"testing"
	"time"
)

// TestHangingConsole has a console that takes no more: whoever watches over the
// progress must not wait for it.
func TestHangingConsole(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l := newLogger()
	l.console = w
	told := make(chan struct{})
	go func() {
		defer close(told)
		// A pipe holds 64 KiB.
		l.printf("%s", make([]byte, 1<<20))
	}()
	for l.mu.TryLock() { // until the line is being written
		l.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	done := make(chan time.Duration)
	go func() {
		l.alive()
		l.last(time.Millisecond, "the end")
		done <- l.idle()
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("waits for the console")
	}
	r.Close() // the line fails
	<-told
}

// TestLogLines: the record keeps the first lines, each as one.
func TestLogLines(t *testing.T) {
	l := newLogger()
	l.printf("first\nline")
	for range 2 * maxLines {
		l.printf("more")
	}
	if said := l.said(); len(said) != maxLines || !strings.HasSuffix(said[0], "] first; line") {
		t.Errorf("%d lines, the first %q", len(said), said[0])
	}
}
