// Package modfile reads files of kernel modules, which distributions compress
// with xz, zstd or gzip. Kernels without CONFIG_MODULE_DECOMPRESS, Debian's
// among them, cannot unpack those. The signature of a module is inside the
// compressed file and stays valid.
package modfile

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// extension is that of the file of a module.
const extension = ".ko"

// maxSize bounds a module, in bytes: the largest have 20 MiB, 60 with debug
// information.
const maxSize = 256 << 20

// ErrFormat means that a file is not a module.
var ErrFormat = errors.New("not a kernel module")

// Name is the name that the kernel gives to the module of a file: "snd-hda.ko.xz"
// is snd_hda. It is "" where the file is not named like a module.
func Name(file string) string {
	base := path.Base(file)
	stem, ext, ok := strings.Cut(base, extension)
	if !ok || stem == "" || ext != "" && !Compressed(file) {
		return ""
	}
	return strings.ReplaceAll(stem, "-", "_")
}

// Compressed tells by the name of a file whether it is compressed.
func Compressed(file string) bool {
	switch path.Ext(file) {
	case ".xz", ".zst", ".gz":
		return true
	}
	return false
}

// Read returns the module that a file holds, unpacked as the file's extension
// says.
func Read(file string, r io.Reader) ([]byte, error) {
	u, err := unpacker(path.Ext(file), r)
	if err != nil {
		return nil, fmt.Errorf("unpack module %s: %w", file, err)
	}
	var b bytes.Buffer
	n, err := b.ReadFrom(io.LimitReader(u, maxSize+1))
	if c, ok := u.(io.Closer); ok {
		c.Close()
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("unpack module %s: %w", file, err)
	case n > maxSize:
		return nil, fmt.Errorf("unpack module %s: it has more than %d MiB", file, maxSize>>20)
	case !bytes.HasPrefix(b.Bytes(), []byte("\x7fELF")):
		return nil, fmt.Errorf("unpack module %s: %w", file, ErrFormat)
	}
	return b.Bytes(), nil
}

// unpacker undoes the compression of an extension.
func unpacker(ext string, r io.Reader) (io.Reader, error) {
	switch ext {
	case ".xz":
		return xz.NewReader(r)
	case ".zst":
		// The kernel's build uses zstd -19, which looks back by 8 MiB and more only
		// in files that are as large.
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case ".gz":
		return gzip.NewReader(r)
	}
	return r, nil
}
