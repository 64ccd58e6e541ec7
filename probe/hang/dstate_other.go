//go:build !linux

package hang

func isNoProcess(error) bool { return false }
