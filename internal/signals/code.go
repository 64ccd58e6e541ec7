package signals

import "fmt"

// codes are the positive values of si_code by signal
// (include/uapi/asm-generic/siginfo.h). They begin with 1.
var codes = map[int][]string{
	ILL: {"ILL_ILLOPC", "ILL_ILLOPN", "ILL_ILLADR", "ILL_ILLTRP", "ILL_PRVOPC", "ILL_PRVREG", "ILL_COPROC", "ILL_BADSTK",
		"ILL_BADIADDR", "ILL_BREAK", "ILL_BNDMOD"},
	FPE: {"FPE_INTDIV", "FPE_INTOVF", "FPE_FLTDIV", "FPE_FLTOVF", "FPE_FLTUND", "FPE_FLTRES", "FPE_FLTINV", "FPE_FLTSUB",
		"FPE_DECOVF", "FPE_DECDIV", "FPE_DECERR", "FPE_INVASC", "FPE_INVDEC", "FPE_FLTUNK", "FPE_CONDTRAP"},
	SEGV: {"SEGV_MAPERR", "SEGV_ACCERR", "SEGV_BNDERR", "SEGV_PKUERR", "SEGV_ACCADI", "SEGV_ADIDERR", "SEGV_ADIPERR",
		"SEGV_MTEAERR", "SEGV_MTESERR", "SEGV_CPERR"},
	BUS:  {"BUS_ADRALN", "BUS_ADRERR", "BUS_OBJERR", "BUS_MCEERR_AR", "BUS_MCEERR_AO"},
	TRAP: {"TRAP_BRKPT", "TRAP_TRACE", "TRAP_BRANCH", "TRAP_HWBKPT", "TRAP_UNK", "TRAP_PERF"},
	17:   {"CLD_EXITED", "CLD_KILLED", "CLD_DUMPED", "CLD_TRAPPED", "CLD_STOPPED", "CLD_CONTINUED"},
	29:   {"POLL_IN", "POLL_OUT", "POLL_MSG", "POLL_ERR", "POLL_PRI", "POLL_HUP"},
	SYS:  {"SYS_SECCOMP", "SYS_USER_DISPATCH"},
}

// siKernel is SI_KERNEL: the kernel sent the signal and says no more, as after
// a general protection fault, which has no address.
const siKernel = 0x80

// anySignal are the values of si_code that come with every signal.
var anySignal = map[int32]string{
	siKernel: "SI_KERNEL",
	0:        "SI_USER",
	-1:       "SI_QUEUE",
	-2:       "SI_TIMER",
	-3:       "SI_MESGQ",
	-4:       "SI_ASYNCIO",
	-5:       "SI_SIGIO",
	-6:       "SI_TKILL",
	-7:       "SI_DETHREAD",
	-60:      "SI_ASYNCNL",
}

// Code returns the name of a signal's si_code: "SEGV_MAPERR", "SI_TKILL", or
// its number where it has none.
func Code(sig int, code int32) string {
	if s, ok := anySignal[code]; ok {
		return s
	}
	if list := codes[sig]; code >= 1 && int(code) <= len(list) {
		return list[code-1]
	}
	return fmt.Sprint(code)
}

// HasAddress tells whether a signal with that si_code carries the address of a
// fault.
func HasAddress(sig int, code int32) bool {
	switch sig {
	case ILL, TRAP, BUS, FPE, SEGV:
		return code > 0 && code != siKernel
	}
	return false
}

// ExceptionCode names what happened in one word that is fit for a file name:
// "SIGSEGV.SEGV_MAPERR", "SIGABRT.SI_TKILL".
func ExceptionCode(sig int, code int32) string {
	return Name(sig) + "." + Code(sig, code)
}

// ExceptionText is ExceptionCode and, where there is one, the fault's address:
// "SIGSEGV.SEGV_MAPERR at 0x10".
func ExceptionText(sig int, code int32, addr uint64) string {
	text := ExceptionCode(sig, code)
	if HasAddress(sig, code) {
		text += fmt.Sprintf(" at %#x", addr)
	}
	return text
}
