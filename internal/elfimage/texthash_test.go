package elfimage

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"procdump/victims/need"
)

// TestTextHash compares with the section as debug/elf finds it.
func TestTextHash(t *testing.T) {
	gcc := need.Tool(t, "gcc")
	source := filepath.Join(t.TempDir(), "x.c")
	if err := os.WriteFile(source, []byte("int main(void) { return 3; }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, flags := range [][]string{nil, {"-static"}, {"-m32"}} {
		program := filepath.Join(t.TempDir(), "x")
		if out, err := exec.Command(gcc, append(flags, "-o", program, source)...).CombinedOutput(); err != nil {
			t.Logf("gcc %v: %v\n%s", flags, err, out)
			continue
		}
		b, err := os.ReadFile(program)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		s := f.Section(".text")
		want := make([]byte, 16)
		for i := uint64(0); i < min(s.Size, 4096); i += 16 {
			for k := range want {
				want[k] ^= b[s.Offset+i+uint64(k)]
			}
		}
		if got := TextHash(bytes.NewReader(b)); !bytes.Equal(got, want) {
			t.Errorf("%v: %x, want %x", flags, got, want)
		}
	}
}

func FuzzTextHash(f *testing.F) {
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:4096])
	f.Add([]byte("\x7fELF"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h := TextHash(bytes.NewReader(b)); h != nil && len(h) != 16 {
			t.Errorf("%d bytes", len(h))
		}
	})
}
