package elfcore

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"procdump/arch"
	"procdump/snapshot"
)

// inOrder checks that text holds all parts, each after the one before.
func inOrder(t *testing.T, text string, parts ...string) {
	t.Helper()
	rest := text
	for _, p := range parts {
		_, after, ok := strings.Cut(rest, p)
		if !ok {
			t.Errorf("%q is missing or out of order in:\n%.20000s", p, text)
			return
		}
		rest = after
	}
}

func coreFile(t *testing.T, b []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "core")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// clean fails if a tool complains.
func clean(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		l := strings.ToLower(line)
		if strings.Contains(l, "warning") || strings.Contains(l, "error") || strings.Contains(l, "corrupt") || strings.Contains(l, "invalid") {
			t.Errorf("complaint: %s", line)
		}
	}
}

func TestReadelf(t *testing.T) {
	need(t, "readelf")
	for _, m := range machines {
		t.Run(m.String(), func(t *testing.T) {
			p := synthetic(m, 3)
			out := run(t, "readelf", "-aW", coreFile(t, write(t, p, regionRanges(p))))
			clean(t, out)
			parts := []string{"CORE (Core file)", "NOTE ", "LOAD "}
			add := func(owner string, size int, typ string) {
				parts = append(parts, fmt.Sprintf("%-20s 0x%08x\t%s", owner, size, typ))
			}
			size := map[arch.Machine][3]int{arch.AMD64: {336, 136, 512}, arch.I386: {144, 124, 108}, arch.ARM64: {392, 136, 528}}[m]
			for i, th := range p.Threads {
				add("CORE", size[0], "NT_PRSTATUS")
				if i == 0 {
					add("CORE", size[1], "NT_PRPSINFO")
					add("CORE", 128, "NT_SIGINFO")
					add("CORE", len(p.Auxv), "NT_AUXV")
					parts = append(parts, "NT_FILE (mapped files)")
				}
				add("CORE", size[2], "NT_FPREGSET")
				for _, s := range th.Registers.Sets[2:] {
					add("LINUX", len(s.Data), "")
				}
				if th.Siginfo != nil {
					add("CORE", 128, "NT_SIGINFO")
				}
			}
			inOrder(t, out, append(parts, "procdump", "procdump")...)
		})
	}
}

func TestEuReadelf(t *testing.T) {
	need(t, "eu-readelf")
	for _, m := range machines {
		t.Run(m.String(), func(t *testing.T) {
			p := synthetic(m, 3)
			p.GID = 70000
			out := run(t, "eu-readelf", "-n", coreFile(t, write(t, p, regionRanges(p))))
			clean(t, out)
			gid := 70000
			if m == arch.I386 {
				gid = 65534
			}
			blocked := "<1,19,21-22,26,29,49-64>"
			if m == arch.I386 {
				blocked = "<1,19,21-22,26,29>"
			}
			var parts []string
			for i, th := range p.Threads {
				parts = append(parts, "PRSTATUS",
					fmt.Sprintf("info.si_signo: %d, info.si_code: 0, info.si_errno: 0, cursig: %d", th.Signal, th.Signal),
					fmt.Sprintf("sigpend: <%d>", i+1), "sighold: "+blocked,
					fmt.Sprintf("pid: %d, ppid: 30, pgrp: 4001, sid: 29", th.TID))
				if i == 0 {
					parts = append(parts, "utime: 90.000000, stime: 1.500000, cutime: 0.000000, cstime: 0.000000")
				} else {
					parts = append(parts, fmt.Sprintf("utime: 0.%03d000, stime: %d.000000", i, i))
				}
				parts = append(parts, "fpvalid: 1")
				if m != arch.ARM64 { // prints the stack pointer before the others
					parts = append(parts, fmt.Sprintf("0x%0*x", 2*m.PointerSize(), th.Registers.SP()))
				}
				if i == 0 {
					parts = append(parts, "PRPSINFO", "state: 1, sname: S, zomb: 0, nice: 251, flag: 0x", "400100",
						fmt.Sprintf("uid: 1000, gid: %d, pid: 4000, ppid: 30, pgrp: 4001, sid: 29", gid),
						"fname: synthetic, psargs: synthetic -v one two", "SIGINFO", "si_signo: 0",
						"PAGESZ: 4096", "ENTRY: 0x402000", "NULL", "5 files:",
						"00402000-00405000 00002000 12288               /usr/bin/synthetic",
						"/tmp/lib odd\n\\012 (deleted) (deleted)\n", "00420000-00422000 00008000 8192                /dev/shm/x (deleted)")
				}
				parts = append(parts, "FPREGSET")
				for _, s := range th.Registers.Sets[2:] {
					parts = append(parts, fmt.Sprintf("LINUX%19d", len(s.Data)))
				}
				if th.Siginfo != nil {
					parts = append(parts, "SIGINFO")
				}
			}
			inOrder(t, out, parts...)
		})
	}
}

// TestReadelfManySegments lets others count the program headers.
func TestReadelfManySegments(t *testing.T) {
	need(t, "readelf")
	p := synthetic(arch.AMD64, 1)
	p.Regions = nil
	for i := range 70000 {
		p.Regions = append(p.Regions, snapshot.Region{Range: snapshot.Range{Addr: 0x10000 + uint64(i)*2*page, Size: page}, Perm: snapshot.Read})
	}
	name := coreFile(t, write(t, p, nil))
	out := run(t, "readelf", "-lW", name)
	clean(t, out)
	if n := strings.Count(out, "\n  LOAD "); n != 70000 {
		t.Errorf("readelf sees %d segments", n)
	}
	need(t, "eu-readelf")
	out = run(t, "eu-readelf", "-l", name)
	clean(t, out)
	if n := strings.Count(out, "\n  LOAD "); n != 70000 {
		t.Errorf("eu-readelf sees %d segments", n)
	}
}
