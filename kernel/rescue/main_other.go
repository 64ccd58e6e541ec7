//go:build !linux

package rescue

// Active is false: there are no crash kernels here.
func Active() bool { return false }

// Main is for crash kernels, which do not exist here.
func Main(string) {}
