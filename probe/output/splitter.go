package output

import (
	"bytes"
	"time"

	"procdump/internal/sys/bpf"
)

// splitter puts the pieces of writes together and takes them apart into lines.
type splitter struct {
	emit    func(Line)
	writes  map[int]*write    // by thread: writes of which pieces are missing
	streams map[place]*stream // with the beginning of a line
	limit   limit
	lost    uint64 // lines beyond the limit
}

// place is where a line is growing.
type place struct{ pid, fd int }

type stream struct {
	line  Line
	text  []byte
	since time.Time // when the first byte came in
}

// write is what one system call wrote, as far as it has come in.
type write struct {
	first bpf.Piece
	data  []byte
	since time.Time
}

func newSplitter(emit func(Line)) *splitter {
	return &splitter{emit: emit, writes: map[int]*write{}, streams: map[place]*stream{}}
}

// add takes a piece, whose Data it does not keep.
func (s *splitter) add(p bpf.Piece, now time.Time) {
	w := s.writes[p.TID]
	if p.First && w != nil {
		// The end of the write before was lost.
		s.put(w.first, w.data, true, now)
		delete(s.writes, p.TID)
		w = nil
	}
	lacks := len(p.Data) < p.Size
	if w == nil {
		if p.Rest == 0 || p.Cut {
			s.put(p, p.Data, p.Cut || lacks || !p.First, now)
			return
		}
		w = &write{first: p, since: now}
		w.first.Data = nil
		w.first.Cut = !p.First
		s.writes[p.TID] = w
	}
	w.data = append(w.data, p.Data...)
	w.first.At = p.At
	w.first.Cut = w.first.Cut || p.Cut || lacks
	if p.Rest == 0 || p.Cut {
		s.put(w.first, w.data, w.first.Cut, now)
		delete(s.writes, p.TID)
	}
}

// put takes the whole of a write; cut says that some of it is missing.
func (s *splitter) put(p bpf.Piece, data []byte, cut bool, now time.Time) {
	line := Line{PID: p.PID, TID: p.TID, FD: p.FD, Time: p.At}
	if p.FD == 0 {
		line.FD, line.Syslog = -1, true
		s.message(line, data, cut)
		return
	}
	at := place{p.PID, p.FD}
	allowed, shown := s.limit.allowed(at, now), 0
	for len(data) > 0 {
		text, rest, ended := bytes.Cut(data, []byte("\n"))
		data = rest
		st := s.streams[at]
		if st == nil && ended && len(text) <= MaxLine {
			if shown == allowed {
				s.lost++
				continue
			}
			shown++
			s.show(line, text)
			continue
		}
		if st == nil {
			st = &stream{since: now}
			s.streams[at] = st
		}
		st.line = line
		st.text = append(st.text, text...)
		for len(st.text) > MaxLine {
			n := wholeRunes(st.text, MaxLine)
			part := line
			part.Cut = true
			s.show(part, st.text[:n])
			st.text = append(st.text[:0], st.text[n:]...)
			st.since = now
		}
		if ended {
			delete(s.streams, at)
			s.show(line, st.text)
		}
	}
	s.limit.take(at, shown)
	if cut {
		s.end(at, true)
	}
}

// message takes a message to syslog. A stream socket may carry several at
// once, which end with a null byte or a newline.
func (s *splitter) message(line Line, data []byte, cut bool) {
	text, ok := syslogText(data)
	if !ok {
		return
	}
	data = bytes.TrimRight(text, "\x00\n")
	for {
		i := bytes.IndexAny(data, "\x00\n")
		text := data
		if i >= 0 {
			text = data[:i]
		}
		if t, ok := syslogText(text); ok && len(text) > 0 && text[0] == '<' {
			text = t
		}
		part := line
		part.Cut = cut && i < 0
		for len(text) > MaxLine {
			n := wholeRunes(text, MaxLine)
			more := line
			more.Cut = true
			s.show(more, text[:n])
			text = text[n:]
		}
		s.show(part, text)
		if i < 0 {
			return
		}
		data = data[i+1:]
	}
}

func (s *splitter) show(line Line, text []byte) {
	line.Text = clean(bytes.TrimSuffix(text, []byte("\r")))
	s.emit(line)
}

// end shows the beginning of a line as it is.
func (s *splitter) end(at place, cut bool) {
	st := s.streams[at]
	if st == nil {
		return
	}
	delete(s.streams, at)
	st.line.Cut = cut
	s.show(st.line, st.text)
}

// pending tells whether something waits for flush.
func (s *splitter) pending() bool { return len(s.streams)+len(s.writes) > 0 }

// flush shows the lines that have waited for their end for too long, and says
// when the next one will have; the zero time is never.
func (s *splitter) flush(now time.Time) (next time.Time) {
	for tid, w := range s.writes {
		due := w.since.Add(partialWait)
		switch {
		case !now.Before(due):
			delete(s.writes, tid)
			s.put(w.first, w.data, true, now)
		case next.IsZero() || due.Before(next):
			next = due
		}
	}
	for at, st := range s.streams {
		due := st.since.Add(partialWait)
		switch {
		case !now.Before(due):
			s.end(at, false)
		case next.IsZero() || due.Before(next):
			next = due
		}
	}
	return next
}
