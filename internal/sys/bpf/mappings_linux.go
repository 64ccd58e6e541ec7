package bpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cilium/ebpf/asm"
)

// A record of the ring buffer, little-endian:
//
//	 0  u32 thread, u32 process
//	 8  u64 CLOCK_MONOTONIC, nanoseconds
//	16  u64 address
//	24  u64 length
//	32  u32 Change
//	36  u32 length of the names
//	40  u64 new address
//	48  u64 new length
//	56  u64 inode
//	64  u64 device, as the kernel has it: major << 20 | minor
//	72  names of the path's parts, the last part first, each with a null byte
const (
	mapAddr, mapSize    = 16, 24
	mapChange, mapNames = 32, 36
	mapTo, mapToSize    = 40, 48
	mapInode, mapDevice = 56, 64
	mapData             = 72
	maxParts            = 24
	maxPath, maxPart    = 1024, 256 // bytes
	mapScratch          = mapData + maxPath + maxPart
	mappingsRing        = 1 << 20
)

// The mapping program's own part of the stack.
const (
	slotFile  = slotOwn      // struct file *
	slotThree = slotOwn - 24 // 24 bytes: the first three struct file *
)

// Mappings tells which files watched processes map executable, and what they
// unmap: the system calls mmap, munmap, mprotect, mremap and execve of 64-bit
// and 32-bit processes. It does not see the old mmap call of i386, by which no
// present C library maps files.
type Mappings struct{ tap *tap }

// OpenMappings loads and attaches the programs. The caller closes the Mappings.
func OpenMappings() (*Mappings, error) {
	t, err := openTap(tapSpec{feature: "watching mappings", ring: mappingsRing, scratch: mapScratch, build: buildMappings},
		callMap, callUnmap, callProtect, callRemap, callExec)
	if err != nil {
		return nil, err
	}
	return &Mappings{t}, nil
}

// Method says in words how the kernel is tapped.
func (m *Mappings) Method() string { return m.tap.method }

// Watch begins to watch a process. A process that it forks is not watched.
func (m *Mappings) Watch(pid int) error { return m.tap.watch(pid, true) }

// Unwatch ends the watching of a process.
func (m *Mappings) Unwatch(pid int) error { return m.tap.watch(pid, false) }

// Lost returns how many changes could not be handed over so far.
func (m *Mappings) Lost() uint64 { return m.tap.lost() }

// Close detaches the programs; a Read that waits returns ErrClosed.
func (m *Mappings) Close() { m.tap.close() }

// Read waits for the next change until the given time, which may be zero, and
// then returns ErrTimeout. One goroutine at a time may call it.
func (m *Mappings) Read(c *Mapping, until time.Time) error {
	raw, err := m.tap.next(until)
	if err != nil {
		return err
	}
	if len(raw) < mapData {
		return fmt.Errorf("read ring buffer: record of %d bytes", len(raw))
	}
	le := binary.LittleEndian
	*c = Mapping{
		Change: Change(le.Uint32(raw[mapChange:])), PID: int(le.Uint32(raw[recProcess:])),
		At:   m.tap.wall(le.Uint64(raw[recTime:])),
		Addr: le.Uint64(raw[mapAddr:]), Size: le.Uint64(raw[mapSize:]),
		To: le.Uint64(raw[mapTo:]), ToSize: le.Uint64(raw[mapToSize:]),
	}
	if c.Change == MappedImage {
		dev := le.Uint64(raw[mapDevice:])
		c.Device, c.Inode = dev>>20<<32|dev&(1<<20-1), le.Uint64(raw[mapInode:])
		names := raw[mapData:]
		c.Path = joinParts(names[:min(int(le.Uint32(raw[mapNames:])), len(names))])
	}
	return nil
}

// joinParts makes a path of its parts, of which the last comes first.
func joinParts(names []byte) string {
	var path []byte
	for part := range bytes.SplitSeq(bytes.TrimSuffix(names, []byte{0}), []byte{0}) {
		path = append(append([]byte("/"), part...), path...)
	}
	return string(path)
}

// buildMappings makes the program that sends what a system call changed.
func buildMappings(a *assembler) (asm.Instructions, error) {
	const (
		protExec               = 4
		mapFixed, mapAnonymous = 0x10, 0x20
		lowestError            = -4095 // MAX_ERRNO
	)
	return a.program(
		a.dispatch(callMap, callUnmap, callProtect, callRemap, callExec),
		asm.Instructions{
			load(asm.R1, slotRet).WithSymbol(string(callMap)),
			asm.JGE.Imm(asm.R1, lowestError, exit),
			save(slotArg0, asm.R1),
			load(asm.R1, slotArg3),
			asm.And.Imm(asm.R1, mapAnonymous),
			asm.JNE.Imm(asm.R1, 0, "no_image"),
			load(asm.R1, slotArg2),
			asm.And.Imm(asm.R1, protExec),
			asm.JNE.Imm(asm.R1, 0, "image"),
			// Not an image, but it may lie where one was.
			load(asm.R1, slotArg3).WithSymbol("no_image"),
			asm.And.Imm(asm.R1, mapFixed),
			asm.JEq.Imm(asm.R1, 0, exit),
			asm.Ja.Label("unmapped"),

			load(asm.R1, slotRet).WithSymbol(string(callUnmap)),
			asm.JNE.Imm(asm.R1, 0, exit),
			asm.Mov.Imm(asm.R9, int32(Unmapped)).WithSymbol("unmapped"),
			asm.Ja.Label("head"),

			load(asm.R1, slotRet).WithSymbol(string(callProtect)),
			asm.JNE.Imm(asm.R1, 0, exit),
			load(asm.R1, slotArg2),
			asm.And.Imm(asm.R1, protExec),
			asm.JEq.Imm(asm.R1, 0, exit),
			asm.Mov.Imm(asm.R9, int32(MadeExecutable)),
			asm.Ja.Label("head"),

			load(asm.R1, slotRet).WithSymbol(string(callRemap)),
			asm.JGE.Imm(asm.R1, lowestError, exit),
			asm.Mov.Imm(asm.R9, int32(Moved)),
			asm.Ja.Label("head"),

			load(asm.R1, slotRet).WithSymbol(string(callExec)),
			asm.JNE.Imm(asm.R1, 0, exit),
			asm.Mov.Imm(asm.R9, int32(Executed)),
			asm.Ja.Label("head"),

			asm.Mov.Imm(asm.R9, int32(MappedImage)).WithSymbol("image"),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("head"),
		},
		a.sendMapping(),
	)
}

// sendMapping sends the Change in R9 with the arguments of the system call.
// R7 holds process and thread.
func (a *assembler) sendMapping() asm.Instructions {
	ins := a.clock()
	ins = append(ins, a.first(a.scratch, slotTmp)...)
	ins = append(ins, asm.Mov.Reg(asm.R6, asm.R0), asm.StoreMem(asm.R6, recThread, asm.R7, asm.DWord))
	for _, m := range []struct{ slot, to int16 }{{slotTime, recTime}, {slotArg0, mapAddr}, {slotArg1, mapSize},
		{slotRet, mapTo}, {slotArg2, mapToSize}} {
		ins = append(ins, load(asm.R1, m.slot), asm.StoreMem(asm.R6, m.to, asm.R1, asm.DWord))
	}
	ins = append(ins,
		asm.StoreMem(asm.R6, mapChange, asm.R9, asm.Word),
		asm.JEq.Imm(asm.R9, int32(MappedImage), "file"),
		asm.Mov.Imm(asm.R9, 0),
		asm.Ja.Label("complete"),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("file"),
	)
	ins = append(ins, a.open(slotArg4, slotThree)...)
	ins = append(ins, peek(slotFile, 8, asm.R8, a.off("file", "f_inode"))...)
	ins = append(ins, load(asm.R9, slotFile))
	ins = append(ins, peek(slotPeek, 8, asm.R9, a.off("inode", "i_ino"))...)
	ins = append(ins, load(asm.R1, slotPeek), asm.StoreMem(asm.R6, mapInode, asm.R1, asm.DWord))
	ins = append(ins, peek(slotPeek, 8, asm.R9, a.off("inode", "i_sb"))...)
	ins = append(ins, load(asm.R9, slotPeek), asm.Mov.Imm(asm.R1, 0), save(slotPeek, asm.R1))
	ins = append(ins, peek(slotPeek, 4, asm.R9, a.off("super_block", "s_dev"))...)
	ins = append(ins, load(asm.R1, slotPeek), asm.StoreMem(asm.R6, mapDevice, asm.R1, asm.DWord))
	ins = append(ins, a.names()...)
	ins = append(ins,
		asm.StoreMem(asm.R6, mapNames, asm.R9, asm.Word).WithSymbol("complete"),
		asm.JLE.Imm(asm.R9, maxPath+maxPart, "bounded"),
		asm.Mov.Imm(asm.R9, maxPath+maxPart),
		asm.Add.Imm(asm.R9, mapData).WithSymbol("bounded"),
	)
	return append(ins, a.output()...)
}

// names writes the names from the struct file at R8 up to the root of its file
// system behind the head of the record, and puts their length into R9.
func (a *assembler) names() asm.Instructions {
	ins := peek(slotPeek, 8, asm.R8, a.off("file", "f_path", "dentry"))
	ins = append(ins,
		load(asm.R8, slotPeek),
		asm.Mov.Imm(asm.R9, 0),
		asm.Mov.Imm(asm.R7, 0),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("part"),
	)
	ins = append(ins, peek(slotEntry, 8, asm.R8, a.off("dentry", "d_parent"))...)
	ins = append(ins, load(asm.R1, slotEntry), asm.JEq.Reg(asm.R1, asm.R8, "complete"))
	ins = append(ins, peek(slotPeek, 8, asm.R8, a.off("dentry", "d_name", "name"))...)
	return append(ins,
		asm.Mov.Reg(asm.R1, asm.R6), asm.Add.Imm(asm.R1, mapData), asm.Add.Reg(asm.R1, asm.R9),
		asm.Mov.Imm(asm.R2, maxPart),
		load(asm.R3, slotPeek),
		asm.FnProbeReadKernelStr.Call(),
		asm.JSLE.Imm(asm.R0, 0, "complete"),
		asm.JGT.Imm(asm.R0, maxPart, "complete"),
		asm.Add.Reg(asm.R9, asm.R0),
		asm.JGT.Imm(asm.R9, maxPath, "complete"),
		load(asm.R8, slotEntry),
		asm.Add.Imm(asm.R7, 1),
		asm.JLT.Imm(asm.R7, maxParts, "part"),
	)
}
