package output

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"procdump/internal/sys/bpf"
)

// pieces makes the pieces of one write.
func pieces(tid, fd int, texts ...string) []bpf.Piece {
	rest := 0
	for _, s := range texts {
		rest += len(s)
	}
	var all []bpf.Piece
	for i, s := range texts {
		rest -= len(s)
		all = append(all, bpf.Piece{PID: 1, TID: tid, FD: fd, First: i == 0, Data: []byte(s), Size: len(s), Rest: uint64(rest)})
	}
	return all
}

func TestSplitter(t *testing.T) {
	type step = []bpf.Piece
	long := strings.Repeat("x", MaxLine-1) + "éy"
	cut := pieces(1, 1, "seen")
	cut[0].Cut, cut[0].Rest = true, 100
	unread := pieces(1, 1, "abc\n")
	unread[0].Data = nil
	for _, c := range []struct {
		name  string
		steps []step
		want  string
	}{
		{"lines of one write", []step{pieces(1, 1, "a\nb\r\n\nc\n")}, "1 a|1 b|1 |1 c|"},
		{"a line of two writes", []step{pieces(1, 1, "a"), pieces(1, 1, "b\n")}, "1 ab|"},
		{"two descriptors", []step{pieces(1, 1, "a"), pieces(1, 2, "x\n"), pieces(1, 1, "b\n")}, "2 x|1 ab|"},
		{"pieces", []step{pieces(1, 1, "a", "b\nc", "d\n")}, "1 ab|1 cd|"},
		{"mixed pieces of threads", []step{pieces(1, 1, "a", "b\n")[:1], pieces(2, 1, "x\n"), pieces(1, 1, "a", "b\n")[1:]}, "1 x|1 ab|"},
		{"an end that was lost", []step{pieces(1, 1, "a", "b\n")[:1], pieces(1, 1, "x\n")}, "1 a+|1 x|"},
		{"a beginning that was lost", []step{pieces(1, 1, "a", "b\n")[1:], pieces(1, 1, "x\n")}, "1 b|1 x|"},
		{"the kernel's limit", []step{cut, pieces(1, 1, "x\n")}, "1 seen+|1 x|"},
		{"not readable", []step{unread, pieces(1, 1, "x\n")}, "1 x|"},
		{"too long, not in the middle of a letter", []step{pieces(1, 1, long+"\n")},
			"1 " + long[:MaxLine-1] + "+|1 éy|"},
		{"syslog", []step{pieces(1, 0, "<1", "4>a\n")}, "-1 a|"},
		{"syslog by a stream", []step{pieces(1, 0, "<14>a\x00<15>b\x00")}, "-1 a|-1 b|"},
		{"not syslog", []step{pieces(1, 0, "<14a"), pieces(1, 0, "<>a"), pieces(1, 0, "<1234>a"), pieces(1, 0, "PING")}, ""},
		{"journal", []step{pieces(1, 0, "PRIORITY=6\nMESSAGE\n\x03\x00\x00\x00\x00\x00\x00\x00a\nb\nX=1\n")}, "-1 a|-1 b|"},
		{"journal, damaged", []step{pieces(1, 0, "MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xffa"), pieces(1, 0, "MESSAGE\n\x01")}, "-1 a|"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got strings.Builder
			s := newSplitter(func(l Line) {
				fmt.Fprintf(&got, "%d %s%s|", l.FD, l.Text, map[bool]string{true: "+"}[l.Cut])
				if l.Syslog != (l.FD == -1) {
					t.Errorf("%+v", l)
				}
			})
			for _, step := range c.steps {
				for _, p := range step {
					s.add(p, time.Unix(1, 0))
				}
			}
			if got.String() != c.want {
				t.Errorf("got %q, want %q", got.String(), c.want)
			}
			if len(s.streams) != 0 || len(s.writes) != 0 {
				t.Errorf("keeps %d lines and %d writes", len(s.streams), len(s.writes))
			}
		})
	}
}

func TestFlush(t *testing.T) {
	var got []string
	s := newSplitter(func(l Line) { got = append(got, l.Text) })
	begin := time.Unix(1, 0)
	s.add(pieces(1, 1, "prompt")[0], begin)
	s.add(pieces(2, 2, "half", "lost")[0], begin)
	if next := s.flush(begin.Add(partialWait - 1)); !next.Equal(begin.Add(partialWait)) || len(got) != 0 {
		t.Errorf("next %v, got %q", next, got)
	}
	if next := s.flush(begin.Add(partialWait)); !next.IsZero() || len(got) != 2 {
		t.Errorf("next %v, got %q", next, got)
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain":          "plain",
		"tab\tand é":     "tab\tand é",
		"\x1b[0m\x00":    `\x1b[0m\x00`,
		"\xff\xc3":       `\xff\xc3`,
		"\u0085\u202eab": `\xc2\x85\xe2\x80\xaeab`,
	} {
		if got := clean([]byte(in)); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}
