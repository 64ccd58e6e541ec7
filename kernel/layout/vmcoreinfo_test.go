package layout

import (
	"testing"
	"time"
)

const sampleInfo = `OSRELEASE=6.1.0-56-amd64
BUILD-ID=eb4fbcd037e72537179 
PAGESIZE=4096
SYMBOL(init_uts_ns)=ffffffff86ffb000
SYMBOL(bad)=xyz
OFFSET(page.flags)=0
SIZE(page)=64
LENGTH(mem_section)=4096
NUMBER(phys_base)=-16777216
NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129
NUMBER(PAGE_SLAB_MAPCOUNT_VALUE)=4110417920
NUMBER(kimage_voffset)=0xffff7fffc0000000
NUMBER(PHYS_OFFSET)=0x40000000
KERNELOFFSET=4400000
SIZE(page)=128
=nothing
no key
CRASHTIME=1764000000
`

func TestParseInfo(t *testing.T) {
	i := ParseInfo([]byte(sampleInfo + "\x00SIZE(ignored)=1\n"))
	check := func(what string, got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("%s is %v, want %v", what, got, want)
		}
	}
	if v, ok := i.Symbol("init_uts_ns"); !ok || v != 0xffffffff86ffb000 {
		t.Errorf("init_uts_ns at %#x, %v", v, ok)
	}
	if _, ok := i.Symbol("bad"); ok {
		t.Error("a symbol without an address was found")
	}
	for name, want := range map[string]int64{
		"phys_base": -16777216, "PAGE_BUDDY_MAPCOUNT_VALUE": -129, "PAGE_SLAB_MAPCOUNT_VALUE": 0xf5000000,
		"kimage_voffset": -0x800040000000, "PHYS_OFFSET": 0x40000000,
	} {
		if v, ok := i.Number(name); !ok || v != want {
			t.Errorf("NUMBER(%s) is %#x, %v, want %#x", name, v, ok, want)
		}
	}
	size, ok := i.Size("page")
	check("SIZE(page)", size, uint64(64)) // the first value counts
	check("SIZE(page) there", ok, true)
	length, _ := i.Length("mem_section")
	check("LENGTH(mem_section)", length, uint64(4096))
	check("key behind the NUL", i.Has("SIZE(ignored)"), false)
	_, ok = i.Offset("page.nothing")
	check("absent offset there", ok, false)
	check("KERNELOFFSET", i.KernelOffset(), uint64(0x4400000))
	check("release", i.OSRelease(), "6.1.0-56-amd64")
	check("page size", i.PageSize(), uint64(4096))
	check("crash time", i.CrashTime().Equal(time.Unix(1764000000, 0)), true)
	check("at least 6.1", i.AtLeast(6, 1), true)
	check("at least 5.19", i.AtLeast(5, 19), true)
	check("at least 6.2", i.AtLeast(6, 2), false)
	n := 0
	i.Symbols(func(string, uint64) { n++ })
	check("number of symbols", n, 1)
}

func TestVersion(t *testing.T) {
	for release, want := range map[string][2]int{
		"4.18.0-553.el8.x86_64": {4, 18}, "6.12.117+deb12-amd64": {6, 12}, "7.2.13": {7, 2}, "7.2-rc1": {7, 2}, "7": {0, 0}, "": {0, 0}, "x.y": {0, 0},
	} {
		i := ParseInfo([]byte("OSRELEASE=" + release + "\n"))
		if a, b := i.Version(); a != want[0] || b != want[1] {
			t.Errorf("version of %q is %d.%d, want %v", release, a, b, want)
		}
	}
	if !ParseInfo(nil).AtLeast(7, 0) {
		t.Error("a kernel of unknown version does not count as new")
	}
}

func FuzzParseInfo(f *testing.F) {
	f.Add([]byte(sampleInfo))
	f.Add([]byte("SYMBOL()=\nNUMBER(=0x\nSYMBOL(a=1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		i := ParseInfo(text)
		i.Symbols(func(name string, addr uint64) {
			if v, ok := i.Symbol(name); !ok || v != addr {
				t.Errorf("symbol %q is %#x, then %#x, %v", name, addr, v, ok)
			}
		})
		i.Version()
		i.CrashTime()
		i.KernelOffset()
		for _, n := range []string{"phys_base", "x"} {
			i.Number(n)
			i.Size(n)
		}
	})
}
