package corepattern

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// lockFile takes an exclusive lock; the file's closing, or this process's end
// whatever its cause, gives it back.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	got := make(chan error, 1)
	go func() { got <- flock(f, syscall.LOCK_EX) }()
	select {
	case err = <-got:
		if err == nil {
			return f, nil
		}
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	case <-ctx.Done():
		return nil, context.Cause(ctx) // the goroutine waits on, until this process ends
	}
}

func flock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// takeSlot waits until fewer than n handlers are at work and returns what holds
// the place. Only one of the waiting looks round, the others queue.
func takeSlot(ctx context.Context, dir string, n int) (*os.File, error) {
	turn, err := lockFile(ctx, filepath.Join(dir, "lock.turn"))
	if err != nil {
		return nil, err
	}
	defer turn.Close()
	slots := make([]*os.File, n)
	defer func() {
		for _, f := range slots {
			if f != nil {
				f.Close()
			}
		}
	}()
	for i := range slots {
		if slots[i], err = os.OpenFile(filepath.Join(dir, fmt.Sprintf("lock.%d", i)), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600); err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
	}
	for {
		for i, f := range slots {
			if flock(f, syscall.LOCK_EX|syscall.LOCK_NB) == nil {
				slots[i] = nil
				return f, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
