//go:build !linux

package arm

import "errors"

func checkProgram(string) error { return errors.ErrUnsupported }

func (s *System) replaceable(string) string { return "" }
