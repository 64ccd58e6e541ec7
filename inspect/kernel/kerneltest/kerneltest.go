// Package kerneltest has a dump of a kernel for tests of those who inspect dumps
// or show what is in them.
package kerneltest

import (
	"bytes"
	"compress/gzip"
	_ "embed" // the dump
	"io"
	"testing"
)

//go:embed null.elf.gz
var null []byte

// Small is a small dump of Debian's kernel 6.1 that dereferenced a null pointer.
func Small(t testing.TB) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(null))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
