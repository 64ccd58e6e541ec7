package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"procdump/kernel/layout"
)

// loadModule is a script of Python: a file. Flags 1 and 2 are
// MODULE_INIT_IGNORE_MODVERSIONS and MODULE_INIT_IGNORE_VERMAGIC.
const loadModule = `
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(313, os.open(sys.argv[1], os.O_RDONLY), b"", 3) != 0:
    sys.exit("finit_module: " + os.strerror(ctypes.get_errno()))
`

// buildModule builds a module of testdata by the guest's type data, which mark
// leaves, and returns its file.
func (g *guestTest) buildModule(name string, defines ...string) string {
	g.t.Helper()
	b, err := os.ReadFile(filepath.Join(g.Dir, "btf"))
	if err != nil {
		g.t.Fatal(err)
	}
	types, err := layout.ParseBTF(b, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	size, err := types.Size("module")
	member, err2 := types.Field("module", "name")
	init, err3 := types.Field("module", "init")
	if err := errors.Join(err, err2, err3); err != nil {
		g.t.Fatal(err)
	}
	file := filepath.Join(g.Dir, name+".ko")
	args := []string{"-c", "-O1", "-Wall", "-Werror", "-ffreestanding", "-fno-pic", "-mcmodel=kernel", "-mno-red-zone", "-fno-omit-frame-pointer",
		"-fno-stack-protector", "-fno-optimize-sibling-calls", "-fcf-protection=none", "-fno-asynchronous-unwind-tables",
		fmt.Sprintf("-DNAME=%d", member.Offset), fmt.Sprintf("-DINIT=%d", init.Offset), fmt.Sprintf("-DSIZE=%d", size)}
	command(g.t, "gcc", append(append(args, defines...), "-o", file, "testdata/"+name+".c")...)
	return file
}

// landmark is the module of testdata/landmark.c.
const landmark = "landmark"

// loadLandmark loads the module whose code, constants and data are known, and
// asks the kernel where they are.
func (g *guestTest) loadLandmark() marks {
	g.t.Helper()
	var all marks
	var defines []string
	for i, name := range []string{"TEXT", "RODATA", "DATA"} {
		m := mark{use: moduleUse, seed: 0xc0de0 + uint64(i)}
		all, defines = append(all, m), append(defines, fmt.Sprintf("-D%s=%#x", name, m.first()))
	}
	if r := g.Run("python3", "-c", loadModule, g.buildModule(landmark, defines...)); r.Code != 0 {
		g.t.Fatalf("load module %s: %v", landmark, r)
	}
	sections := strings.Fields(g.Shell("cd /sys/module/" + landmark + "/sections; cat .text .rodata .data"))
	for i := range all {
		var err error
		if all[i].addr, err = strconv.ParseUint(sections[i], 0, 64); err != nil || all[i].addr == 0 {
			g.t.Fatalf("sections of module %s at %v: %v", landmark, sections, err)
		}
	}
	return all
}

// wantLandmark finds the module in the list of modules of a dump, at the
// addresses that the kernel has told.
func (all marks) wantLandmark(t testing.TB, file string) {
	t.Helper()
	k, err := layout.Open(openKernelDump(t, file))
	if err != nil {
		t.Fatal(err)
	}
	modules, err := k.Modules()
	i := slices.IndexFunc(modules, func(m layout.Module) bool { return m.Name == landmark })
	if i < 0 {
		t.Errorf("no module %s among %d: %v", landmark, len(modules), err)
		return
	}
	for _, m := range all {
		if m.module() && !modules[i].Contains(m.addr) {
			t.Errorf("module %s has %+v, and not %#x", landmark, modules[i].Areas, m.addr)
		}
	}
}
