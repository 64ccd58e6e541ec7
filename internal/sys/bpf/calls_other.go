//go:build !amd64 && !arm64

package bpf

// Elsewhere no system calls are known, and Open says so.
var (
	numberRegister register
	abis           []abi
)
