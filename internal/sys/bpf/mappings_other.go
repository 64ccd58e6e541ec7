//go:build !linux

package bpf

import "time"

// Mappings exists on Linux only.
type Mappings struct{}

// OpenMappings says that there is no BPF here.
func OpenMappings() (*Mappings, error) { return nil, unsupported("watching mappings", "Linux", nil) }

// Method is never called.
func (*Mappings) Method() string { return "" }

// Watch is never called.
func (*Mappings) Watch(int) error { return nil }

// Unwatch is never called.
func (*Mappings) Unwatch(int) error { return nil }

// Lost is never called.
func (*Mappings) Lost() uint64 { return 0 }

// Close is never called.
func (*Mappings) Close() {}

// Read is never called.
func (*Mappings) Read(*Mapping, time.Time) error { return ErrClosed }
