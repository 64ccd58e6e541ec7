package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"procdump/inspect/diff"
)

// grown is a process that has leaked.
func grown() *diff.Report {
	before, after := time.Unix(1700000000, 0).UTC(), time.Unix(1700003600, 0).UTC()
	r := &diff.Report{Version: diff.Version, Summary: "+30720 KiB of memory, most of all [heap]; +40 threads, +40 of them in wait",
		Before: diff.Side{PID: 100, Name: "app", Time: &before, Kind: "full", Threads: 3, Files: 4, Amount: diff.Amount{Regions: 30, Bytes: 1 << 30, Resident: 1 << 20}},
		After:  diff.Side{PID: 100, Name: "app", Time: &after, Kind: "live", Threads: 42, Files: 6, Amount: diff.Amount{Regions: 50, Bytes: 2 << 30, Resident: 31 << 20, Swapped: 4096}},
		Memory: diff.Memory{Kinds: []diff.Change{
			{Name: "heap", Before: diff.Amount{Regions: 1, Bytes: 4 << 20, Resident: 1 << 20}, After: diff.Amount{Regions: 1, Bytes: 64 << 20, Resident: 31 << 20, Swapped: 4096}},
			{Name: "file", Before: diff.Amount{Regions: 2, Bytes: 8192, Resident: 8192}, After: diff.Amount{}}}},
		ThreadsBorn: []diff.Thread{}, ThreadsGone: []diff.Thread{{TID: 102, Name: "old\x1b[31m"}},
		Stacks:   []diff.Stack{{Functions: []string{"wait", "pool::worker", "start_thread", "clone", "e", "f", "g", "h"}, Before: 1, After: 41}, {Functions: []string{"read"}, Before: 1}},
		Files:    []diff.File{{Target: "sockets", Before: 1, After: 3}, {Target: "/var/log/" + strings.Repeat("long/", 40), Before: 1}},
		Warnings: []string{"first: something"},
	}
	for i := range 40 {
		r.ThreadsBorn = append(r.ThreadsBorn, diff.Thread{TID: 200 + i, Name: "worker"})
	}
	for i := range 20 {
		r.Memory.Names = append(r.Memory.Names, diff.Change{Name: fmt.Sprintf("/dev/shm/%02d", i), After: diff.Amount{Regions: 1, Bytes: uint64(20-i) << 20}})
	}
	return r
}

func TestDiff(t *testing.T) {
	var text, object bytes.Buffer
	if err := DiffText(&text, grown()); err != nil {
		t.Fatal(err)
	}
	if err := DiffJSON(&object, grown()); err != nil || !json.Valid(object.Bytes()) {
		t.Fatal(err)
	}
	golden(t, "diff.golden", text.Bytes())
	golden(t, "diff.json.golden", object.Bytes())
	for line := range strings.Lines(text.String()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 100 {
			t.Errorf("a line of %d characters: %s", n, line)
		}
	}
}
