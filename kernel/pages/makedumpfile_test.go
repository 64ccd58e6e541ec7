package pages

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"procdump/victims/need"
)

// TestMakedumpfileCounts gives makedumpfile the same memory, and wants the same
// counts from it. The kernels are those that Debian 12's makedumpfile knows.
func TestMakedumpfileCounts(t *testing.T) {
	tool := need.Tool(t, "makedumpfile")
	for _, f := range forms() {
		if f.name == "6.4" { // and what is newer
			break
		}
		t.Run(f.name, func(t *testing.T) {
			m := newMachine(f)
			fillMachine(m)
			// Two things that we do better: makedumpfile 1.7.2 takes a slab for
			// anonymous memory by a field that slabs use otherwise, and counts
			// a broken page of a huge page with the rest of it.
			m.mapping(96, 0)
			clear(m.at(51)[:8])
			m.sparse()
			file := m.vmcore(t)
			out, err := exec.Command(tool, "-c", "-d", "31", "--message-level", "31", file, file+".out").CombinedOutput()
			if err != nil {
				t.Fatalf("makedumpfile: %v\n%s", err, out)
			}
			s, err := NewStructs(m.open(t), StructOptions{NoTypes: true})
			if err != nil {
				t.Fatal(err)
			}
			c, err := Count(s, m.runs, 4096)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []struct {
				line string
				n    uint64
			}{
				{"Non-private cache pages", c.Cache()}, {"Private cache pages", c.PrivateCache}, {"User process data pages", c.User()},
				{"Free pages", c.Pages[Free]}, {"Offline pages", c.Pages[Offline]},
			} {
				if got := counted(t, string(out), want.line); got != want.n || got == 0 && want.line != "Offline pages" {
					t.Errorf("%s: makedumpfile has %d, we have %d", want.line, got, want.n)
				}
			}
		})
	}
}

// counted finds a number in makedumpfile's report.
func counted(t *testing.T, report, line string) uint64 {
	t.Helper()
	m := regexp.MustCompile(`(?m)^ *` + line + ` *: 0x([0-9a-f]+)$`).FindStringSubmatch(report)
	if m == nil {
		t.Fatalf("no line %q in\n%s", line, report)
	}
	n, err := strconv.ParseUint(m[1], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// vmcore writes the memory as /proc/vmcore shows it: one segment for the image
// and one for the direct map.
func (m *machine) vmcore(t *testing.T) string {
	t.Helper()
	le := binary.LittleEndian
	const utsAt = rootPhys + 0x8000
	uts := make([]byte, 390)
	for i, s := range []string{"Linux", "test", m.form.release, "#1", "x86_64", "(none)"} {
		copy(uts[i*65:], s)
	}
	m.mem.Write(utsAt, uts)
	k := m.open(t)
	info := string(k.Dump().VMCoreInfo) + fmt.Sprintf("SYMBOL(init_uts_ns)=%x\nOFFSET(uts_namespace.name)=0\nSYMBOL(_stext)=%x\nKERNELOFFSET=0\n", uint64(testImage+0x8000), uint64(testImage))
	if !strings.Contains(info, "BUDDY") {
		t.Fatal("no key for free pages")
	}
	note := le.AppendUint32(nil, 11)
	note = le.AppendUint32(note, uint32(len(info)))
	note = append(le.AppendUint32(note, 0), "VMCOREINFO\x00\x00"...)
	note = append(note, info...)
	note = append(note, make([]byte, (4-len(note)%4)%4)...)

	const headers, start = 64 + 3*56, 65536
	e := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9)...)
	e = le.AppendUint16(e, 4)
	e = le.AppendUint16(e, 62)
	e = le.AppendUint32(e, 1)
	for _, v := range []uint64{0, 64, 0} {
		e = le.AppendUint64(e, v)
	}
	e = le.AppendUint32(e, 0)
	for _, v := range []uint16{64, 56, 3, 0, 0, 0} {
		e = le.AppendUint16(e, v)
	}
	program := func(typ, flags uint32, off, va, pa, size uint64) {
		e = le.AppendUint32(e, typ)
		e = le.AppendUint32(e, flags)
		for _, v := range []uint64{off, va, pa, size, size, 0} {
			e = le.AppendUint64(e, v)
		}
	}
	program(4, 0, headers, 0, 0, uint64(len(note)))
	program(1, 7, start+rootPhys, testImage, rootPhys, 0x100000)
	program(1, 7, start, testDirect, 0, ramPages*4096)
	file, err := os.Create(filepath.Join(t.TempDir(), "vmcore"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	write := func(b []byte, off int64) {
		if _, err := file.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
	}
	write(append(e, note...), 0)
	// What the memory does not hold stays a hole of the file.
	for at := int64(0); at < ramPages*4096; at += 256 {
		var b [256]byte
		if _, err := m.mem.ReadPhys(b[:], uint64(at)); err == nil {
			write(b[:], start+at)
		}
	}
	if err := file.Truncate(start + ramPages*4096); err != nil {
		t.Fatal(err)
	}
	return file.Name()
}
