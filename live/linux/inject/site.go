package inject

import (
	"bytes"

	"procdump/arch"
)

// Site is where a process has the instructions that an injection needs.
type Site struct {
	Call   uint64 // a system call instruction, then what takes pops words off the stack, and a return
	Return uint64 // rt_sigreturn
	pops   int
}

// Complete tells whether everything is there.
func (s Site) Complete() bool { return s.Call != 0 && s.Return != 0 }

// pattern is a piece of code.
type pattern struct {
	code []byte
	pops int // words that are taken off the stack before the return address
}

var (
	callPatterns = map[arch.Machine][]pattern{
		// syscall; ret
		arch.AMD64: {{code: []byte{0x0f, 0x05, 0xc3}}},
		// int $0x80; pop %ebp; pop %edx; pop %ecx; ret: the end of __kernel_vsyscall in the vdso
		arch.I386: {{code: []byte{0xcd, 0x80, 0x5d, 0x5a, 0x59, 0xc3}, pops: 3}},
	}
	returnPatterns = map[arch.Machine][]pattern{
		// mov $15,%rax or %eax; syscall: the restorer of every C library, and of Go
		arch.AMD64: {{code: []byte{0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05}}, {code: []byte{0xb8, 0x0f, 0, 0, 0, 0x0f, 0x05}}},
		// mov $173,%eax; int $0x80: __kernel_rt_sigreturn in the vdso
		arch.I386: {{code: []byte{0xb8, 0xad, 0, 0, 0, 0xcd, 0x80}}},
	}
)

// MaxPattern is the length in bytes of the longest piece that Search looks for:
// pieces of code that are searched one by one must overlap by as much.
const MaxPattern = 9

// Search looks for what the site lacks in a piece of code that is mapped at addr.
func (s *Site) Search(m arch.Machine, code []byte, addr uint64) {
	if s.Call == 0 {
		if at, p := find(code, callPatterns[m]); at >= 0 {
			s.Call, s.pops = addr+uint64(at), p.pops
		}
	}
	if s.Return == 0 {
		if at, _ := find(code, returnPatterns[m]); at >= 0 {
			s.Return = addr + uint64(at)
		}
	}
}

func find(code []byte, patterns []pattern) (int, pattern) {
	for _, p := range patterns {
		if at := bytes.Index(code, p.code); at >= 0 {
			return at, p
		}
	}
	return -1, pattern{}
}

// Check tells whether the instructions are where they were found; read reads
// the process's memory.
func (s Site) Check(m arch.Machine, read func(p []byte, addr uint64) error) bool {
	var code [MaxPattern]byte
	there := func(addr uint64, patterns []pattern) bool {
		for _, p := range patterns {
			if read(code[:len(p.code)], addr) == nil && bytes.Equal(code[:len(p.code)], p.code) {
				return true
			}
		}
		return false
	}
	return s.Complete() && there(s.Call, callPatterns[m]) && there(s.Return, returnPatterns[m])
}
