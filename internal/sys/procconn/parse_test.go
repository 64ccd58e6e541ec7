package procconn

import (
	"bytes"
	"errors"
	"testing"
)

// words makes 32-bit words in the machine's order.
func words(w ...uint32) []byte {
	var b []byte
	for _, x := range w {
		b = native.AppendUint32(b, x)
	}
	return b
}

// message is a datagram as the kernel makes it: the event's data is the union
// of all kinds, 24 bytes.
func message(what, cpu, seq, ack uint32, ns uint64, data []byte) []byte {
	data = append(bytes.Clone(data), make([]byte, 24-len(data))...)
	b := words(16 + 20 + 16 + 24)          // nlmsg_len
	b = native.AppendUint16(b, NLMSG_DONE) // nlmsg_type
	b = native.AppendUint16(b, 0)
	b = append(b, words(seq, 0)...)         // nlmsg_seq, nlmsg_pid
	b = append(b, words(1, 1, seq, ack)...) // cn_msg: idx, val, seq, ack
	b = native.AppendUint16(b, 16+24)       // len
	b = native.AppendUint16(b, 0)
	b = append(b, words(what, cpu)...)
	b = native.AppendUint64(b, ns)
	return append(b, data...)
}

var samples = []struct {
	name string
	b    []byte
	want Event
}{
	{"ack", message(0, 1, 9, 78, 5, words(1)), Event{CPU: 1, Seq: 9, Ack: 78, Monotonic: 5, Status: 1}},
	{"fork", message(1, 2, 10, 0, 1<<40, words(11, 10, 21, 20)),
		Event{What: PROC_EVENT_FORK, CPU: 2, Seq: 10, Monotonic: 1 << 40, PID: 20, TID: 21, ParentPID: 10, ParentTID: 11}},
	{"exec", message(2, 0, 1, 0, 1, words(21, 20)), Event{What: PROC_EVENT_EXEC, Seq: 1, Monotonic: 1, PID: 20, TID: 21}},
	{"uid", message(4, 0, 1, 0, 1, words(21, 20, 7, 8)), Event{What: PROC_EVENT_UID, Seq: 1, Monotonic: 1, PID: 20, TID: 21}},
	{"ptrace", message(0x100, 0, 1, 0, 1, words(21, 20, 7, 8)), Event{What: PROC_EVENT_PTRACE, Seq: 1, Monotonic: 1, PID: 20, TID: 21}},
	{"comm", message(0x200, 0, 1, 0, 1, append(words(21, 20), "worker-15-bytes\x00"...)),
		Event{What: PROC_EVENT_COMM, Seq: 1, Monotonic: 1, PID: 20, TID: 21, Comm: [16]byte([]byte("worker-15-bytes\x00"))}},
	{"core dump", message(0x40000000, 0, 1, 0, 1, words(21, 20, 11, 10)),
		Event{What: PROC_EVENT_COREDUMP, Seq: 1, Monotonic: 1, PID: 20, TID: 21, ParentPID: 10, ParentTID: 11}},
	{"exit", message(0x80000000, 0, 1, 0, 1, words(21, 20, 0x8b, 17, 11, 10)),
		Event{What: PROC_EVENT_EXIT, Seq: 1, Monotonic: 1, PID: 20, TID: 21, Status: 0x8b, ParentPID: 10, ParentTID: 11}},
}

func TestParse(t *testing.T) {
	var all []byte
	for _, s := range samples {
		got, err := Parse(s.b, nil)
		if err != nil || len(got) != 1 || got[0] != s.want {
			t.Errorf("%s: %+v, %v; want %+v", s.name, got, err, s.want)
		}
		all = append(all, s.b...)
	}
	got, err := Parse(all, nil)
	if err != nil || len(got) != len(samples) {
		t.Errorf("all in one datagram: %d events, %v", len(got), err)
	}
}

// Kernels before 4.18 have no parent in the event of an exit.
func TestParseShortExit(t *testing.T) {
	b := message(0x80000000, 0, 1, 0, 1, words(21, 20, 256, 17, 11, 10))
	b = b[:len(b)-8]
	native.PutUint32(b, uint32(len(b)))
	native.PutUint16(b[32:], 16+16)
	got, err := Parse(b, nil)
	if err != nil || len(got) != 1 || got[0].PID != 20 || got[0].Status != 256 || got[0].ParentPID != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestParseGarbage(t *testing.T) {
	good := samples[1].b
	change := func(off int, value uint32) []byte {
		b := bytes.Clone(good)
		native.PutUint32(b[off:], value)
		return b
	}
	short := func(off int, value uint16) []byte {
		b := bytes.Clone(good)
		native.PutUint16(b[off:], value)
		return b
	}
	for _, tt := range []struct {
		name string
		b    []byte
		want error
	}{
		{"length 0", change(0, 0), errFormat},
		{"length too long", change(0, uint32(len(good)+1)), errFormat},
		{"length of nothing but headers", change(0, 20), errFormat},
		{"huge length", change(0, 1<<32-1), errFormat},
		{"event longer than message", short(32, 41), errFormat},
		{"event shorter than its header", short(32, 15), errFormat},
		{"data shorter than a fork has", short(32, 16+12), errFormat},
		{"error message", short(4, NLMSG_ERROR), errFormat},
		{"overrun", short(4, NLMSG_OVERRUN), errOverrun},
		{"no-op", short(4, NLMSG_NOOP), nil},
		{"another user of the connector", change(16, 3), nil},
		{"unknown kind", change(36, 0x400), nil},
	} {
		got, err := Parse(tt.b, nil)
		if !errors.Is(err, tt.want) || len(got) != 0 {
			t.Errorf("%s: %+v, error %v, want %v", tt.name, got, err, tt.want)
		}
	}
	for n := range len(good) {
		if got, err := Parse(good[:n], nil); len(got) != 0 || (err == nil) != (n == 0) {
			t.Errorf("first %d bytes: %+v, %v", n, got, err)
		}
	}
	// What precedes garbage counts.
	got, err := Parse(append(bytes.Clone(good), 1, 2, 3), nil)
	if len(got) != 1 || err == nil {
		t.Errorf("event before garbage: %+v, %v", got, err)
	}
}

func TestRequest(t *testing.T) {
	want := words(40)
	want = native.AppendUint16(want, 3)
	want = native.AppendUint16(want, 0)
	want = append(want, words(0, 4711, 1, 1, 0, 77)...)
	want = native.AppendUint16(want, 4)
	want = native.AppendUint16(want, 0)
	want = append(want, words(1)...)
	if got := appendRequest(nil, 4711, 77, 0); !bytes.Equal(got, want) {
		t.Errorf("request for all:\n%x\n%x", got, want)
	}
	got := appendRequest(nil, 4711, 77, PROC_EVENT_EXEC|PROC_EVENT_EXIT)
	if len(got) != 44 || native.Uint32(got) != 44 || native.Uint16(got[32:]) != 8 || native.Uint32(got[40:]) != 0x80000002 {
		t.Errorf("request with a filter: %x", got)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range samples {
		f.Add(s.b)
		f.Add(s.b[:len(s.b)-9])
	}
	f.Add(append(bytes.Clone(samples[1].b), samples[2].b...))
	f.Fuzz(func(t *testing.T, b []byte) {
		events, err := Parse(b, nil)
		if len(events) > len(b)/messageHeader {
			t.Fatalf("%d events of %d bytes", len(events), len(b))
		}
		// What follows an event does not change it.
		if more, merr := Parse(append(bytes.Clone(b), samples[2].b...), nil); err == nil && len(b)%4 == 0 {
			if merr != nil || len(more) != len(events)+1 {
				t.Fatalf("%d events, with one more %d, %v", len(events), len(more), merr)
			}
		}
	})
}
