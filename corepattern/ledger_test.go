package corepattern

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// book is a ledger of n dumps of 100 bytes, a minute apart, the last one now.
func book(t *testing.T, n int, now time.Time) *ledger {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the ledger is Linux's")
	}
	l := readLedger(t.TempDir())
	for i := range n {
		name := fmt.Sprintf("%d.core", i)
		if err := os.WriteFile(filepath.Join(l.folder, name), make([]byte, 100), 0o600); err != nil {
			t.Fatal(err)
		}
		l.add(filepath.Join(l.folder, name), now.Add(-time.Duration(n-1-i)*time.Minute))
	}
	for i := range l.Dumps {
		l.Dumps[i].Disk = 100
	}
	if len(l.Dumps) != n {
		t.Fatalf("%d dumps listed", len(l.Dumps))
	}
	return l
}

func names(l *ledger) string {
	all, _ := filepath.Glob(filepath.Join(l.folder, "*.core"))
	for i := range all {
		all[i] = strings.TrimSuffix(filepath.Base(all[i]), ".core")
	}
	return strings.Join(all, " ")
}

func TestLedgerMakesRoom(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name       string
		keep       Keep
		need, free uint64
		reserved   uint64
		want       string // files left
		err        error
	}{
		{"no limit", Keep{}, 1 << 40, 1 << 41, 0, "0 1 2 3 4", nil},
		{"count", Keep{Count: 2}, 1, 1000, 0, "3 4", nil},
		{"age", Keep{Age: 150 * time.Second}, 1, 1000, 0, "2 3 4", nil},
		{"bytes", Keep{Bytes: 450}, 200, 1000, 0, "3 4", nil},
		{"bytes with handlers at work", Keep{Bytes: 450}, 200, 1000, 100, "4", nil},
		{"bytes all reserved", Keep{Bytes: 450}, 200, 1000, 400, "", errWait},
		{"larger than all", Keep{Bytes: 450}, 451, 1000, 0, "0 1 2 3 4", errFull},
		{"disk", Keep{Free: 500}, 100, 420, 0, "2 3 4", nil},
		{"disk full", Keep{Free: 500}, 1000, 600, 0, "", errFull},
		{"disk reserved", Keep{Free: 500}, 100, 100, 10, "", errWait},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := book(t, 5, now)
			if c.reserved > 0 {
				l.Reserved = []reservation{{PID: 1, Bytes: c.reserved, Until: now.Add(time.Hour)}}
			}
			gone, err := l.makeRoom(c.keep, c.need, c.free, now)
			if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Errorf("error %v, want %v", err, c.err)
			}
			if got := names(l); got != c.want {
				t.Errorf("left are %q, want %q", got, c.want)
			}
			if len(gone)+len(l.Dumps) != 5 {
				t.Errorf("%d removed, %d listed", len(gone), len(l.Dumps))
			}
		})
	}
}

// TestLedgerKnowsItsOwn wants a file that took the place of a dump to stay.
func TestLedgerKnowsItsOwn(t *testing.T) {
	now := time.Now()
	l := book(t, 3, now)
	other := filepath.Join(l.folder, "0.core")
	if err := os.WriteFile(other+".new", make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other+".new", other); err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(l.folder, "1.core"))
	l.remove("test")
	if names(l) != "0 2" {
		t.Errorf("left are %q", names(l))
	}
	l = book(t, 3, now)
	l.Dumps[0].Inode++
	l.Reserved = []reservation{{PID: 1, Until: now.Add(-1)}, {PID: 2, Until: now.Add(time.Hour)}, {PID: 3, Until: now.Add(time.Hour)}}
	l.refresh(now, func(pid int) bool { return pid != 2 })
	if len(l.Dumps) != 2 || len(l.Reserved) != 1 || l.Reserved[0].PID != 3 {
		t.Errorf("%+v", l)
	}
	if err := l.write(true); err != nil {
		t.Fatal(err)
	}
	if back := readLedger(l.folder); len(back.Dumps) != 2 || back.Dumps[0] != l.Dumps[0] && !back.Dumps[0].Time.Equal(l.Dumps[0].Time) {
		t.Errorf("read back %+v", back)
	}
	if err := os.WriteFile(filepath.Join(l.folder, ledgerName), []byte("{damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if back := readLedger(l.folder); len(back.Dumps) != 0 {
		t.Errorf("read of a damaged one %+v", back)
	}
}

func TestLedgerLimitsCrashes(t *testing.T) {
	l, now := readLedger(t.TempDir()), time.Now()
	n := 0
	for i := range 100 { // one in two seconds
		at := now.Add(time.Duration(i) * 2 * time.Second)
		if l.allow("/bin/x", 5, at) {
			n++
		}
		if !l.allow("/bin/y", 0, at) {
			t.Error("a limit of none refuses")
		}
	}
	// 200 seconds: five each in the minutes from 0, 60, 120 and 180 on.
	if n != 20 {
		t.Errorf("%d crashes allowed, want 20", n)
	}
	if len(l.Crashes) != 1 || len(l.Crashes["/bin/x"]) > 5 {
		t.Errorf("crashes kept: %v", l.Crashes)
	}
}
