package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"procdump/victims/need"
)

// TestCompressed reads sections that objcopy has compressed, of files of both
// classes.
func TestCompressed(t *testing.T) {
	objcopy := need.Tool(t, "objcopy")
	plain, err := newFile(bytes.NewReader(small(t)))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	in := write(t, filepath.Join(dir, "small"), small(t))
	for _, format := range []string{"elf64-x86-64", "elf32-x86-64"} {
		file := filepath.Join(dir, format)
		if out, err := exec.Command(objcopy, "-O", format, "--compress-debug-sections=zlib", in, file).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		f, err := newFile(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		compressed := 0
		for _, name := range []string{".debug_info", ".debug_abbrev", ".debug_line", ".debug_str"} {
			if f.Section(name).Flags&elf.SHF_COMPRESSED != 0 {
				compressed++
			}
			want, err := plain.Data(name, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := f.Data(name, 1<<20); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, %s: %x, %v; want %x", format, name, got, err, want)
			}
		}
		if compressed == 0 {
			t.Errorf("%s: objcopy has compressed nothing", format)
		}
		damagedSection(t, b, f.Section(".debug_info"))
	}
}

// damagedSection reads a compressed section that states another size than it has,
// and one whose bytes are damaged.
func damagedSection(t *testing.T, file []byte, s *elf.Section) {
	t.Helper()
	size := s.Offset + 4 // ch_size of Elf32_Chdr
	put := func(b []byte, n uint64) { binary.LittleEndian.PutUint32(b[size:], uint32(n)) }
	if file[elf.EI_CLASS] == byte(elf.ELFCLASS64) {
		size = s.Offset + 8
		put = func(b []byte, n uint64) { binary.LittleEndian.PutUint64(b[size:], n) }
	}
	for what, change := range map[string]func(b []byte){
		"more than there can be": func(b []byte) { put(b, 64<<20) },
		"more than there is":     func(b []byte) { put(b, s.Size+1) },
		"damaged":                func(b []byte) { clear(b[s.Offset+s.FileSize/2 : s.Offset+s.FileSize]) },
		"of no known method":     func(b []byte) { b[s.Offset] = 0xff },
	} {
		b := bytes.Clone(file)
		change(b)
		f, err := newFile(bytes.NewReader(b))
		if err != nil {
			continue // debug/elf says so when it opens the file
		}
		if got, err := f.Data(".debug_info", 96<<20); err == nil || got != nil {
			t.Errorf("%s: %d bytes, %v", what, len(got), err)
		}
	}
}
