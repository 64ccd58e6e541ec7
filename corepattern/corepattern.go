package corepattern

import (
	"context"
	"os"
)

// Install is System.Install of this machine.
func Install(set Settings, force bool) (*Installation, error) { return System{}.Install(set, force) }

// Uninstall is System.Uninstall of this machine.
func Uninstall(force bool) (*Removal, error) { return System{}.Uninstall(force) }

// Status is System.Status of this machine.
func Status() (*Installation, error) { return System{}.Status() }

// Handle is System.Handle of this machine.
func Handle(ctx context.Context, tool string, args []string, stdin *os.File) int {
	return System{Tool: tool}.Handle(ctx, args, stdin)
}
