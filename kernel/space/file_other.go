//go:build !linux

package space

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// errNoCrashKernel is why there is nothing to manage.
var errNoCrashKernel = fmt.Errorf("dumps at a crash: %w: only Linux has crash kernels", errors.ErrUnsupported)

func measure(context.Context, string) (Measure, error) { return Measure{}, errNoCrashKernel }

func diskOf(string) (Disk, error) { return Disk{}, errNoCrashKernel }

func lockState(string) (unlock func(), err error) { return nil, errNoCrashKernel }

func trusted(*os.File, string) bool { return false }

func setAside(string, int64) (int64, error) { return 0, errNoCrashKernel }

func reservedSize(string) int64 { return 0 }

func removeReserved(string) error { return errNoCrashKernel }
