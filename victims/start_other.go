//go:build !linux

package victims

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

func start(Spec, []string, string) (*Victim, error) {
	return nil, fmt.Errorf("victims on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func killPID(pid int) {
	if p, err := os.FindProcess(pid); err == nil {
		p.Kill()
	}
}

func lastDescendant(pid int) int { return pid }
