package elfcore

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"

	"procdump/snapshot"
)

// The kernel escapes a newline in maps as \012; that it does not escape the
// backslash makes its text ambiguous, which this one is not.
var (
	mapsEscape   = strings.NewReplacer("\\", `\134`, "\n", `\012`)
	mapsUnescape = strings.NewReplacer(`\134`, "\\", `\012`, "\n", `\051`, ")")
)

// mapsSize is how many bytes writeMaps writes.
func mapsSize(regions []snapshot.Region) int {
	h := headWriter{w: bufio.NewWriter(io.Discard)}
	writeMaps(&h, regions)
	return int(h.n)
}

// writeMaps writes the desc of an NT_PROCDUMP_MAPS note.
func writeMaps(w io.Writer, regions []snapshot.Region) {
	for i := range regions {
		r := &regions[i]
		path := mapsEscape.Replace(r.Path)
		if r.Deleted {
			path += deletedSuffix
		} else if strings.HasSuffix(path, deletedSuffix) { // a file's true name
			path = strings.TrimSuffix(path, ")") + `\051`
		}
		fmt.Fprintf(w, "%08x-%08x %v %08x %02x:%02x %d %x %x %x %x %s\n",
			r.Addr, r.End(), r.Perm, r.Offset, r.Dev>>32, uint32(r.Dev), r.Inode, uint32(r.Flags),
			r.Resident, r.Private, r.Swapped, path)
	}
}

// parseMaps reads what writeMaps wrote.
func parseMaps(desc []byte) ([]snapshot.Region, error) {
	var regions []snapshot.Region
	for line := range strings.Lines(string(desc)) {
		r, err := parseMapsLine(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("read memory map, line %d: %w", len(regions)+1, err)
		}
		if n := len(regions); n > 0 && r.Addr < regions[n-1].End() {
			return nil, fmt.Errorf("read memory map, line %d: %v is out of order", n+1, r.Range)
		}
		regions = append(regions, r)
	}
	return regions, nil
}

func parseMapsLine(line string) (r snapshot.Region, err error) {
	const fields = 10
	f := strings.SplitN(line, " ", fields)
	if len(f) != fields {
		return r, fmt.Errorf("%d fields, need %d", len(f), fields)
	}
	hex := func(s string, bits int) uint64 {
		v, e := strconv.ParseUint(s, 16, bits)
		if e != nil && err == nil {
			err = e
		}
		return v
	}
	lo, hi, _ := strings.Cut(f[0], "-")
	major, minor, _ := strings.Cut(f[3], ":")
	r.Addr = hex(lo, 64)
	end := hex(hi, 64)
	r.Size = end - r.Addr
	for i, c := range "rwxs" {
		if len(f[1]) == 4 && f[1][i] == byte(c) {
			r.Perm |= 1 << i
		}
	}
	r.Offset = hex(f[2], 64)
	r.Dev = hex(major, 32)<<32 | hex(minor, 32)
	inode, e := strconv.ParseUint(f[4], 10, 64)
	r.Inode, r.Flags = inode, snapshot.RegionFlags(hex(f[5], 32))
	r.Resident, r.Private, r.Swapped = hex(f[6], 64), hex(f[7], 64), hex(f[8], 64)
	if err == nil {
		err = e
	}
	if err == nil && end <= r.Addr {
		err = fmt.Errorf("ends at %#x", end)
	}
	path := f[fields-1]
	path, r.Deleted = strings.CutSuffix(path, deletedSuffix)
	r.Path = mapsUnescape.Replace(path)
	return r, err
}
