package live

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"procdump/kernel/layout"
)

func (s *Source) warn(format string, args ...any) {
	s.Warnings = append(s.Warnings, fmt.Sprintf(format, args...))
}

// Kernel prepares the running kernel for reading, with the symbols and types
// that it shows in its file systems where it does not tell where they are in
// memory. The result is valid until Close.
func (s *Source) Kernel() (*layout.Kernel, error) {
	k, err := layout.Open(s.dump)
	if err != nil {
		return nil, err
	}
	if _, ok := k.Info.Symbol("kallsyms_names"); !ok { // before 6.0
		var table map[string]uint64
		k.UseSymbols(func(name string) (uint64, bool) {
			if table == nil {
				table = kallsyms(s.root)
			}
			addr, ok := table[name]
			return addr, ok
		})
	}
	if b, err := os.ReadFile(filepath.Join(s.root.Sys, "kernel/btf/vmlinux")); err == nil {
		if err := k.UseBTF(b); err != nil {
			s.warn("%v: the kernel's types are searched for in its memory", err)
		}
	}
	return k, nil
}

// kallsyms reads the addresses of the kernel's symbols, not of those of
// modules. It is empty for those who may not see them (kptr_restrict).
func kallsyms(root Root) map[string]uint64 {
	table := make(map[string]uint64)
	f, err := os.Open(filepath.Join(root.Proc, "kallsyms"))
	if err != nil {
		return table
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		// "ffffffff81000000 T _text"; a fourth word is the module's.
		w := strings.Fields(in.Text())
		if len(w) != 3 {
			continue
		}
		if _, ok := table[w[2]]; ok {
			continue
		}
		if addr, err := strconv.ParseUint(w[0], 16, 64); err == nil && addr != 0 {
			table[w[2]] = addr
		}
	}
	return table
}

// InitialPIDs tells whether the numbers of processes that procdump sees are the
// kernel's own, those of the initial namespace, and not a container's.
func InitialPIDs(root Root) bool {
	const initial = "pid:[4026531836]" // PROC_PID_INIT_INO of include/linux/proc_ns.h
	name, err := os.Readlink(filepath.Join(root.Proc, "self/ns/pid"))
	return err != nil || name == initial
}
