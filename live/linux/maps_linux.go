package linux

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"procdump/snapshot"
)

// parseMapsLine reads one line of /proc/PID/maps or the head line of an smaps
// entry: "start-end perms offset major:minor inode path".
func parseMapsLine(line []byte) (snapshot.Region, bool) {
	var r snapshot.Region
	var f [5][]byte
	rest := line
	for i := range f {
		rest = bytes.TrimLeft(rest, " ")
		k := bytes.IndexByte(rest, ' ')
		if k < 0 {
			k = len(rest)
		}
		f[i], rest = rest[:k], rest[k:]
	}
	dash := bytes.IndexByte(f[0], '-')
	if dash < 0 || len(f[1]) != 4 {
		return r, false
	}
	lo, err1 := parseHex(f[0][:dash])
	hi, err2 := parseHex(f[0][dash+1:])
	if err1 != nil || err2 != nil || hi < lo {
		return r, false
	}
	r.Addr, r.Size = lo, hi-lo
	for i, bit := range []snapshot.Perm{snapshot.Read, snapshot.Write, snapshot.Execute} {
		if f[1][i] != '-' {
			r.Perm |= bit
		}
	}
	if f[1][3] == 's' {
		r.Perm |= snapshot.Shared
	}
	r.Offset, _ = parseHex(f[2])
	if major, minor, ok := bytes.Cut(f[3], []byte(":")); ok {
		ma, _ := parseHex(major)
		mi, _ := parseHex(minor)
		r.Dev = ma<<32 | mi
	}
	r.Inode, _ = strconv.ParseUint(string(f[4]), 10, 64)
	r.Path = unescapePath(string(bytes.TrimLeft(bytes.TrimSuffix(rest, []byte("\n")), " ")))
	r.Path, r.Deleted = cutDeleted(r.Path)
	return r, true
}

func parseHex(b []byte) (uint64, error) { return strconv.ParseUint(string(b), 16, 64) }

// unescapePath undoes the kernel's one escape in maps: newline as \012.
func unescapePath(p string) string { return strings.ReplaceAll(p, `\012`, "\n") }

// parseMaps reads the whole of /proc/PID/maps.
func parseMaps(text []byte) ([]snapshot.Region, error) {
	out := make([]snapshot.Region, 0, bytes.Count(text, []byte("\n")))
	for line := range bytes.Lines(text) {
		r, ok := parseMapsLine(line)
		if !ok {
			return nil, fmt.Errorf("parse maps: bad line %q", line)
		}
		out = append(out, r)
	}
	return out, nil
}

// vmFlags maps the two-letter codes of VmFlags (proc_pid_smaps(5)) to ours.
var vmFlags = map[string]snapshot.RegionFlags{
	"dd": snapshot.DontDump, "io": snapshot.IO, "pf": snapshot.PFNMap, "dc": snapshot.DontFork,
	"wf": snapshot.WipeOnFork, "um": snapshot.Userfault, "uw": snapshot.Userfault, "ui": snapshot.Userfault,
	"ht": snapshot.HugeTLB, "gd": snapshot.GrowsDown,
}

// readSmaps reads /proc/PID/smaps: the regions with their flags and how much
// of each is in RAM. It walks the page tables, some 15 ms a GiB.
func readSmaps(path string) ([]snapshot.Region, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []snapshot.Region
	rd := bufio.NewReaderSize(f, 64<<10)
	for {
		line, err := rd.ReadBytes('\n')
		if len(line) > 0 {
			out = smapsLine(out, line)
		}
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func smapsLine(out []snapshot.Region, line []byte) []snapshot.Region {
	// Attribute lines begin with a capital letter, head lines with a hex digit
	// in lower case.
	if line[0] < 'A' || line[0] > 'Z' {
		if r, ok := parseMapsLine(line); ok {
			return append(out, r)
		}
		return out
	}
	if len(out) == 0 {
		return out
	}
	r := &out[len(out)-1]
	name, val, _ := bytes.Cut(line, []byte(":"))
	switch string(name) {
	case "Rss":
		r.Resident = kilobytes(val)
	case "Anonymous", "Private_Hugetlb":
		r.Private += kilobytes(val)
	case "Shared_Clean", "Shared_Dirty": // pages of a file, too
		r.Forked += kilobytes(val)
	case "Shared_Hugetlb":
		r.Resident += kilobytes(val)
	case "Swap":
		r.Swapped = kilobytes(val)
	case "VmFlags": // the last line
		r.Forked = min(r.Forked, r.Private)
		for _, code := range bytes.Fields(val) {
			r.Flags |= vmFlags[string(code)]
		}
	}
	return out
}

func kilobytes(val []byte) uint64 {
	n, _ := strconv.ParseUint(string(bytes.TrimSuffix(bytes.TrimSpace(val), []byte(" kB"))), 10, 64)
	return n << 10
}

// mergeFlags copies the flags and sizes that smaps gave for known regions to
// the same regions in maps. It reports whether each region of maps was known:
// where not, its flags must be asked for again.
func mergeFlags(maps, smaps []snapshot.Region) (complete bool) {
	complete = true
	j := 0
	for i := range maps {
		m := &maps[i]
		for j < len(smaps) && smaps[j].End() <= m.Addr {
			j++
		}
		if j < len(smaps) && sameMapping(m, &smaps[j]) {
			s := &smaps[j]
			m.Flags |= s.Flags
			m.Resident, m.Private, m.Swapped, m.Forked = s.Resident, s.Private, s.Swapped, s.Forked
			continue
		}
		complete = false
	}
	return complete
}

// sameMapping tells whether m, seen later, is the mapping s: unchanged, or the
// heap or a stack that has grown or shrunk (a VMA only ever grows with its
// flags).
func sameMapping(m, s *snapshot.Region) bool {
	if m.Perm != s.Perm || m.Path != s.Path || m.Inode != s.Inode || m.Dev != s.Dev {
		return false
	}
	if m.Range == s.Range {
		return m.Offset == s.Offset
	}
	switch {
	case m.Path == "[heap]":
		return m.Addr == s.Addr
	case s.Flags&snapshot.GrowsDown != 0:
		return m.End() == s.End()
	}
	return false
}
