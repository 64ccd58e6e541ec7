// Package lockdown tells how far the kernel keeps root from changing it
// (kernel_lockdown(7)).
package lockdown

import (
	"os"
	"path/filepath"
	"strings"
)

// Read returns the mode of the kernel's lockdown: "none", "integrity",
// "confidentiality", or "" if it has none, or securityfs is not mounted. sys is
// where sysfs is.
func Read(sys string) string {
	b, err := os.ReadFile(filepath.Join(sys, "kernel/security/lockdown"))
	if err != nil {
		return ""
	}
	// The file marks one of its words: "none [integrity] confidentiality".
	_, rest, _ := strings.Cut(string(b), "[")
	mode, _, ok := strings.Cut(rest, "]")
	if !ok {
		return ""
	}
	return mode
}
