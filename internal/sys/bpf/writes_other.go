//go:build !linux

package bpf

import "time"

// Writes exists on Linux only.
type Writes struct{}

// OpenWrites says that there is no BPF here.
func OpenWrites() (*Writes, error) { return nil, unsupported("watching writes", "Linux", nil) }

// Method is never called.
func (*Writes) Method() string { return "" }

// Watch is never called.
func (*Writes) Watch(int) error { return nil }

// Unwatch is never called.
func (*Writes) Unwatch(int) error { return nil }

// Lost is never called.
func (*Writes) Lost() uint64 { return 0 }

// Missed is never called.
func (*Writes) Missed() uint64 { return 0 }

// Close is never called.
func (*Writes) Close() {}

// Read is never called.
func (*Writes) Read(*Piece, time.Time) error { return ErrClosed }
