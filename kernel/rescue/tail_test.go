package rescue

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func sampleRecord() *Record {
	return &Record{
		Time: time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC), Release: "6.1.0", Panic: "BUG", Wanted: "active", Kind: "kernel",
		File: "/dev/sdb", SizeBytes: 5, NoSpace: true, NeededBytes: 7, Failures: []string{"one", "two"}, Log: []string{"line"}, Finished: true,
	}
}

func TestTail(t *testing.T) {
	const size = 1<<20 + 512
	disk := make([]byte, size)
	if _, _, err := ReadTail(bytes.NewReader(disk), size); !errors.Is(err, ErrNoRecord) {
		t.Errorf("an empty device: %v", err)
	}
	if _, _, err := ReadTail(bytes.NewReader(disk), 4096); !errors.Is(err, ErrNoRecord) {
		t.Errorf("a tiny device: %v", err)
	}
	small := bytes.Repeat([]byte("small"), 10000)
	want := sampleRecord()
	want.SmallSizeBytes = int64(len(small))
	tail, err := encodeTail(want, small)
	if err != nil || len(tail) != TailSize {
		t.Fatalf("%d bytes: %v", len(tail), err)
	}
	if n := copy(disk[tailOffset(size):], tail); n != len(tail) {
		t.Fatalf("%d bytes of %d lie before the end of the device", n, len(tail))
	}
	got, gotSmall, err := ReadTail(bytes.NewReader(disk), size)
	if err != nil || !reflect.DeepEqual(got, want) || !bytes.Equal(gotSmall, small) {
		t.Errorf("%+v with a small dump of %d bytes, want %+v: %v", got, len(gotSmall), want, err)
	}
}

// TestTailRoom: a record that is too long loses its log first.
func TestTailRoom(t *testing.T) {
	r := sampleRecord()
	r.Log = []string{strings.Repeat("x", TailSize)}
	tail, err := encodeTail(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(tail, []byte("xxx")) || !bytes.Contains(tail, []byte("BUG")) {
		t.Error("the log is there, or the rest is not")
	}
	r.Failures = r.Log
	if _, err := encodeTail(r, nil); err == nil {
		t.Error("a record that does not fit is no error")
	}
	if _, err := encodeTail(sampleRecord(), make([]byte, smallRoom+1)); err == nil {
		t.Error("a small dump that does not fit is no error")
	}
}

func TestRecordDamaged(t *testing.T) {
	b, err := sampleRecord().Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseRecord(b[:len(b)/2]); err == nil {
		t.Error("half of a record is no error")
	}
}
