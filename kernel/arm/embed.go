package arm

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"embed"
	"fmt"
	"io"
)

// The program for the crash kernel has to be built before procdump, for the same
// architecture.
//go:generate sh generate

//go:embed program
var embedded embed.FS

// embeddedProgram is the program for the crash kernel that procdump was built
// with, or nil.
func (s *System) embeddedProgram() ([]byte, error) {
	b, err := embedded.ReadFile("program/rescue.gz")
	if err != nil {
		return nil, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("unpack program for the crash kernel: %w", err)
	}
	if b, err = io.ReadAll(z); err != nil {
		return nil, fmt.Errorf("unpack program for the crash kernel: %w", err)
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("read program for the crash kernel: %w", err)
	}
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	if f.Machine != machines[s.Machine] {
		return nil, nil // left over from a build for another machine
	}
	return b, nil
}
