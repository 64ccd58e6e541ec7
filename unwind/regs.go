package unwind

import (
	"procdump/arch"
)

// maxColumns is how many registers a frame has at most: those that call frame
// information keeps and that matter to who called.
const maxColumns = 33

// registers are those of a frame, by their DWARF number (System V ABI, AMD64
// figure 3.36, i386 figure 2.14; DWARF for the Arm 64-bit Architecture, 4.1),
// and the program counter.
type registers struct {
	v     [maxColumns]uint64
	known uint64 // bit n: v[n] is
	pc    uint64
}

func (r *registers) get(n uint64) (uint64, bool) {
	if n >= maxColumns || r.known>>n&1 == 0 {
		return 0, false
	}
	return r.v[n], true
}

func (r *registers) set(n int, v uint64) {
	r.v[n] = v
	r.known |= 1 << n
}

func (r *registers) forget(n int) { r.known &^= 1 << n }

// machine is what of unwinding depends on the instruction set.
type machine struct {
	columns int      // registers, without the return address
	names   []string // of the registers, as arch has them
	pcName  string
	ra      int // column of the return address, or of the program counter
	sp, fp  int
	link    int   // the register that a call puts the return address into; 0: it pushes it
	word    int   // bytes
	scratch []int // registers that a function need not keep for its caller
	// context is where the registers, and last the program counter, lie in
	// the structure that a signal's frame holds: their numbers in its order of
	// words, -1 for what is none of them.
	context []int
}

var machines = map[arch.Machine]*machine{
	arch.AMD64: {
		columns: 16,
		names:   []string{"rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"},
		pcName:  "rip", ra: 16, sp: 7, fp: 6, word: 8,
		scratch: []int{0, 1, 2, 4, 5, 8, 9, 10, 11},
		// struct sigcontext, arch/x86/include/uapi/asm/sigcontext.h: r8-r15,
		// rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip.
		context: []int{8, 9, 10, 11, 12, 13, 14, 15, 5, 4, 6, 3, 1, 0, 2, 7, 16},
	},
	arch.I386: {
		columns: 8,
		names:   []string{"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"},
		pcName:  "eip", ra: 8, sp: 4, fp: 5, word: 4,
		scratch: []int{0, 1, 2},
		// The same file: gs, fs, es, ds, edi, esi, ebp, esp, ebx, edx, ecx,
		// eax, trapno, err, eip.
		context: []int{-1, -1, -1, -1, 7, 6, 5, 4, 3, 2, 1, 0, -1, -1, 8},
	},
	arch.ARM64: {
		columns: 32,
		names:   arm64Names(),
		pcName:  "pc", ra: 32, sp: 31, fp: 29, link: 30, word: 8,
		scratch: append(numbers(19), 30),
		// arch/arm64/include/uapi/asm/sigcontext.h: fault_address, x0-x30, sp, pc.
		context: append([]int{-1}, numbers(33)...),
	},
}

// arm64Names are x0 to x30 and sp.
func arm64Names() []string { return arch.ARM64.GPNames()[:32] }

func numbers(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// start are the registers of a thread's innermost frame.
func (m *machine) start(r *arch.Registers) registers {
	var out registers
	for i, name := range m.names {
		if v, ok := r.GP(name); ok {
			out.set(i, v)
		}
	}
	out.pc, _ = r.GP(m.pcName)
	return out
}

// trim cuts an address to the machine's size.
func (m *machine) trim(v uint64) uint64 {
	if m.word == 4 {
		return uint64(uint32(v))
	}
	return v
}
