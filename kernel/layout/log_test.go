package layout

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"procdump/kernel/layout/layouttest"
)

// ringKernel lays out a ring of 8 descriptors and 64 bytes of text.
func ringKernel(descs []layouttest.RingDesc, text string, tail, head uint64) *x86Kernel {
	k := newX86(4, 0xffff888000000000)
	for i := range descs {
		descs[i].Facility = 3
	}
	r := layouttest.Ring{DescBits: 3, TextBits: 6, Tail: tail, Head: head, Descs: descs, Text: []byte(text)}
	k.info.WriteString(r.Put(func(b []byte) uint64 { return k.put(0, b) }))
	return k
}

func TestRingLog(t *testing.T) {
	// 64 bytes of text: block of id 9 wraps to the beginning, 10 is at 24, 11
	// ends where the ring ends.
	text := "IIIIIIIIwrapped-text\x00\x00\x00\x00" + "IIIIIIIIsecond\x00\x00" + "IIIIIIIIthird at the end"
	descs := []layouttest.RingDesc{
		{ID: 8, State: 3}, // reusable
		{ID: 9, State: 2, Begin: 64 - 16, Next: 64 + 24, Seq: 100, Nanoseconds: 1_500_000_000, Length: 12, Level: 6},
		{ID: 10, State: 1, Begin: 64 + 24, Next: 64 + 40, Seq: 101, Nanoseconds: 2_000_001_000, Length: 6, Level: 3},
		{ID: 11, State: 2, Begin: 64 + 40, Next: 128, Seq: 102, Nanoseconds: 3_000_000_000, Length: 16, Level: 7},
		{ID: 12, State: 0}, // reserved by a writer
		{ID: 13, State: 2, Begin: 1, Next: 1, Seq: 103, Nanoseconds: 4_000_000_000, Length: 0, Level: 5}, // without text
	}
	log, err := ringKernel(descs, text, 8, 13).open(t).Log()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range log {
		got = append(got, fmt.Sprintf("%d %d.%d %s", r.Seq, r.Facility, r.Level, r))
	}
	want := []string{
		"100 3.6 [    1.500000] wrapped-text", "101 3.3 [    2.000001] second",
		"102 3.7 [    3.000000] third at the end", "103 3.5 [    4.000000] ",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("log is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestRingLogDamaged reads rings with ids, places and lengths that cannot be.
func TestRingLogDamaged(t *testing.T) {
	descs := []layouttest.RingDesc{
		{ID: 1, State: 2, Begin: 60, Next: 62, Seq: 1, Nanoseconds: 1, Length: 60000, Level: 1},
		{ID: 2, State: 2, Begin: 1 << 40, Next: 1<<63 + 2, Seq: 1, Nanoseconds: 1, Length: 60000, Level: 1},
	}
	log, err := ringKernel(descs, "", 1, 1<<60).open(t).Log() // the head is never reached
	if err != nil || len(log) > 8 {
		t.Errorf("%d messages, %v", len(log), err)
	}
	k := ringKernel(descs, "", 1, 2)
	ptr, _ := ParseInfo([]byte(k.info.String())).Symbol("prb")
	k.mem.Put64(k.phys(ptr), 0x1234)
	if _, err := k.open(t).Log(); err == nil {
		t.Error("a ring at an unmapped address was read")
	}
}

func TestRecordLog(t *testing.T) {
	k := newX86(4, 0xffff888000000000)
	le := binary.LittleEndian
	buf := make([]byte, 256)
	record := func(at int, text string, length uint16, ns uint64, level byte) int {
		le.PutUint64(buf[at:], ns)
		le.PutUint16(buf[at+8:], length)
		le.PutUint16(buf[at+10:], uint16(len(text)))
		buf[at+14], buf[at+15] = 1, level<<5
		copy(buf[at+16:], text)
		return at + int(length)
	}
	// The oldest message is at 192; a record of length 0 behind it leads to 0.
	record(192, "oldest", 32, 1_000_000_000, 2)
	next := record(0, "newer", 24, 2_000_000_000, 4)
	next = record(next, "newest", 32, 3_000_000_000, 6)
	bufAt := k.put(0, buf)
	for name, v := range map[string]uint64{"log_buf": bufAt, "log_buf_len": 256, "log_first_idx": 192, "log_next_idx": uint64(next)} {
		fmt.Fprintf(&k.info, "SYMBOL(%s)=%x\n", name, k.put(0, le.AppendUint64(nil, v)))
	}
	k.info.WriteString("SIZE(printk_log)=16\nOFFSET(printk_log.ts_nsec)=0\nOFFSET(printk_log.len)=8\nOFFSET(printk_log.text_len)=10\n")
	log, err := k.open(t).Log()
	if err != nil {
		t.Fatal(err)
	}
	want := []LogRecord{
		{Time: time.Second, Level: 2, Facility: 1, Text: "oldest"}, {Time: 2 * time.Second, Level: 4, Facility: 1, Text: "newer"},
		{Time: 3 * time.Second, Level: 6, Facility: 1, Text: "newest"},
	}
	if fmt.Sprint(log) != fmt.Sprint(want) || len(log) == 3 && log[0] != want[0] {
		t.Errorf("log is %+v, want %+v", log, want)
	}
	// A record of an impossible length ends the log with an error.
	k.mem.Write(k.phys(bufAt)+8, []byte{1, 0})
	if log, err := k.open(t).Log(); err == nil || len(log) != 1 {
		t.Errorf("%d messages of a damaged log, %v", len(log), err)
	}
	// Nor is a buffer believed that no kernel has.
	length, _ := ParseInfo([]byte(k.info.String())).Symbol("log_buf_len")
	k.mem.Put32(k.phys(length), maxLog+1)
	if _, err := k.open(t).LogTail(1000); err == nil {
		t.Error("the end of a log of more than 256 MiB was looked for")
	}
}

func TestPanicMessage(t *testing.T) {
	lines := []string{"BUG: old", "---[ end trace 1 ]---", "usual", "BUG: kernel NULL pointer dereference", "Oops: 0000", "Kernel panic - not syncing: Fatal exception"}
	var log []LogRecord
	for _, l := range lines {
		log = append(log, LogRecord{Text: l})
	}
	if got := PanicMessage(log); got != lines[3] {
		t.Errorf("panic message is %q, want %q", got, lines[3])
	}
	if got := PanicMessage(log[2:3]); got != "" {
		t.Errorf("panic message of a usual log is %q", got)
	}
}

// TestPanicReason has logs of several incidents: one line a second unless it is
// a number, which is as many.
func TestPanicReason(t *testing.T) {
	const (
		lockup = "watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [cat:99]"
		null   = "BUG: kernel NULL pointer dereference, address: 0000000000000000"
		oops   = "Oops: 0000 [#1] PREEMPT SMP NOPTI"
		end    = "---[ end trace 0000000000000000 ]---"
		fatal  = "Kernel panic - not syncing: Fatal exception"
		other  = "Kernel panic - not syncing: hung_task: blocked tasks"
		sysrq  = "sysrq: Trigger a crash"
		asked  = "Kernel panic - not syncing: sysrq triggered crash"
		init   = "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000009"
		locked = "Kernel panic - not syncing: softlockup: hung tasks"
		behind = "---[ end Kernel panic - not syncing: x ]---"
	)
	for _, c := range []struct {
		log  []string
		want string
	}{
		{[]string{lockup, "Call Trace:", "500", other, behind}, other},
		{[]string{null, oops, end, "500", other}, other},
		{[]string{null, oops, "500", other}, other},
		{[]string{lockup, "500", sysrq, asked}, sysrq},
		{[]string{lockup, sysrq, asked}, sysrq},
		{[]string{null, oops, "Call Trace:", end, "RIP: 0010:f+0x1/0x2", fatal, behind}, null},
		{[]string{lockup, null, oops, end, fatal}, null},
		{[]string{"BUG: unable to handle page fault", oops, "500", null, oops, end, fatal}, null},
		{[]string{"BUG: unable to handle page fault", oops, end, null, oops}, null},
		{[]string{lockup, "500", null, oops}, null},
		{[]string{null, oops, end, "500", init}, init},
		{[]string{null, oops, end, init}, null},
		{[]string{null, oops, end, "500", lockup, "Call Trace:", locked}, lockup},
		{[]string{"Internal error: Oops: 96000004 [#1] SMP", end, "Kernel panic - not syncing: Oops: Fatal exception"}, "Internal error: Oops: 96000004 [#1] SMP"},
		{[]string{fatal}, fatal},
		{[]string{null, oops, end, "it goes on"}, ""},
	} {
		var log []LogRecord
		at := time.Duration(0)
		for _, l := range c.log {
			if n, err := strconv.Atoi(l); err == nil {
				at += time.Duration(n) * time.Second
				continue
			}
			at += time.Second
			log = append(log, LogRecord{Time: at, Text: l})
		}
		if got := PanicMessage(log); got != c.want {
			t.Errorf("%q: %q, want %q", c.log, got, c.want)
		}
	}
}
