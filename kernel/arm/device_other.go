//go:build !linux

package arm

const exclusive = 0

func isBusy(error) bool { return false }

func blockNumber(string) (string, bool) { return "", false }
