package image

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"procdump/internal/safeopen"
	"procdump/snapshot"
)

// TestUnsaved reads what a miniplus dump leaves out from the file that was mapped,
// and from no other one.
func TestUnsaved(t *testing.T) {
	b := bytes.Repeat([]byte("0123456789abcdef"), 3*pageSize/16)
	file := write(t, filepath.Join(t.TempDir(), "classes.jsa"), b)
	st, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	inode := safeopen.Inode(st)
	if inode == 0 {
		t.Skip("this system's files have no numbers")
	}
	const addr = 0x700000000000
	for name, c := range map[string]struct {
		change func(*snapshot.Process, *snapshot.Region)
		want   bool
	}{
		"the file":              {func(*snapshot.Process, *snapshot.Region) {}, true},
		"writable":              {func(_ *snapshot.Process, g *snapshot.Region) { g.Perm |= snapshot.Write }, true},
		"another kind of dump":  {func(p *snapshot.Process, _ *snapshot.Region) { p.Info.Kind = "mini" }, false},
		"another file":          {func(_ *snapshot.Process, g *snapshot.Region) { g.Inode++ }, false},
		"deleted":               {func(_ *snapshot.Process, g *snapshot.Region) { g.Deleted = true }, false},
		"shared":                {func(_ *snapshot.Process, g *snapshot.Region) { g.Perm |= snapshot.Shared }, false},
		"written to afterwards": {func(p *snapshot.Process, _ *snapshot.Region) { p.Info.Time = st.ModTime().Add(-time.Second) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := &snapshot.Process{Regions: []snapshot.Region{{Range: snapshot.Range{Addr: addr, Size: 2 * pageSize}, Perm: snapshot.Read,
				Offset: pageSize, Inode: inode, Path: file}}}
			p.Info.Kind, p.Info.Time = "miniplus", st.ModTime().Add(time.Second)
			c.change(p, &p.Regions[0])
			p.Memory = memory{addr, bytes.Repeat([]byte{1, 2, 3, 4}, pageSize/4)} // a page that was changed
			s := NewSet(p, Options{})
			defer s.Close()
			got := make([]byte, 8)
			n, err := s.ReadMemory(got, addr+pageSize+4)
			if c.want != (n == len(got) && err == nil && string(got) == "456789ab") {
				t.Errorf("%d bytes %q, %v", n, got, err)
			}
			if n, err := s.ReadMemory(got[:4], addr+16); n != 4 || err != nil || !bytes.Equal(got[:4], []byte{1, 2, 3, 4}) {
				t.Errorf("what the dump has: % x, %v", got[:4], err)
			}
			if n, err := s.ReadMemory(got, addr+2*pageSize-4); n == len(got) || err == nil {
				t.Errorf("%d bytes beyond the mapping", n)
			}
		})
	}
}
