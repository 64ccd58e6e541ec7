package arm

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
)

// program is procdump as the crash kernel has it: what of its file gets loaded.
// Symbols and debug information, at the end, only take memory there.
type program struct {
	io.ReaderAt
	io.Closer
	size int64
	head []byte // the ELF header, changed
}

// program opens the program for the crash kernel: the one that procdump has
// embedded, or else procdump itself.
func (s *System) program() (*program, error) {
	b, err := s.embeddedProgram()
	if err != nil {
		return nil, err
	}
	if b == nil {
		return openProgram("/proc/self/exe")
	}
	p := &program{ReaderAt: bytes.NewReader(b), Closer: io.NopCloser(nil), size: int64(len(b))}
	return p, p.trim()
}

// openProgram opens a 64-bit ELF program.
func openProgram(path string) (*program, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open program for the crash kernel: %w", err)
	}
	p := &program{ReaderAt: f, Closer: f}
	if p.size, err = sizeOf(f); err == nil {
		err = p.trim()
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("read program for the crash kernel: %w", err)
	}
	return p, nil
}

// trim finds the end of the program's segments, and makes a header that knows of
// no sections.
func (p *program) trim() error {
	f, err := elf.NewFile(p)
	if err != nil {
		return err
	}
	p.head = make([]byte, 64)
	if _, err := p.ReadAt(p.head, 0); err != nil {
		return err
	}
	if f.Class != elf.ELFCLASS64 {
		return nil
	}
	for _, s := range f.Progs {
		if s.Type == elf.PT_INTERP {
			return errors.New("it needs shared libraries, which the crash kernel has not: build procdump with CGO_ENABLED=0")
		}
	}
	end := int64(64)
	for _, s := range f.Progs {
		end = max(end, int64(s.Off+s.Filesz))
	}
	// e_phoff at 32 may point behind the segments; e_shoff is at 40, e_shnum and
	// e_shstrndx at 60.
	if phoff := int64(f.ByteOrder.Uint64(p.head[32:])); end < p.size && phoff < end {
		p.size = end
		clear(p.head[40:48])
		clear(p.head[60:64])
	}
	return nil
}

// reader reads the program.
func (p *program) reader() io.Reader {
	return io.MultiReader(bytes.NewReader(p.head), io.NewSectionReader(p, 64, p.size-64))
}
