package live

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"procdump/kdump"
)

const (
	page   = 4096
	direct = 0xffff888000000000
	image  = 0xffffffff81000000
)

// uts is where the fixture's kernel has its name, in the kernel image.
const uts = 0x40

var release = kdump.Uname{Sysname: "Linux", Nodename: "fixture", Release: "6.1.0-test", Version: "#1 SMP", Machine: "x86_64"}

const info = "OSRELEASE=6.1.0-test\nPAGESIZE=4096\nSYMBOL(init_uts_ns)=ffffffff81000040\nOFFSET(uts_namespace.name)=0\nNUMBER(phys_base)=0\n"

// segment is a PT_LOAD of a kcore with its contents.
type segment struct {
	virt, phys uint64
	data       []byte
}

// kcore builds an ELF core file.
func kcore(notes []byte, segments ...segment) []byte {
	le := binary.LittleEndian
	b := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 57)...)
	le.PutUint16(b[16:], 4)  // ET_CORE
	le.PutUint16(b[18:], 62) // EM_X86_64
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], uint16(1+len(segments)))
	off := uint64(64 + 56*(1+len(segments)))
	header := func(typ uint32, virt, phys uint64, data []byte) {
		b = le.AppendUint32(le.AppendUint32(b, typ), 7)
		for _, v := range []uint64{off, virt, phys, uint64(len(data)), uint64(len(data)), page} {
			b = le.AppendUint64(b, v)
		}
		off += uint64(len(data))
	}
	header(4, 0, 0, notes)
	for _, s := range segments {
		header(1, s.virt, s.phys, s.data)
	}
	b = append(b, notes...)
	for _, s := range segments {
		b = append(b, s.data...)
	}
	return b
}

// ram is the fixture's memory: pages 0x100 to 0x11f, each full of its number
// but those of the kernel image.
func ram() []byte {
	var b []byte
	for i := range 0x20 {
		b = append(b, bytes.Repeat([]byte{byte(i)}, page)...)
	}
	copy(b[0x10*page:], kernelImage())
	return b
}

// kernelImage is at page 0x110.
func kernelImage() []byte {
	b := make([]byte, 2*page)
	copy(b[uts:], release.Encode())
	return b
}

// fixture makes a tree with these files below proc and sys.
func fixture(t *testing.T, files map[string]string) Root {
	t.Helper()
	dir := t.TempDir()
	root := Root{Proc: filepath.Join(dir, "proc"), Sys: filepath.Join(dir, "sys")}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if to, ok := strings.CutPrefix(text, "-> "); ok {
			err = os.Symlink(to, path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// flags is a table of page flags: of the pages 0x100 on those given, before
// them holes (KPF_NOPAGE, bit 20).
func flags(of ...uint64) string {
	b := make([]byte, 0x100*8)
	for i := range 0x100 {
		binary.LittleEndian.PutUint64(b[i*8:], 1<<20)
	}
	for _, f := range of {
		b = binary.LittleEndian.AppendUint64(b, f)
	}
	return string(b)
}

// machine are the files of a machine of 32 pages, of which four are reserved
// for a crash kernel.
func machine() map[string]string {
	notes := kdump.AppendNote(nil, kdump.Note{Name: "CORE", Type: 1, Desc: make([]byte, 336)})
	notes = kdump.AppendNote(notes, kdump.Note{Name: "CORE", Type: 4, Desc: []byte("task")})
	notes = kdump.AppendNote(notes, kdump.Note{Name: "VMCOREINFO", Desc: []byte(info)})
	return map[string]string{
		"proc/kcore": string(kcore(notes,
			segment{0xffffc90000000000, ^uint64(0), []byte("vmalloc")},
			segment{image, 0x110000, kernelImage()},
			segment{direct + 0x100000, 0x100000, ram()})),
		"proc/iomem": "00000000-00000fff : Reserved\n00100000-0011ffff : System RAM\n" +
			"  00110000-00110fff : Kernel code\n  00118000-0011bfff : Crash kernel\n00120000-00120fff : PCI Bus\n",
		"proc/kpageflags":               flags(1<<10, 1<<5|1<<12, 1<<7),
		"sys/devices/system/cpu/online": "0-1,4\n",
	}
}
