package minidump

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"procdump/arch"
	"procdump/snapshot"
)

// parseMaps reads the text of /proc/PID/maps (proc_pid_maps(5)):
//
//	55d0c0a00000-55d0c0a21000 r--p 00000000 fe:01 1234   /usr/bin/cat
//
// It returns the regions of the lines that it understands, and an error if
// there are others.
func parseMaps(text []byte) ([]snapshot.Region, error) {
	var out []snapshot.Region
	var err error
	for line := range bytes.Lines(text) {
		s := strings.TrimRight(string(line), "\n\x00")
		if s == "" {
			continue
		}
		r, ok := parseMapsLine(s)
		if !ok {
			err = fmt.Errorf("read maps: line %q", s[:min(len(s), 100)])
			continue
		}
		out = append(out, r)
	}
	return ascending(out), err
}

// mapsText writes regions as parseMaps reads them.
func mapsText(regions []snapshot.Region) []byte {
	var b bytes.Buffer
	for i := range regions {
		r := &regions[i]
		fmt.Fprintf(&b, "%08x-%08x %v %08x %02x:%02x %d", r.Addr, r.End(), r.Perm, r.Offset, r.Dev>>32, uint32(r.Dev), r.Inode)
		if r.Path != "" {
			b.WriteString(" " + strings.ReplaceAll(r.Path, "\n", `\012`))
		}
		if r.Deleted {
			b.WriteString(" (deleted)")
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func parseMapsLine(s string) (snapshot.Region, bool) {
	var r snapshot.Region
	var f [5]string
	for i := range f {
		f[i], s, _ = strings.Cut(strings.TrimLeft(s, " "), " ")
	}
	lo, hi, _ := strings.Cut(f[0], "-")
	addr, e1 := strconv.ParseUint(lo, 16, 64)
	end, e2 := strconv.ParseUint(hi, 16, 64)
	off, e3 := strconv.ParseUint(f[2], 16, 64)
	major, minor, _ := strings.Cut(f[3], ":")
	ma, e4 := strconv.ParseUint(major, 16, 32)
	mi, e5 := strconv.ParseUint(minor, 16, 32)
	ino, e6 := strconv.ParseUint(f[4], 10, 64)
	if cmp.Or(e1, e2, e3, e4, e5, e6) != nil || end <= addr || len(f[1]) < 4 {
		return r, false
	}
	r = snapshot.Region{Range: snapshot.Range{Addr: addr, Size: end - addr}, Offset: off, Dev: ma<<32 | mi, Inode: ino}
	for i, c := range []byte("rwxs") {
		if f[1][i] == c {
			r.Perm |= 1 << i
		}
	}
	r.Path = strings.ReplaceAll(strings.TrimLeft(s, " "), `\012`, "\n")
	if r.Inode != 0 || r.Dev != 0 || strings.HasPrefix(r.Path, "/") {
		r.Path, r.Deleted = strings.CutSuffix(r.Path, " (deleted)")
	}
	return r, true
}

// ascending sorts regions and drops those that overlap an earlier one.
func ascending(rs []snapshot.Region) []snapshot.Region {
	slices.SortStableFunc(rs, func(a, b snapshot.Region) int { return cmp.Compare(a.Addr, b.Addr) })
	out := rs[:0]
	for _, r := range rs {
		if n := len(out); n == 0 || r.Addr >= out[n-1].End() {
			out = append(out, r)
		}
	}
	return out
}

// regions returns the process's mappings from the best source there is: the
// maps text, the MemoryInfoList, or the memory that the dump holds.
func (r *Reader) regions(p *snapshot.Process, held []MemoryDescriptor, warn func(error)) []snapshot.Region {
	var out []snapshot.Region
	if text := p.Texts["maps"]; text != nil {
		var err error
		out, err = parseMaps(text)
		warn(err)
	}
	image := moduleIndex(p.Modules)
	if len(out) == 0 {
		out = r.infoRegions(image, warn)
	}
	if len(out) == 0 {
		for _, s := range held {
			out = append(out, snapshot.Region{Range: s.Range, Perm: snapshot.Read})
		}
	}
	for i := range out {
		g := &out[i]
		if image.find(g.Addr) != nil && g.Perm&snapshot.Shared == 0 {
			g.Flags |= snapshot.Image
		}
		if g.Path == "[stack]" {
			g.Flags |= snapshot.GrowsDown
		}
	}
	return out
}

func (r *Reader) infoRegions(image index, warn func(error)) []snapshot.Region {
	infos, err := r.memoryInfo()
	warn(err)
	var out []snapshot.Region
	for _, m := range infos {
		if m.State == MemFree || m.Size == 0 || m.End() < m.Addr {
			continue
		}
		g := snapshot.Region{Range: m.Range, Perm: m.Perm()}
		if mod := image.find(m.Addr); mod != nil && m.Type == MemImage {
			g.Path = mod.Path
		}
		out = append(out, g)
	}
	return ascending(out)
}

// parseStatus fills what /proc/PID/status says (proc_pid_status(5)).
func parseStatus(p *snapshot.Process, text []byte) {
	for line := range bytes.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(string(line)), ":")
		f := strings.Fields(value)
		if len(f) == 0 {
			continue
		}
		n, _ := strconv.ParseInt(f[0], 10, 64)
		switch key {
		case "Name":
			p.Name = strings.TrimSpace(value)
		case "State":
			p.State = f[0][0]
		case "Tgid":
			if p.PID == 0 {
				p.PID = int(n)
			}
		case "PPid":
			p.PPID = int(n)
		case "Uid":
			p.UID = uint32(n)
		case "Gid":
			p.GID = uint32(n)
		}
	}
}

// tlsDescriptors makes the i386 TLS regset that a dump by others lacks: the
// entry that gs selects, based at the thread's TEB.
func tlsDescriptors(r *arch.Registers, base uint64) {
	gs, ok := r.GP("gs")
	if !ok || base == 0 || r.Set(arch.NT_386_TLS) != nil {
		return
	}
	const limit, flags = 0xfffff, 0x51 // 32-bit, limit in pages, useable (asm/ldt.h)
	b := make([]byte, 48)
	for i, v := range []uint32{uint32(gs >> 3), uint32(base), limit, flags} {
		putUint32(b[4*i:], v)
	}
	r.Put(arch.NT_386_TLS, b)
}
