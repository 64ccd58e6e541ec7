package minidump

import (
	"errors"
	"fmt"
	"io"
	"math"

	"procdump/arch"
	"procdump/snapshot"
)

// Options choose the form of a dump.
type Options struct {
	// Full puts the memory into a Memory64List behind everything else, where
	// it may pass 4 GiB, and a copy of the used thread stacks into the
	// MemoryList near the front, since Breakpad's tools read only that. The
	// memory's place in the file is page-aligned: zero pages can stay holes.
	// Without Full all memory is in the MemoryList.
	Full bool
}

// Layout is a dump whose size and places are fixed but whose memory is not yet
// read. A Layout must not be used by several goroutines at once.
type Layout struct {
	p        *snapshot.Process
	plan     *plan
	noteSize int // bytes of InfoStream
	comment  int // UTF-16 units of CommentStreamW
	headSize int64
}

// commentReserve is how many UTF-16 units of the comment stream are kept free
// for what is known only after the copy.
const commentReserve = 256

// NewLayout computes where everything of a dump of p goes. ranges is the
// memory to hold, ascending and not overlapping; it should include the thread
// stacks. No memory is read. The layout refers to p, whose Info may change
// until WriteHead is called last; nothing else may.
//
// Readers know limits (Breakpad: 4,096 regions of 64 MiB in a MemoryList).
// Adjacent ranges are joined and large ones split; where there are still too
// many, the MemoryList holds the most important ones (stacks, code that is
// being executed, what the dynamic linker knows, then the large ones), and a
// Memory64List describes all of them, over the same bytes of the file.
func NewLayout(p *snapshot.Process, ranges []snapshot.Range, o Options) (*Layout, error) {
	pl, err := newPlan(p, ranges, o.Full)
	if err != nil {
		return nil, err
	}
	note, err := snapshot.NoteSize(p)
	if err != nil {
		return nil, err
	}
	l := &Layout{p: p, plan: pl, noteSize: note}
	l.comment = len(commentUnits(p)) + commentReserve
	if err := l.measure(); err != nil {
		return nil, err
	}
	return l, nil
}

// measure fixes the head's size and, behind it, all places.
func (l *Layout) measure() error {
	h, err := l.render(io.Discard, nil, 0)
	if err != nil {
		return err
	}
	l.headSize = h.size()
	return l.plan.place(l.headSize)
}

// Size is the size of the whole dump in bytes.
func (l *Layout) Size() int64 { return max(l.plan.end, l.headSize) }

// HeadSize is how many bytes WriteHead writes.
func (l *Layout) HeadSize() int64 { return l.headSize }

// Placements says where the memory goes: ascending by file offset, none before
// HeadSize. Some memory has two places. Bytes of the file that belong neither
// to the head nor to a placement are zero.
func (l *Layout) Placements() []snapshot.Placement { return l.plan.placements }

// WriteHead writes the first HeadSize bytes of the dump: header, directory and
// all streams, as the process is now. It returns ErrChanged if something other
// than Process.Info has grown since NewLayout. It holds little of the head in
// RAM.
func (l *Layout) WriteHead(w io.Writer) error {
	h, err := l.render(io.Discard, nil, 0)
	if err != nil {
		return err
	}
	slack := l.headSize - h.size()
	if slack < 0 {
		return ErrChanged
	}
	if l.p.Linker != nil {
		h.dir[len(h.dir)-1].RVA += uint32(slack)
	}
	if h, err = l.render(w, h.dir, slack); err == nil && h.size() != l.headSize {
		err = ErrChanged
	}
	return err
}

// render writes the head with that directory, nil if it is not yet known. Where
// the last stream has to touch the head's end, since it continues in the first
// placement, slack zeros come before it, else at the end.
func (l *Layout) render(w io.Writer, dir []Directory, slack int64) (*head, error) {
	p := l.p
	h := &head{w: w, plan: l.plan, slack: slack, contextSize: map[arch.Machine]int{}}
	streams := l.streams()
	h.header(p, l.plan.full, dir)
	h.zeros(headerSize + directorySize*int64(len(streams)) - h.size())
	for _, write := range streams {
		write(h)
	}
	if p.Linker == nil {
		h.zeros(slack)
	}
	h.flush()
	switch {
	case h.err != nil:
		return nil, fmt.Errorf("write head: %w", h.err)
	case h.size() > maxRVA:
		return nil, ErrTooLarge
	}
	return h, nil
}

// streams returns the writers of the streams that the process has something
// for: each writes exactly one. The linker's comes last, see head.linker.
func (l *Layout) streams() []func(*head) {
	p := l.p
	list := []func(*head){
		func(h *head) { h.systemInfo(p) },
		func(h *head) { h.threads(p) },
		func(h *head) { h.exception(p) },
		func(h *head) { h.modules(p) },
		func(h *head) { h.memoryList() },
	}
	if l.plan.list64 != nil {
		list = append(list, func(h *head) { h.memory64List() })
	}
	list = append(list,
		func(h *head) { h.miscInfo(p) },
		func(h *head) { h.threadNames(p) },
		func(h *head) { h.threadInfos(p) },
		func(h *head) { h.unloadedModules() },
		func(h *head) { h.memoryInfo(p) },
		func(h *head) { h.handles(p) },
		func(h *head) { h.breakpadInfo(p) },
		func(h *head) { h.comment(p, l.comment) },
		func(h *head) { h.info(p, l.noteSize) },
		func(h *head) { h.notes(p) },
	)
	for _, t := range texts(p) {
		list = append(list, func(h *head) { h.raw(t.typ, t.data) })
	}
	if p.Linker != nil {
		list = append(list, func(h *head) { h.linker(p) })
	}
	return list
}

// info writes the stream of the JSON note, size bytes long.
func (h *head) info(p *snapshot.Process, size int) {
	h.begin(InfoStream)
	if err := snapshot.WriteNote(h, p, size); h.err == nil {
		h.err = err
	}
	h.end()
}

// header writes the header and the directory.
func (h *head) header(p *snapshot.Process, full bool, dir []Directory) {
	flags := uint64(headerFlags)
	if full {
		flags |= MiniDumpWithFullMemory
	}
	var stamp uint32
	if t := p.Info.Time; !t.IsZero() {
		stamp = uint32(min(max(t.Unix(), 0), math.MaxUint32))
	}
	h.u32(signature)
	h.u32(version)
	h.u32(uint32(len(dir)))
	h.u32(headerSize)
	h.u32(0)
	h.u32(stamp)
	h.u64(flags)
	for _, d := range dir {
		h.u32(uint32(d.Type))
		h.location(d.Location)
	}
}

// Write writes a dump of p to w in one sequential pass; see NewLayout for p and
// ranges. Bytes in p.Info.Unreadable are written as zeros; any other memory
// that cannot be read ends Write with an error, since the head that would have
// to mention it is out by then. Who can go back in the file uses Layout.
func Write(w io.Writer, p *snapshot.Process, ranges []snapshot.Range, o Options) error {
	l, err := NewLayout(p, ranges, o)
	if err != nil {
		return err
	}
	if err := l.WriteHead(w); err != nil {
		return err
	}
	if len(l.Placements()) > 0 && p.Memory == nil {
		return errors.New("minidump: process has no memory to read from")
	}
	off, buf := l.HeadSize(), make([]byte, 256<<10)
	for _, pl := range l.Placements() {
		if err := writeZeros(w, pl.Off-off); err != nil {
			return fmt.Errorf("write padding: %w", err)
		}
		if err := copyMemory(w, p, pl.Range, buf); err != nil {
			return err
		}
		off = pl.Off + int64(pl.Size)
	}
	return nil
}

// copyMemory writes the bytes of a range of p's memory.
func copyMemory(w io.Writer, p *snapshot.Process, r snapshot.Range, buf []byte) error {
	for addr := r.Addr; addr != r.End(); {
		b := buf[:min(uint64(len(buf)), r.End()-addr)]
		n, err := p.Memory.ReadMemory(b, addr)
		if err != nil {
			hole := unreadable(p, addr+uint64(n), r.End())
			if hole == 0 {
				return fmt.Errorf("copy memory: %w", err)
			}
			k := min(uint64(len(b)-n), hole)
			clear(b[n : n+int(k)])
			n += int(k)
		}
		if _, err := w.Write(b[:n]); err != nil {
			return fmt.Errorf("write memory: %w", err)
		}
		addr += uint64(n)
	}
	return nil
}

// unreadable returns how many bytes from addr on, at most to end, are known to
// be unreadable.
func unreadable(p *snapshot.Process, addr, end uint64) uint64 {
	for _, u := range p.Info.Unreadable {
		if u.Contains(addr) {
			return min(u.End(), end) - addr
		}
	}
	return 0
}

func writeZeros(w io.Writer, n int64) error {
	var zero [4096]byte
	for n > 0 {
		k := min(n, int64(len(zero)))
		if _, err := w.Write(zero[:k]); err != nil {
			return err
		}
		n -= k
	}
	return nil
}
