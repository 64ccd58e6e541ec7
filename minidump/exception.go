package minidump

import (
	"encoding/binary"

	"procdump/snapshot"
)

// DumpRequested is the exception code, in a Linux dump, of a process to which
// nothing happened (Breakpad's MD_EXCEPTION_CODE_LIN_DUMP_REQUESTED).
const DumpRequested = 0xffffffff

// maxParams is the length of EXCEPTION_RECORD.ExceptionInformation.
const maxParams = 15

// Exception is the Exception stream (MINIDUMP_EXCEPTION_STREAM).
type Exception struct {
	TID     uint32
	Code    uint32 // Linux: signal number, or DumpRequested
	Flags   uint32 // Linux: si_code
	Addr    uint64
	Params  []uint64
	Context []byte // the CONTEXT structure; nil if missing or damaged
}

// exception writes what happened or, since some readers select the thread by
// it, that a dump was requested. threads has been called before.
func (h *head) exception(p *snapshot.Process) {
	e := Exception{Code: DumpRequested}
	if len(p.Threads) > 0 {
		e.TID, e.Addr = uint32(p.Threads[0].TID), p.Threads[0].Registers.PC()
	}
	if x := p.Exception; x != nil {
		e.TID, e.Code, e.Flags, e.Addr, e.Params = uint32(x.TID), uint32(x.Signal), x.Code, x.Addr, x.Params
		if p.System.OS == "windows" {
			e.Code, e.Flags = x.Code, 0
		}
	}
	e.Params = e.Params[:min(len(e.Params), maxParams)]
	h.begin(ExceptionStream)
	h.u32(e.TID)
	h.u32(0)
	h.u32(e.Code)
	h.u32(e.Flags)
	h.u64(0)
	h.u64(e.Addr)
	h.u32(uint32(len(e.Params)))
	h.u32(0)
	for _, v := range e.Params {
		h.u64(v)
	}
	h.zeros(8 * int64(maxParams-len(e.Params)))
	h.location(h.context(p, int(e.TID)))
	h.end()
}

// Exception returns the Exception stream.
func (r *Reader) Exception() (*Exception, error) {
	b, d, err := r.stream(ExceptionStream)
	if len(b) < exceptionSize {
		return nil, orShort(err, d, "Exception")
	}
	le := binary.LittleEndian
	e := &Exception{TID: le.Uint32(b), Code: le.Uint32(b[8:]), Flags: le.Uint32(b[12:]), Addr: le.Uint64(b[24:])}
	for i := range min(le.Uint32(b[32:]), maxParams) {
		e.Params = append(e.Params, le.Uint64(b[40+8*i:]))
	}
	// Without its context the exception still tells what happened.
	e.Context, _ = r.context(location(b[160:]))
	return e, nil
}

// snapshot converts the exception; nil if nothing happened.
func (e *Exception) snapshot(os string) *snapshot.Exception {
	x := &snapshot.Exception{TID: int(e.TID), Code: e.Flags, Addr: e.Addr, Params: e.Params}
	switch {
	case os == "windows":
		x.Code = e.Code
	case e.Code == DumpRequested || e.Code == 0:
		return nil
	default:
		x.Signal = int(int32(e.Code))
	}
	return x
}
