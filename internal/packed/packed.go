// Package packed reads test data that is kept compressed, by gzip.
package packed

import (
	"compress/gzip"
	"io"
	"os"
	"testing"
)

// Read returns what a file holds, unpacked.
func Read(t testing.TB, file string) []byte {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
