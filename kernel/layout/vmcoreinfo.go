package layout

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// Info is a parsed VMCOREINFO note
// (Documentation/admin-guide/kdump/vmcoreinfo.rst). The kernel fills it with
// lines KEY=VALUE and KEY(NAME)=VALUE. A key that a kernel does not export is
// simply absent, which is how the versions of the kernel are told apart.
type Info struct {
	keys map[string]string
}

// ParseInfo reads the text of a VMCOREINFO note. Lines that it does not
// understand are passed over. Of a repeated key the first value counts.
func ParseInfo(text []byte) *Info {
	i := &Info{keys: make(map[string]string)}
	if end := bytes.IndexByte(text, 0); end >= 0 {
		text = text[:end]
	}
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || key == "" {
			continue
		}
		if _, seen := i.keys[key]; !seen {
			i.keys[key] = value
		}
	}
	return i
}

// Has tells whether the kernel exports key, such as "OFFSET(page.flags)".
func (i *Info) Has(key string) bool {
	_, ok := i.keys[key]
	return ok
}

// Value returns the text of key, or "".
func (i *Info) Value(key string) string { return i.keys[key] }

// hex parses values that the kernel prints with %lx: hexadecimal without 0x.
func (i *Info) hex(key string) (uint64, bool) {
	v, err := strconv.ParseUint(strings.TrimPrefix(i.keys[key], "0x"), 16, 64)
	return v, err == nil
}

// decimal parses values that the kernel prints with %lu.
func (i *Info) decimal(key string) (uint64, bool) {
	v, err := strconv.ParseUint(i.keys[key], 10, 64)
	return v, err == nil
}

// Symbol returns the address of a symbol. It holds the KASLR shift already.
func (i *Info) Symbol(name string) (uint64, bool) { return i.hex("SYMBOL(" + name + ")") }

// Symbols calls f for each symbol that the note names.
func (i *Info) Symbols(f func(name string, addr uint64)) {
	for key := range i.keys {
		name, ok := strings.CutPrefix(key, "SYMBOL(")
		if !ok || !strings.HasSuffix(name, ")") {
			continue
		}
		if addr, ok := i.hex(key); ok {
			f(strings.TrimSuffix(name, ")"), addr)
		}
	}
}

// Number returns NUMBER(name). The kernel prints most of them as signed
// decimals; a few (most of arm64's) carry 0x and use all 64 bits.
func (i *Info) Number(name string) (int64, bool) {
	s := i.keys["NUMBER("+name+")"]
	if digits, ok := strings.CutPrefix(s, "0x"); ok {
		v, err := strconv.ParseUint(digits, 16, 64)
		return int64(v), err == nil
	}
	if v, err := strconv.ParseInt(s, 10, 64); err == nil {
		return v, true
	}
	v, err := strconv.ParseUint(s, 10, 64)
	return int64(v), err == nil
}

// Offset returns the offset in bytes of a member, such as "page.flags".
func (i *Info) Offset(member string) (uint64, bool) { return i.decimal("OFFSET(" + member + ")") }

// Size returns the size in bytes of a type.
func (i *Info) Size(name string) (uint64, bool) { return i.decimal("SIZE(" + name + ")") }

// Length returns the number of elements of an array.
func (i *Info) Length(name string) (uint64, bool) { return i.decimal("LENGTH(" + name + ")") }

// KernelOffset is the KASLR shift of the kernel's image, 0 without KASLR.
func (i *Info) KernelOffset() uint64 {
	v, _ := i.hex("KERNELOFFSET")
	return v
}

// OSRelease is the kernel's release, as `uname -r` prints it, or "".
func (i *Info) OSRelease() string { return i.keys["OSRELEASE"] }

// BuildID is the kernel's build id in hexadecimal (since Linux 5.9), or "".
func (i *Info) BuildID() string { return i.keys["BUILD-ID"] }

// CrashTime is when the kernel crashed, or the zero time: the kernel adds the
// key when it crashes.
func (i *Info) CrashTime() time.Time {
	s, err := strconv.ParseInt(i.keys["CRASHTIME"], 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(s, 0)
}

// PageSize is the size of a page in bytes, or 0.
func (i *Info) PageSize() uint64 {
	v, _ := i.decimal("PAGESIZE")
	return v
}

// Version is the kernel's version: major and minor of "6.1.0-56-amd64" are 6
// and 1. Both are 0 where the note has no release.
func (i *Info) Version() (major, minor int) {
	a, rest, _ := strings.Cut(i.OSRelease(), ".")
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end >= 0 {
		rest = rest[:end]
	}
	major, err := strconv.Atoi(a)
	if err != nil {
		return 0, 0
	}
	minor, err = strconv.Atoi(rest)
	if err != nil {
		return 0, 0
	}
	return major, minor
}

// AtLeast tells whether the kernel is of this version or newer. A kernel of
// unknown version counts as new.
func (i *Info) AtLeast(major, minor int) bool {
	a, b := i.Version()
	return a == 0 && b == 0 || a > major || a == major && b >= minor
}
