package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// Stack of every program: byte offsets from the frame pointer. What a program
// needs besides lies below slotOwn.
const (
	slotTmp   = -8
	slotTime  = -16
	slotState = -24 // the address of the state
	slotPeek  = -32
	slotEntry = -48 // 16 bytes: a struct iovec of the process
	slotWide  = -56 // 16 for 64-bit processes, 8 for 32-bit ones: a struct iovec
	slotArg0  = -64
	slotArg1  = -72
	slotArg2  = -80
	slotArg3  = -88
	slotArg4  = -96
	slotArg5  = -104
	slotRet   = -112
	slotOwn   = -120
)

var slotArgs = []int16{slotArg0, slotArg1, slotArg2, slotArg3, slotArg4, slotArg5}

// dispatch goes to the label of the kind of the present system call if it is
// of one of these kinds, and leaves the program if not. The arguments are in
// slotArg0 and on, the result in slotRet, process and thread in R7.
//
// A program is attached either to the tracepoint sys_exit(struct pt_regs *,
// long) or to the exit of a function long f(struct pt_regs *): the context is
// the same, {registers, result}.
func (a *assembler) dispatch(kinds ...kind) asm.Instructions {
	if a.inner != nil {
		return a.dispatchInner(*a.inner, kinds)
	}
	ins := append(a.onlyWatched(slotTmp),
		asm.LoadMem(asm.R1, asm.R6, 8, asm.DWord),
		save(slotRet, asm.R1),
		asm.LoadMem(asm.R9, asm.R6, 0, asm.DWord),
		asm.LoadMem(asm.R8, asm.R9, a.register(numberRegister), asm.DWord),
		asm.LSh.Imm(asm.R8, 32), asm.RSh.Imm(asm.R8, 32),
	)
	ins = append(ins, a.compat("compat")...)
	for _, b := range abis {
		if b.compat {
			ins = append(ins, asm.Mov.Imm(asm.R1, 8).WithSymbol("compat"))
		} else {
			ins = append(ins, asm.Mov.Imm(asm.R1, 16))
		}
		ins = append(ins, save(slotWide, asm.R1))
		wanted := a.label("wanted")
		for _, c := range b.of(kinds...).calls {
			ins = append(ins, asm.JEq.Imm(asm.R8, c.number, wanted))
		}
		ins = append(ins, asm.Ja.Label(exit), asm.Mov.Imm(asm.R0, 0).WithSymbol(wanted))
		for i, r := range b.args[:arguments(kinds)] {
			// Each of these loads is guarded: to save the arguments that nobody
			// asks for would make the program a tenth slower.
			ins = append(ins, asm.LoadMem(asm.R1, asm.R9, a.register(r), asm.DWord))
			if b.compat {
				ins = append(ins, asm.LSh.Imm(asm.R1, 32), asm.RSh.Imm(asm.R1, 32))
			}
			ins = append(ins, save(slotArgs[i], asm.R1))
		}
		for _, c := range b.of(kinds...).calls {
			ins = append(ins, asm.JEq.Imm(asm.R8, c.number, string(c.kind)))
		}
		ins = append(ins, asm.Ja.Label(exit))
	}
	return ins
}

func (a *assembler) register(r register) int16 { return a.off("pt_regs", r.member) + 8*r.index }

// compat goes to the label if the system call is one of a 32-bit program.
// That is told by TS_COMPAT (arch/x86/include/asm/thread_info.h) and on arm64
// by TIF_32BIT.
func (a *assembler) compat(label string) asm.Instructions {
	two := false
	for _, b := range abis {
		two = two || b.compat
	}
	field, mask, to := "status", int32(2), label
	if !two {
		field, mask, to = "flags", 1<<22, exit
	}
	at := a.off("task_struct", "thread_info") + a.off("thread_info", field)
	if a.kernel.has(asm.FnGetCurrentTaskBtf) {
		// Linux 5.11: saves the call that reads.
		return asm.Instructions{
			asm.FnGetCurrentTaskBtf.Call(),
			asm.LoadMem(asm.R1, asm.R0, at, asm.Word),
			asm.And.Imm(asm.R1, mask),
			asm.JNE.Imm(asm.R1, 0, to),
		}
	}
	ins := asm.Instructions{asm.FnGetCurrentTask.Call()}
	ins = append(ins, peek(slotPeek, 4, asm.R0, at)...)
	return append(ins,
		asm.LoadMem(asm.R1, asm.RFP, slotPeek, asm.Word),
		asm.And.Imm(asm.R1, mask),
		asm.JNE.Imm(asm.R1, 0, to),
	)
}

// open puts the struct file of the descriptor in slot fd into R8, and the
// addresses of the process's first three into the 24 bytes at slot std.
func (a *assembler) open(fd, std int16) asm.Instructions {
	ins := asm.Instructions{asm.FnGetCurrentTask.Call(), asm.Mov.Reg(asm.R8, asm.R0)}
	for _, step := range []int16{a.off("task_struct", "files"), a.off("files_struct", "fdt")} {
		ins = append(ins, peek(slotPeek, 8, asm.R8, step)...)
		ins = append(ins, load(asm.R8, slotPeek))
	}
	ins = append(ins, peek(slotPeek, 4, asm.R8, a.off("fdtable", "max_fds"))...)
	ins = append(ins,
		asm.LoadMem(asm.R1, asm.RFP, slotPeek, asm.Word),
		asm.LoadMem(asm.R2, asm.RFP, fd, asm.Word),
		asm.JGE.Reg(asm.R2, asm.R1, exit),
	)
	ins = append(ins, peek(slotPeek, 8, asm.R8, a.off("fdtable", "fd"))...)
	ins = append(ins, load(asm.R8, slotPeek))
	// A table of descriptors never has fewer entries than a word has bits.
	ins = append(ins, peek(std, 24, asm.R8, 0)...)
	ins = append(ins,
		asm.LoadMem(asm.R1, asm.RFP, fd, asm.Word),
		asm.LSh.Imm(asm.R1, 3),
		asm.Add.Reg(asm.R8, asm.R1),
	)
	ins = append(ins, peek(slotPeek, 8, asm.R8, 0)...)
	return append(ins, load(asm.R8, slotPeek), asm.JEq.Imm(asm.R8, 0, exit))
}

// dispatchInner is dispatch for a function that a 32-bit program's system call
// goes through, with the arguments as its own: the context is {arguments,
// result}. All of its kind go to the label.
func (a *assembler) dispatchInner(f inner, kinds []kind) asm.Instructions {
	ins := append(a.onlyWatched(slotTmp), a.compat("compat")...)
	ins = append(ins, asm.Ja.Label(exit), asm.Mov.Imm(asm.R1, 8).WithSymbol("compat"), save(slotWide, asm.R1))
	for i := range slotArgs {
		if i < f.params {
			ins = append(ins, asm.LoadMem(asm.R1, asm.R6, int16(8*i), asm.DWord))
		} else {
			ins = append(ins, asm.Mov.Imm(asm.R1, 0))
		}
		ins = append(ins, save(slotArgs[i], asm.R1))
	}
	// The verifier wants a way to every instruction, even if it is never taken.
	ins = append(ins, load(asm.R1, slotWide))
	for _, k := range kinds {
		ins = append(ins, asm.JEq.Imm(asm.R1, 0, string(k)))
	}
	return append(ins,
		asm.LoadMem(asm.R1, asm.R6, int16(8*f.params), asm.DWord),
		asm.LSh.Imm(asm.R1, 32), asm.ArSh.Imm(asm.R1, 32), // the result is an int
		save(slotRet, asm.R1),
		asm.Ja.Label(string(f.kind)),
	)
}

// errNoFunction says that the kernel's BTF lacks a function as we know it.
var errNoFunction = errors.New("no such kernel function in BTF")

// prototype returns the prototype of a function with that many parameters.
func (k kernel) prototype(name string, params int) (*btf.FuncProto, bool) {
	var f *btf.Func
	if k.types.TypeByName(name, &f) != nil {
		return nil, false
	}
	proto, ok := f.Type.(*btf.FuncProto)
	return proto, ok && len(proto.Params) == params
}

// callFunction returns the name of the function that does the call.
func (k kernel) callFunction(c call) (string, error) {
	for _, name := range c.functions {
		proto, ok := k.prototype(name, 1)
		if !ok {
			continue
		}
		p, ok := btf.UnderlyingType(proto.Params[0].Type).(*btf.Pointer)
		if !ok {
			continue
		}
		if s, ok := btf.UnderlyingType(p.Target).(*btf.Struct); ok && s.Name == "pt_regs" {
			return name, nil
		}
	}
	return "", fmt.Errorf("find %s: %w", c.functions[0], errNoFunction)
}
