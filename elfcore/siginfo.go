package elfcore

import (
	"procdump/arch"
	"procdump/snapshot"
)

// Signals by number, the same on all machines here (signal(7)).
const (
	sigILL   = 4
	sigTRAP  = 5
	sigBUS   = 7
	sigFPE   = 8
	sigSEGV  = 11
	sigCHLD  = 17
	sigCONT  = 18
	sigSTOP  = 19
	sigTSTP  = 20
	sigTTIN  = 21
	sigTTOU  = 22
	sigURG   = 23
	sigWINCH = 28
)

// siKernel is SI_KERNEL: the kernel sent the signal and says no more.
const siKernel = 0x80

// siginfoAddrOff is the offset of si_addr: after signo, errno, code, and on
// 64-bit machines four bytes of padding.
func siginfoAddrOff(word int) int {
	if word == 4 {
		return 12
	}
	return 16
}

// fatal tells whether a signal's default action ends the process (signal(7)).
func fatal(sig int) bool {
	switch sig {
	case 0, sigCHLD, sigCONT, sigSTOP, sigTSTP, sigTTIN, sigTTOU, sigURG, sigWINCH:
		return false
	}
	return true
}

// hasFaultAddr tells whether a siginfo of that si_code has an si_addr. Codes up
// to 0 mean that a process sent the signal.
func hasFaultAddr(sig int, code int32) bool {
	switch sig {
	case sigILL, sigTRAP, sigBUS, sigFPE, sigSEGV:
		return code > 0 && code != siKernel
	}
	return false
}

// exceptionOf is what killed thread t, nil if nothing did.
func exceptionOf(m arch.Machine, t *snapshot.Thread) *snapshot.Exception {
	e := &snapshot.Exception{TID: t.TID, Signal: t.Signal, Addr: t.Registers.PC()}
	if d := (wordBytes{t.Siginfo, m.PointerSize()}); len(d.b) >= siginfoSize && d.size != 0 {
		if signo := int(d.int32(0)); signo != 0 {
			e.Signal = signo
		}
		code := d.int32(8)
		e.Code = uint32(code)
		if hasFaultAddr(e.Signal, code) {
			e.Addr = d.word(siginfoAddrOff(d.size))
		}
	}
	if !fatal(e.Signal) {
		return nil
	}
	return e
}
