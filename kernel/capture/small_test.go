package capture

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestWriteBytes(t *testing.T) {
	var stream bytes.Buffer
	at := time.Date(2026, 2, 3, 4, 5, 6, 0, time.Local)
	content := []byte("a small dump")
	if res, err := WriteBytes(content, at, Options{Stream: &stream}); err != nil || stream.String() != string(content) || res.Path != "" || res.Size != int64(len(content)) {
		t.Errorf("%+v, %v, %q", res, err, stream.String())
	}
	folder := t.TempDir()
	n, err := ParseName(filepath.Join(folder, "s_HHMMSS.elf"), ELF)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"s_040506.elf", "s_040506-1.elf", "s_040506.elf"} {
		content = append(content, byte('0'+i))
		res, err := WriteBytes(content, at, Options{Name: n, Overwrite: i == 2})
		if err != nil || res.Path != filepath.Join(folder, want) || res.Size != int64(len(content)) {
			t.Fatalf("%+v, %v; want %s", res, err, want)
		}
		b, err := os.ReadFile(res.Path)
		if st, _ := os.Stat(res.Path); err != nil || !bytes.Equal(b, content) || st.Mode() != 0o600 {
			t.Errorf("%s: %q of mode %v, %v", want, b, st.Mode(), err)
		}
	}
	if entries, err := os.ReadDir(folder); err != nil || len(entries) != 2 {
		t.Errorf("files %v, %v", entries, err)
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if res, err := WriteBytes(content, at, Options{Name: n}); err == nil {
		t.Errorf("without the folder: %+v", res)
	}
}
