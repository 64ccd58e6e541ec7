//go:build !linux

package arm

import "errors"

// Crash does not exist here.
func (s *System) Crash() error { return errors.ErrUnsupported }
