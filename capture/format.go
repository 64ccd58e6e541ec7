package capture

import (
	"fmt"
	"runtime"
)

// Format is the file format of a dump.
type Format uint8

const (
	// FormatAuto is the format that the file's name asks for, else DefaultFormat.
	FormatAuto     Format = iota
	FormatELF             // ELF core file
	FormatMinidump        // minidump, as Windows and Breakpad write
)

// DefaultFormat is the format of a dump whose name and switches ask for none:
// an ELF core, on Windows a minidump.
func DefaultFormat() Format {
	if runtime.GOOS == "windows" {
		return FormatMinidump
	}
	return FormatELF
}

// String returns the name that the -format switch and JSON events use.
func (f Format) String() string {
	switch f {
	case FormatAuto:
		return "auto"
	case FormatELF:
		return "elf"
	case FormatMinidump:
		return "minidump"
	}
	return fmt.Sprintf("Format(%d)", uint8(f))
}

// Ext returns the format's file name extension, ".core" or ".dmp".
func (f Format) Ext() string {
	if f == FormatAuto {
		f = DefaultFormat()
	}
	if f == FormatMinidump {
		return ".dmp"
	}
	return ".core"
}
