//go:build !linux

package main

import (
	"fmt"
	"os"
	"runtime"
)

func main() {
	fmt.Fprintf(os.Stderr, "bench: unsupported on %s: it measures Linux\n", runtime.GOOS)
	os.Exit(1)
}
