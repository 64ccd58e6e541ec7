//go:build linux && !amd64

package ptrace

import "errors"

// Regs64 exists on amd64 only.
func Regs64(int) ([]byte, error) { return nil, errors.ErrUnsupported }

// SetRegs64 exists on amd64 only.
func SetRegs64(int, []byte) error { return errors.ErrUnsupported }
