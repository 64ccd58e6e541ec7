package bpf

import "github.com/cilium/ebpf/asm"

// logBeginnings are the first bytes of a log message: the priority of syslog
// (RFC 3164), and the fields with which clients of systemd-journald's own
// protocol begin (PRIORITY=, MESSAGE=, CODE_FILE=).
const logBeginnings = "<PMC"

// What the loop of send keeps lies behind the data in the scratch area and not
// on the stack: the verifier knows nothing of values in a map, and thus has few
// states to go through.
const (
	keepRest  = recData + PieceBytes + 8*iota // of the write, in bytes
	keepPiece                                 // of the present buffer, in bytes
	keepAddr                                  // of the present buffer
	keepVec                                   // next struct iovec
	keepSegs                                  // how many are left
	keepWide                                  // size of a struct iovec
	keepKind                                  // the standard descriptor
	keepFirst                                 // flagFirst until a piece is sent
	writesScratch
)

func keep(off int16, reg asm.Register) asm.Instruction {
	return asm.StoreMem(asm.R6, off, reg, asm.DWord)
}

func kept(reg asm.Register, off int16) asm.Instruction {
	return asm.LoadMem(reg, asm.R6, off, asm.DWord)
}

// send sends the pieces that slotRest, slotPiece, slotAddr, slotVec and
// slotSegs describe. R7 holds process and thread, R9 the standard descriptor.
func (a *assembler) send() asm.Instructions {
	ins := a.clock()
	// What is a log message is not known before it is read.
	ins = append(ins, asm.JEq.Imm(asm.R9, 0, "perhaps_log"))
	ins = append(ins,
		asm.Mov.Reg(asm.R1, asm.R7), asm.RSh.Imm(asm.R1, 32),
	)
	ins = append(ins, a.limit(asm.Mov.Reg(asm.R3, asm.R9))...)
	ins = append(ins, asm.Mov.Imm(asm.R0, 0).WithSymbol("perhaps_log"))
	ins = append(ins, a.first(a.scratch, slotTmp)...)
	ins = append(ins,
		asm.Mov.Reg(asm.R6, asm.R0),
		asm.StoreMem(asm.R6, recThread, asm.R7, asm.DWord),
		load(asm.R1, slotTime),
		asm.StoreMem(asm.R6, recTime, asm.R1, asm.DWord),
		asm.StoreMem(asm.R6, recFD, asm.R9, asm.Byte),
		keep(keepKind, asm.R9),
		asm.Mov.Imm(asm.R1, flagFirst),
		keep(keepFirst, asm.R1),
	)
	for _, m := range []struct{ from, to int16 }{{slotRest, keepRest}, {slotPiece, keepPiece}, {slotAddr, keepAddr},
		{slotVec, keepVec}, {slotSegs, keepSegs}, {slotWide, keepWide}} {
		ins = append(ins, load(asm.R1, m.from), keep(m.to, asm.R1))
	}
	ins = append(ins,
		asm.Mov.Imm(asm.R7, 0), // from here on it counts the turns
		kept(asm.R9, keepPiece).WithSymbol("turn"),
		asm.JNE.Imm(asm.R9, 0, "have"),
	)
	ins = append(ins, a.nextVector()...)
	ins = append(ins, a.onlyLog("have")...)
	ins = append(ins,
		kept(asm.R1, keepRest),
		asm.JLE.Reg(asm.R9, asm.R1, "within_write"),
		asm.Mov.Reg(asm.R9, asm.R1),
		asm.JLE.Imm(asm.R9, PieceBytes, "within_piece").WithSymbol("within_write"),
		asm.Mov.Imm(asm.R9, PieceBytes),
		asm.JEq.Imm(asm.R9, 0, "end").WithSymbol("within_piece"),
		asm.StoreMem(asm.R6, recRest, asm.R1, asm.DWord),
		asm.StoreMem(asm.R6, recLen, asm.R9, asm.Word),
		kept(asm.R8, keepAddr),
		asm.StoreMem(asm.R6, recAddr, asm.R8, asm.DWord),
		kept(asm.R1, keepFirst),
		asm.StoreMem(asm.R6, recFlags, asm.R1, asm.Byte),
		// Read the data behind the head.
		asm.Mov.Reg(asm.R1, asm.R6), asm.Add.Imm(asm.R1, recData),
		asm.Mov.Reg(asm.R2, asm.R9),
		asm.Mov.Reg(asm.R3, asm.R8),
		asm.FnProbeReadUser.Call(),
		asm.Mov.Reg(asm.R8, asm.R9),
		asm.JEq.Imm(asm.R0, 0, "wanted"),
		kept(asm.R1, keepFirst),
		asm.Or.Imm(asm.R1, flagUnread),
		asm.StoreMem(asm.R6, recFlags, asm.R1, asm.Byte),
		asm.Mov.Imm(asm.R9, 0),
		asm.Add.Imm(asm.R9, recData).WithSymbol("wanted"),
	)
	ins = append(ins, a.output()...)
	ins = append(ins,
		asm.Mov.Imm(asm.R1, 0),
		keep(keepFirst, asm.R1),
		kept(asm.R1, keepAddr), asm.Add.Reg(asm.R1, asm.R8), keep(keepAddr, asm.R1),
		kept(asm.R1, keepPiece), asm.Sub.Reg(asm.R1, asm.R8), keep(keepPiece, asm.R1),
		kept(asm.R1, keepRest), asm.Sub.Reg(asm.R1, asm.R8), keep(keepRest, asm.R1),
		asm.JEq.Imm(asm.R1, 0, exit),
		asm.Add.Imm(asm.R7, 1).WithSymbol("next"),
		asm.JLT.Imm(asm.R7, maxPieces, "turn"),
		// A last record says how much is missing.
		kept(asm.R1, keepRest).WithSymbol("end"),
		asm.JEq.Imm(asm.R1, 0, exit),
		asm.StoreMem(asm.R6, recRest, asm.R1, asm.DWord),
		kept(asm.R1, keepFirst),
		asm.Or.Imm(asm.R1, flagCut),
		asm.StoreMem(asm.R6, recFlags, asm.R1, asm.Byte),
		asm.Mov.Imm(asm.R1, 0),
		asm.StoreMem(asm.R6, recLen, asm.R1, asm.Word),
		asm.Mov.Imm(asm.R9, recData),
	)
	return append(ins, a.output()...)
}

// onlyLog begins with the label. Of messages to sockets it lets only those pass
// that can be log messages, which their first byte tells, and that are within
// the limit; one that cannot be read may be a log message.
func (a *assembler) onlyLog(label string) asm.Instructions {
	const charge, passed = "charge", "passed"
	ins := asm.Instructions{
		kept(asm.R1, keepKind).WithSymbol(label),
		asm.JNE.Imm(asm.R1, 0, passed),
		kept(asm.R1, keepFirst),
		asm.JEq.Imm(asm.R1, 0, passed),
		kept(asm.R3, keepAddr),
	}
	ins = append(ins, read(asm.FnProbeReadUser, slotPeek, 1, asm.R3, 0)...)
	ins = append(ins,
		asm.JNE.Imm(asm.R0, 0, charge),
		asm.LoadMem(asm.R1, asm.RFP, slotPeek, asm.Byte),
	)
	for _, c := range logBeginnings {
		ins = append(ins, asm.JEq.Imm(asm.R1, c, charge))
	}
	ins = append(ins,
		asm.Ja.Label(exit),
		asm.LoadMem(asm.R1, asm.R6, recProcess, asm.Word).WithSymbol(charge),
	)
	ins = append(ins, a.limit(asm.Mov.Imm(asm.R3, 0))...)
	return append(ins, asm.Mov.Imm(asm.R0, 0).WithSymbol(passed))
}

// nextVector goes on to the next struct iovec: its address in slotAddr, its
// length in slotPiece and R9. It jumps to "end" after the last one and to
// "next" when it is empty.
func (a *assembler) nextVector() asm.Instructions {
	ins := asm.Instructions{
		kept(asm.R1, keepSegs),
		asm.JEq.Imm(asm.R1, 0, "end"),
		asm.Sub.Imm(asm.R1, 1), keep(keepSegs, asm.R1),
		kept(asm.R3, keepVec),
		kept(asm.R1, keepWide),
		asm.Mov.Reg(asm.R2, asm.R3), asm.Add.Reg(asm.R2, asm.R1), keep(keepVec, asm.R2),
		asm.JEq.Imm(asm.R1, 8, "entry_narrow"),
	}
	ins = append(ins, read(asm.FnProbeReadUser, slotEntry, 16, asm.R3, 0)...)
	ins = append(ins,
		asm.JNE.Imm(asm.R0, 0, "end"),
		load(asm.R1, slotEntry), keep(keepAddr, asm.R1),
		load(asm.R9, slotEntry+8),
		asm.Ja.Label("entry_read"),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("entry_narrow"),
	)
	ins = append(ins, read(asm.FnProbeReadUser, slotEntry, 8, asm.R3, 0)...)
	return append(ins,
		asm.JNE.Imm(asm.R0, 0, "end"),
		asm.LoadMem(asm.R1, asm.RFP, slotEntry, asm.Word), keep(keepAddr, asm.R1),
		asm.LoadMem(asm.R9, asm.RFP, slotEntry+4, asm.Word),
		keep(keepPiece, asm.R9).WithSymbol("entry_read"),
		asm.JEq.Imm(asm.R9, 0, "next"),
	)
}
