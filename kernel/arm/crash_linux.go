package arm

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// Crash makes the kernel crash, by sysrq(8), after all is written to disk. It
// does not return unless that fails.
func (s *System) Crash() error {
	// It may take long, and what comes then is to come in any case.
	done := make(chan struct{})
	go func() {
		syscall.Sync()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
	}
	if err := os.WriteFile(s.file("proc/sysrq-trigger"), []byte("c"), 0); err != nil {
		return fmt.Errorf("crash the kernel: %w", err)
	}
	time.Sleep(5 * time.Second)
	return errors.New("crash the kernel: it has not crashed; was it built without CONFIG_MAGIC_SYSRQ?")
}
