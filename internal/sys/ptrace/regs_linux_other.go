//go:build linux && !amd64

package ptrace

import "errors"

// Regs64 exists on amd64 only.
func Regs64(int) ([]byte, error) { return nil, errors.ErrUnsupported }

// SetRegs64 exists on amd64 only.
func SetRegs64(int, []byte) error { return errors.ErrUnsupported }

// StackPointer exists on amd64 only.
func StackPointer(int) (uint64, error) { return 0, errors.ErrUnsupported }
