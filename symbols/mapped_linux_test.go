package symbols

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"

	"procdump/victims/need"
)

// TestMapped looks into debug information that is mapped because it is large, and
// that is gone when it is looked at: its file has become shorter.
func TestMapped(t *testing.T) {
	objcopy := need.Tool(t, "objcopy")
	dir := t.TempDir()
	in, text, out := filepath.Join(dir, "in"), filepath.Join(dir, "text"), filepath.Join(dir, "out")
	if err := os.WriteFile(in, small(t), 0o600); err != nil {
		t.Fatal(err)
	}
	plain := symbolizer(t, small(t))
	str, err := plain.set.All()[0].File().Data(".debug_info", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	// What follows the last unit is of size 0: none.
	if err := os.WriteFile(text, append(str, make([]byte, 4<<20)...), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := exec.Command(objcopy, "--update-section", ".debug_info="+text, in, out).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	large, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}

	const pc = 0x40100c
	want := plain.Lookup(pc)
	if got := symbolizer(t, large).Lookup(pc); len(want) == 0 || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nnot %+v", got, want)
	}

	s := symbolizer(t, large)
	f := s.set.All()[0].File()
	budget := uint64(maxAllDebug)
	_, data, err := openData(f, &budget)
	if err != nil {
		t.Fatal(err)
	}
	info := data["info"]
	if !bytes.HasPrefix(info, str) || len(info) != len(str)+4<<20 {
		t.Fatalf("%d bytes", len(info))
	}
	if err := os.Truncate(f.Path, 4096); err != nil {
		t.Fatal(err)
	}
	last := byte(0)
	if err := guarded(func() error { last = info[len(info)-1]; return nil }); err == nil {
		t.Errorf("what is gone was read, %d: it was not mapped", last)
	}
}
