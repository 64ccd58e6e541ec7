package minidump

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"procdump/arch"
	"procdump/snapshot"
)

// Thread is an entry of the ThreadList (MINIDUMP_THREAD).
type Thread struct {
	ID            uint32
	SuspendCount  uint32
	PriorityClass uint32
	Priority      uint32
	// TEB is the address of the thread environment block on Windows; of the
	// thread's TLS block in Linux dumps by Crashpad and procdump.
	TEB   uint64
	Stack MemoryDescriptor
	// Context is the CONTEXT structure, for arch.FromContext; nil if it is
	// missing or damaged.
	Context []byte
}

func (h *head) threads(p *snapshot.Process) {
	h.contexts = make([]Location, len(p.Threads))
	for i := range p.Threads {
		h.contexts[i] = h.writeContext(&p.Threads[i].Registers)
	}
	h.begin(ThreadListStream)
	h.u32(uint32(len(p.Threads)))
	for i := range p.Threads {
		t, stack := &p.Threads[i], h.plan.stacks[i]
		if stack.Size == 0 {
			stack = snapshot.Range{Addr: t.Registers.SP()}
		}
		h.u32(uint32(t.TID))
		h.zeros(8)
		h.u32(uint32(t.Nice))
		h.u64(t.Registers.TLS())
		h.u64(stack.Addr)
		h.location(Location{uint32(stack.Size), h.plan.locate(stack).RVA})
		h.location(h.contexts[i])
	}
	h.end()
}

// writeContext writes a thread's CONTEXT, if it has registers: one that could
// not be stopped has none.
func (h *head) writeContext(r *arch.Registers) Location {
	if h.w == io.Discard && h.contextSize[r.Machine] > 0 && len(r.Set(arch.NT_PRSTATUS)) >= r.Machine.GPSize() {
		// Only sizes matter, and all of a machine have the same.
		l := h.nextBlob(h.contextSize[r.Machine])
		h.zeros(int64(l.Size))
		return l
	}
	b, err := r.Context()
	if err != nil {
		return Location{}
	}
	h.contextSize[r.Machine] = len(b)
	return h.blob(b)
}

// context finds the CONTEXT that threads wrote for a thread.
func (h *head) context(p *snapshot.Process, tid int) Location {
	for i, c := range h.contexts {
		if p.Threads[i].TID == tid {
			return c
		}
	}
	return Location{}
}

// Threads returns the entries of the ThreadList.
func (r *Reader) Threads() ([]Thread, error) { return strict(r.threads()) }

func (r *Reader) threads() ([]Thread, error) {
	l, err := r.list(ThreadListStream, threadSize)
	if err != nil && l == nil {
		return nil, err
	}
	out := make([]Thread, 0, l.n)
	le, left := binary.LittleEndian, r.size // contexts do not overlap: they cannot be more than the file
	for e := range l.entries() {
		t := Thread{ID: le.Uint32(e), SuspendCount: le.Uint32(e[4:]), PriorityClass: le.Uint32(e[8:]),
			Priority: le.Uint32(e[12:]), TEB: le.Uint64(e[16:])}
		stack := location(e[32:])
		t.Stack = MemoryDescriptor{snapshot.Range{Addr: le.Uint64(e[24:]), Size: uint64(stack.Size)}, int64(stack.RVA)}
		where := location(e[40:])
		left -= int64(where.Size)
		if left < 0 {
			return out, &FormatError{Off: int64(l.d.RVA), What: "ThreadList with overlapping contexts"}
		}
		c, cerr := r.context(where)
		if cerr != nil && err == nil {
			err = fmt.Errorf("thread %d: %w", t.ID, cerr)
		}
		t.Context = c
		out = append(out, t)
	}
	return out, err
}

func (r *Reader) context(l Location) ([]byte, error) {
	if l.Size == 0 {
		return nil, nil
	}
	return strict(r.at(l, maxContext, "context"))
}

func (h *head) threadNames(p *snapshot.Process) {
	type entry struct{ tid, rva uint32 }
	var names []entry
	for i := range p.Threads {
		if t := &p.Threads[i]; t.Name != "" {
			names = append(names, entry{uint32(t.TID), h.str(t.Name)})
		}
	}
	h.begin(ThreadNamesStream)
	h.u32(uint32(len(names)))
	for _, n := range names {
		h.u32(n.tid)
		h.u64(uint64(n.rva))
	}
	h.end()
}

// ThreadNames returns the names of the threads by thread id.
func (r *Reader) ThreadNames() (map[uint32]string, error) { return strict(r.threadNames()) }

func (r *Reader) threadNames() (map[uint32]string, error) {
	l, err := r.list(ThreadNamesStream, threadNameSize)
	if err != nil && l == nil {
		return nil, err
	}
	names, s := map[uint32]string{}, r.strings()
	for e := range l.entries() {
		name, serr := s.at(int64(binary.LittleEndian.Uint64(e[4:]) & (1<<63 - 1)))
		if serr != nil && err == nil {
			err = serr
		}
		names[binary.LittleEndian.Uint32(e)] = name
	}
	return names, err
}

// ThreadInfo is an entry of the ThreadInfoList (MINIDUMP_THREAD_INFO).
type ThreadInfo struct {
	ID                   uint32
	DumpFlags, DumpError uint32
	ExitStatus           uint32 // 259: still running
	CreateTime, ExitTime time.Time
	KernelTime, UserTime time.Duration
	StartAddress         uint64
	Affinity             uint64
}

const stillActive = 259

func (h *head) threadInfos(p *snapshot.Process) {
	h.begin(ThreadInfoListStream)
	h.u32(12)
	h.u32(threadInfoSize)
	h.u32(uint32(len(p.Threads)))
	for i := range p.Threads {
		t := &p.Threads[i]
		h.u32(uint32(t.TID))
		h.zeros(8)
		h.u32(stillActive)
		h.u64(fileTime(t.StartTime))
		h.u64(0)
		h.u64(uint64(t.SystemTime / 100))
		h.u64(uint64(t.UserTime / 100))
		h.zeros(16)
	}
	h.end()
}

// ThreadInfos returns the entries of the ThreadInfoList.
func (r *Reader) ThreadInfos() ([]ThreadInfo, error) { return strict(r.threadInfos()) }

func (r *Reader) threadInfos() ([]ThreadInfo, error) {
	l, err := r.list2(ThreadInfoListStream, threadInfoSize)
	if err != nil && l == nil {
		return nil, err
	}
	out := make([]ThreadInfo, 0, l.n)
	le := binary.LittleEndian
	for e := range l.entries() {
		out = append(out, ThreadInfo{
			ID: le.Uint32(e), DumpFlags: le.Uint32(e[4:]), DumpError: le.Uint32(e[8:]), ExitStatus: le.Uint32(e[12:]),
			CreateTime: fromFileTime(le.Uint64(e[16:])), ExitTime: fromFileTime(le.Uint64(e[24:])),
			KernelTime: ticks(le.Uint64(e[32:])), UserTime: ticks(le.Uint64(e[40:])),
			StartAddress: le.Uint64(e[48:]), Affinity: le.Uint64(e[56:]),
		})
	}
	return out, err
}

// FILETIME counts 100 ns since 1601.
const fileTimeEpoch = 116444736000000000

func fileTime(t time.Time) uint64 {
	if t.IsZero() || t.Unix() < 0 {
		return 0
	}
	return uint64(t.Unix())*1e7 + uint64(t.Nanosecond())/100 + fileTimeEpoch
}

func fromFileTime(v uint64) time.Time {
	if v < fileTimeEpoch || v > 1<<62 {
		return time.Time{}
	}
	v -= fileTimeEpoch
	return time.Unix(int64(v/1e7), int64(v%1e7)*100)
}

// ticks converts units of 100 ns; absurd values give 0.
func ticks(v uint64) time.Duration {
	if v > 1<<62/100 {
		return 0
	}
	return time.Duration(v) * 100
}
