// Package breakpad reads the symbol files of Breakpad and Crashpad: text with the
// functions, lines, inlined functions and call frame information of one program
// or library, which dump_syms makes from its debug information.
//
// A file may be large: what is needed is read where it lies, after one pass that
// notes where functions and frames begin. STACK WIN records, of i386 programs
// of Windows, are not read. Whatever a file holds, it is read in bounded time.
//
// The format is that of
// https://chromium.googlesource.com/breakpad/breakpad/+/HEAD/docs/symbol_files.md
package breakpad

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// ErrFormat means that a file is none of symbols.
var ErrFormat = errors.New("breakpad: not a symbol file")

const (
	maxSize = 2 << 30  // bytes of a file
	maxLine = 64 << 10 // bytes of a line; longer ones are skipped
	maxBody = 16 << 20 // bytes of what belongs to one function or frame
)

// File is a symbol file. Addresses are relative to where the image was loaded.
type File struct {
	// OS, Machine, ID and Name are those of the MODULE record. The ID is the
	// build id or the PDB's as 33 or more hexadecimal digits.
	OS, Machine, ID, Name string

	r      io.ReaderAt
	size   int64
	shared *Shared

	functions, publics, frames []record // by address
	files, origins             []record // addr is their number, size is not used
	// Cut tells that there are more records than could be remembered.
	Cut bool
}

// record is where one begins in the file.
type record struct {
	addr, size uint64
	at         int64
}

// NewReader reads a file of size bytes. The file must stay readable.
func NewReader(r io.ReaderAt, size int64, shared *Shared) (*File, error) {
	if size > maxSize {
		return nil, fmt.Errorf("a symbol file of %d MiB is too large", size>>20)
	}
	f := &File{r: r, size: size, shared: shared}
	err := f.each(reading{0, size, maxLine, &shared.passes}, func(at int64, line []byte) bool {
		if at == 0 {
			return f.module(line)
		}
		f.note(at, line)
		return !f.Cut
	})
	if err != nil {
		return nil, err
	}
	if f.ID == "" {
		return nil, ErrFormat
	}
	for _, all := range []*[]record{&f.functions, &f.publics, &f.frames, &f.files, &f.origins} {
		slices.SortStableFunc(*all, func(a, b record) int { return cmp.Compare(a.addr, b.addr) })
		*all = slices.Clip(*all)
	}
	return f, nil
}

// each calls do for the lines of a part of the file as long as it returns true.
// What is in a line is valid during the call.
func (f *File) each(part reading, do func(at int64, line []byte) bool) error {
	r, at := f.shared.lines, part.from
	r.Reset(&source{f.r, part})
	long := false // the line's beginning was skipped
	for {
		line, err := r.ReadSlice('\n')
		here := at
		at += int64(len(line))
		switch {
		case err == bufio.ErrBufferFull:
			long = true
			continue
		case err != nil && err != io.EOF:
			return err
		}
		if !long && len(line) > 0 && !do(here, bytes.TrimRight(line, "\r\n")) {
			return nil
		}
		if long = false; err == io.EOF {
			return nil
		}
	}
}

// record is the part of the file with a record of one line.
func (f *File) record(at int64) reading {
	const step = 512
	return reading{at, min(maxLine, f.size-at), step, &f.shared.work}
}

// module reads the first line: MODULE os machine id name.
func (f *File) module(line []byte) bool {
	w := strings.SplitN(string(line), " ", 5)
	if len(w) != 5 || w[0] != "MODULE" {
		return false
	}
	f.OS, f.Machine, f.ID, f.Name = w[1], w[2], w[3], w[4]
	return true
}

// note remembers where a record begins. Lines, parts of what was inlined and what
// changes in a frame have no capital word in front or follow one that has.
func (f *File) note(at int64, line []byte) {
	word, rest := cut(line)
	var all *[]record
	var rec record
	ok := false
	switch string(word) {
	case "FUNC": // [m] address size parameters name
		all = &f.functions
		rec.addr, rec.size, ok = span(multiple(rest))
	case "PUBLIC": // [m] address parameters name
		all = &f.publics
		rec.addr, _, ok = span(multiple(rest))
	case "STACK": // CFI INIT address size rules
		if rest, ok = bytes.CutPrefix(rest, []byte("CFI INIT ")); ok {
			all = &f.frames
			rec.addr, rec.size, ok = span(rest)
		}
	case "FILE", "INLINE_ORIGIN": // number name
		all = &f.files
		if word[0] == 'I' {
			all = &f.origins
		}
		number, _ := cut(rest)
		n, err := strconv.ParseUint(string(number), 10, 32)
		rec.addr, ok = n, err == nil
	}
	if !ok {
		return
	}
	if f.shared.records <= 0 {
		f.Cut = true
		return
	}
	f.shared.records--
	rec.at = at
	*all = append(*all, rec)
}

// cut splits a line behind its first word.
func cut(line []byte) (word, rest []byte) {
	word, rest, _ = bytes.Cut(line, []byte(" "))
	return word, rest
}

// multiple skips the m of a record whose address has several symbols.
func multiple(rest []byte) []byte {
	if r, ok := bytes.CutPrefix(rest, []byte("m ")); ok {
		return r
	}
	return rest
}

// span reads two hexadecimal numbers.
func span(rest []byte) (addr, size uint64, ok bool) {
	a, rest := cut(rest)
	b, _ := cut(rest)
	addr, okA := number(a)
	size, okB := number(b)
	return addr, size, okA && okB
}

func number(word []byte) (uint64, bool) {
	n, err := strconv.ParseUint(string(word), 16, 64)
	return n, err == nil
}

// find returns the last record that begins at or before an address and holds it.
func find(all []record, addr uint64) *record {
	const back = 16 // records that are looked at for one that reaches so far
	end := sort.Search(len(all), func(i int) bool { return all[i].addr > addr })
	var best *record
	for i := end - 1; i >= 0 && i >= end-back; i-- {
		if addr-all[i].addr >= all[i].size {
			continue
		}
		// Of several at one address, the first counts.
		if best != nil && best.addr != all[i].addr {
			break
		}
		best = &all[i]
	}
	return best
}

// named is the name that follows the number of a file or an origin.
func (f *File) named(all []record, n uint64) (name string) {
	i := sort.Search(len(all), func(i int) bool { return all[i].addr >= n })
	if i == len(all) || all[i].addr != n {
		return ""
	}
	f.each(f.record(all[i].at), func(_ int64, line []byte) bool {
		_, rest := cut(line)
		_, rest = cut(rest)
		name = string(rest)
		return false
	})
	return name
}
