package bpf

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/cilium/ebpf/asm"
)

// A record of the ring buffer, in the machine's byte order (little-endian on
// all machines that procdump runs on):
//
//	 0  u32 thread, u32 process
//	 8  u64 CLOCK_MONOTONIC, nanoseconds
//	16  u64 address of the piece
//	24  u64 bytes of the write from this piece on
//	32  u32 length of the piece
//	36  u8  1 or 2: the standard descriptor; 0: a message to a socket
//	37  u8  1: first piece of the write, 2: not readable, 4: the rest is cut
//	40  data
const (
	recThread, recProcess = 0, 4
	recTime, recAddr      = 8, 16
	recRest, recLen       = 24, 32
	recFD, recFlags       = 36, 37
	recData               = 40

	flagFirst, flagUnread, flagCut = 1, 2, 4
)

// writesRing is the size of the ring buffer in bytes, a power of two.
const writesRing = 8 << 20

// The write program's own part of the stack.
const (
	slotRest  = slotOwn      // of the write, in bytes
	slotPiece = slotOwn - 8  // of the present buffer, in bytes
	slotAddr  = slotOwn - 16 // of the present buffer
	slotVec   = slotOwn - 24 // next struct iovec
	slotSegs  = slotOwn - 32 // how many are left
	slotInode = slotOwn - 40
	slotStd   = slotOwn - 64 // 24 bytes: the first three struct file *
	slotMsg   = slotOwn - 96 // 32 bytes: a struct msghdr
)

// Writes tells what watched processes write to their standard output and
// standard error, and to AF_UNIX sockets when it looks like a log message. It
// sees write, writev, pwrite, pwritev, send, sendto and sendmsg of 64-bit and
// 32-bit processes; a write is seen when it is done, with the bytes that were
// accepted.
//
// Not seen are data that the process hands over in other ways (io_uring,
// sendmmsg, splice, sendfile, copy_file_range, a shared mapping of the file).
//
// While every watched process writes far more than is read, nothing is seen for
// most of the time, see pauser.
type Writes struct {
	tap    *tap
	pauser *pauser
	once   sync.Once
}

// OpenWrites loads and attaches the programs. The caller closes the Writes.
func OpenWrites() (*Writes, error) {
	t, err := openTap(tapSpec{feature: "watching writes", ring: writesRing, scratch: writesScratch, limited: true, build: buildWrites},
		callBuffer, callVector, callMessage, callSocket)
	if err != nil {
		return nil, err
	}
	p, err := newPauser(t)
	if err != nil {
		t.close()
		return nil, fmt.Errorf("watching writes: %w", err)
	}
	return &Writes{tap: t, pauser: p}, nil
}

// Method says in words how the kernel is tapped, and what it costs.
func (w *Writes) Method() string { return w.tap.method }

// Watch begins to watch a process. A process that it forks is not watched.
func (w *Writes) Watch(pid int) error { return w.pauser.watch(pid, true) }

// Unwatch ends the watching of a process.
func (w *Writes) Unwatch(pid int) error { return w.pauser.watch(pid, false) }

// Lost returns how many pieces could not be handed over so far; a write beyond
// the limit, and one that was not looked at, counts as one.
func (w *Writes) Lost() uint64 {
	n, _ := w.pauser.counts()
	return n
}

// Missed returns how many of the lost writes were not even looked at, because
// the processes wrote too much: it counts writes to all files, and where several
// threads of a process write it may be some hundred short for each second.
func (w *Writes) Missed() uint64 {
	_, n := w.pauser.counts()
	return n
}

// Close detaches the programs; a Read that waits returns ErrClosed.
func (w *Writes) Close() {
	w.once.Do(func() {
		w.pauser.close()
		w.tap.close()
	})
}

// Read waits for the next piece until the given time, which may be zero, and
// then returns ErrTimeout. One goroutine at a time may call it.
func (w *Writes) Read(p *Piece, until time.Time) error {
	raw, err := w.tap.next(until)
	if err != nil {
		return err
	}
	w.pauser.read()
	if len(raw) < recData {
		return fmt.Errorf("read ring buffer: record of %d bytes", len(raw))
	}
	le := binary.LittleEndian
	flags := raw[recFlags]
	n := le.Uint32(raw[recLen:])
	*p = Piece{
		PID: int(le.Uint32(raw[recProcess:])), TID: int(le.Uint32(raw[recThread:])),
		At: w.tap.wall(le.Uint64(raw[recTime:])), FD: int(raw[recFD]),
		First: flags&flagFirst != 0, Cut: flags&flagCut != 0,
		Addr: le.Uint64(raw[recAddr:]), Size: int(n), Rest: le.Uint64(raw[recRest:]) - uint64(n),
	}
	if flags&flagUnread == 0 {
		p.Data = raw[recData : recData+min(int(n), len(raw)-recData)]
	}
	return nil
}

// buildWrites makes the program that sends what a system call wrote.
func buildWrites(a *assembler) (asm.Instructions, error) {
	zero := func(slots ...int16) asm.Instructions {
		ins := asm.Instructions{asm.Mov.Imm(asm.R1, 0)}
		for _, s := range slots {
			ins = append(ins, save(s, asm.R1))
		}
		return ins
	}
	return a.program(
		a.dispatch(callBuffer, callVector, callMessage, callSocket),
		a.socketCall(),
		a.message(),
		// (fd, buffer, …)
		asm.Instructions{load(asm.R1, slotRet).WithSymbol(string(callBuffer)), save(slotPiece, asm.R1),
			load(asm.R1, slotArg1), save(slotAddr, asm.R1)},
		zero(slotSegs, slotVec),
		asm.Instructions{asm.Ja.Label("file")},
		// (fd, vector, count, …)
		asm.Instructions{load(asm.R1, slotArg1).WithSymbol(string(callVector)), save(slotVec, asm.R1),
			load(asm.R1, slotArg2), save(slotSegs, asm.R1)},
		zero(slotPiece, slotAddr),
		asm.Instructions{load(asm.R1, slotRet).WithSymbol("file"), asm.JSLE.Imm(asm.R1, 0, exit), save(slotRest, asm.R1)},
		a.standard(),
		a.send(),
	)
}

// socketCall reads the arguments of a 32-bit program's socketcall(2) and goes
// on as the call that it stands for.
func (a *assembler) socketCall() asm.Instructions {
	const sysSend, sysSendto, sysSendmsg = 9, 11, 16 // linux/net.h
	ins := asm.Instructions{load(asm.R3, slotArg1).WithSymbol(string(callSocket))}
	ins = append(ins, read(asm.FnProbeReadUser, slotMsg, 8, asm.R3, 0)...)
	return append(ins,
		asm.JNE.Imm(asm.R0, 0, exit),
		load(asm.R2, slotArg0),
		asm.LoadMem(asm.R1, asm.RFP, slotMsg, asm.Word), save(slotArg0, asm.R1),
		asm.LoadMem(asm.R1, asm.RFP, slotMsg+4, asm.Word), save(slotArg1, asm.R1),
		asm.JEq.Imm(asm.R2, sysSend, string(callBuffer)),
		asm.JEq.Imm(asm.R2, sysSendto, string(callBuffer)),
		asm.JNE.Imm(asm.R2, sysSendmsg, exit),
	)
}

// message takes the vector out of a struct msghdr: {name, namelen, iov,
// iovlen, …}, each as wide as a pointer.
func (a *assembler) message() asm.Instructions {
	ins := asm.Instructions{
		load(asm.R3, slotArg1).WithSymbol(string(callMessage)),
		load(asm.R1, slotWide),
		asm.JEq.Imm(asm.R1, 8, "message_narrow"),
	}
	ins = append(ins, read(asm.FnProbeReadUser, slotMsg, 32, asm.R3, 0)...)
	ins = append(ins,
		asm.JNE.Imm(asm.R0, 0, exit),
		load(asm.R1, slotMsg+16), save(slotArg1, asm.R1),
		load(asm.R1, slotMsg+24), save(slotArg2, asm.R1),
		asm.Ja.Label(string(callVector)),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("message_narrow"),
	)
	ins = append(ins, read(asm.FnProbeReadUser, slotMsg, 16, asm.R3, 0)...)
	return append(ins,
		asm.JNE.Imm(asm.R0, 0, exit),
		asm.LoadMem(asm.R1, asm.RFP, slotMsg+8, asm.Word), save(slotArg1, asm.R1),
		asm.LoadMem(asm.R1, asm.RFP, slotMsg+12, asm.Word), save(slotArg2, asm.R1),
		asm.Ja.Label(string(callVector)),
	)
}

// standard puts into R9 for which standard descriptor the write counts: 1 or 2
// if it went there or to the same file, be it through a duplicate or another
// opening; 0 if it went to another AF_UNIX socket. It leaves the program if it
// is nothing of these.
func (a *assembler) standard() asm.Instructions {
	const (
		typeMask, socketType = 0xf000, 0xc000 // S_IFMT, S_IFSOCK
		afUnix               = 1
	)
	inode := a.off("file", "f_inode")
	ins := asm.Instructions{
		asm.LoadMem(asm.R9, asm.RFP, slotArg0, asm.Word),
		asm.JEq.Imm(asm.R9, 1, "standard_known"),
		asm.JEq.Imm(asm.R9, 2, "standard_known"),
	}
	ins = append(ins, a.open(slotArg0, slotStd)...)
	ins = append(ins, peek(slotInode, 8, asm.R8, inode)...)
	ins = append(ins, load(asm.R1, slotInode), asm.JEq.Imm(asm.R1, 0, exit))
	for fd := int16(1); fd <= 2; fd++ {
		// A closed descriptor is a null pointer, and reads as an inode of 0.
		ins = append(ins, asm.Mov.Imm(asm.R9, int32(fd)), load(asm.R3, slotStd+8*fd))
		ins = append(ins, asm.JEq.Reg(asm.R3, asm.R8, "standard_known"))
		ins = append(ins, peek(slotPeek, 8, asm.R3, inode)...)
		ins = append(ins, load(asm.R1, slotPeek), load(asm.R2, slotInode), asm.JEq.Reg(asm.R1, asm.R2, "standard_known"))
	}
	ins = append(ins, asm.Mov.Imm(asm.R9, 0), load(asm.R3, slotInode))
	ins = append(ins, peek(slotPeek, 2, asm.R3, a.off("inode", "i_mode"))...)
	ins = append(ins,
		asm.LoadMem(asm.R1, asm.RFP, slotPeek, asm.Half),
		asm.And.Imm(asm.R1, typeMask),
		asm.JNE.Imm(asm.R1, socketType, exit),
	)
	for _, step := range []int16{a.off("file", "private_data"), a.off("socket", "sk")} {
		ins = append(ins, peek(slotPeek, 8, asm.R8, step)...)
		ins = append(ins, load(asm.R8, slotPeek))
	}
	ins = append(ins, peek(slotPeek, 2, asm.R8, a.off("sock", "__sk_common", "skc_family"))...)
	return append(ins,
		asm.LoadMem(asm.R1, asm.RFP, slotPeek, asm.Half),
		asm.JNE.Imm(asm.R1, afUnix, exit),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("standard_known"),
	)
}
