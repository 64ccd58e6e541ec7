package corepattern

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// ledgerName is the file, in the dumps' folder, that lists them.
const ledgerName = ".procdump-dumps"

// ledger lists the dumps that handlers wrote into a folder, so that none but
// these are ever removed, and what handlers at work will need. Whoever changes
// it holds the folder's lock.
type ledger struct {
	folder string

	Dumps    []entry               `json:"dumps,omitempty"`
	Reserved []reservation         `json:"reserved,omitempty"`
	Crashes  map[string][]unixTime `json:"crashes,omitempty"` // of the last minute, by executable
}

// entry is a dump. A file is it only if its inode and its length are, too: one
// that somebody put in its place is not ours.
type entry struct {
	Name  string    `json:"name"`
	Inode uint64    `json:"inode"`
	Size  int64     `json:"size"`
	Disk  uint64    `json:"disk"` // bytes
	Time  time.Time `json:"time"`
}

// reservation is the disk space that a handler at work may take.
type reservation struct {
	PID   int       `json:"pid"`
	Bytes uint64    `json:"bytes"`
	Until time.Time `json:"until"` // the handler's own limit
}

type unixTime int64 // milliseconds

// removed is a dump that had to go, and why.
type removed struct {
	entry
	Why string
}

// readLedger reads the list; without a file, or with a damaged one, it is empty.
func readLedger(folder string) *ledger {
	l := &ledger{folder: folder}
	if b, err := os.ReadFile(filepath.Join(folder, ledgerName)); err == nil && json.Unmarshal(b, l) != nil {
		l = &ledger{folder: folder}
	}
	if l.Crashes == nil {
		l.Crashes = map[string][]unixTime{}
	}
	return l
}

// write replaces the list, durably where it has to last: what is reserved and
// counted is of the moment.
func (l *ledger) write(durable bool) error {
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(l.folder, ledgerName), b, 0o600, durable)
}

// allow counts a crash of an executable and tells whether it is among the
// first perMinute of a minute. Those refused do not count.
func (l *ledger) allow(exe string, perMinute int, now time.Time) bool {
	since := unixTime(now.Add(-time.Minute).UnixMilli())
	for name, times := range l.Crashes {
		times = slices.DeleteFunc(times, func(t unixTime) bool { return t <= since || t > unixTime(now.UnixMilli())+1000 })
		if l.Crashes[name] = times; len(times) == 0 {
			delete(l.Crashes, name)
		}
	}
	if perMinute == 0 {
		return true
	}
	if len(l.Crashes[exe]) >= perMinute {
		return false
	}
	l.Crashes[exe] = append(l.Crashes[exe], unixTime(now.UnixMilli()))
	return true
}

// refresh forgets dumps that are gone and reservations of handlers that are.
func (l *ledger) refresh(now time.Time, alive func(pid int) bool) {
	l.Dumps = slices.DeleteFunc(l.Dumps, func(e entry) bool { return !l.is(e) })
	l.Reserved = slices.DeleteFunc(l.Reserved, func(r reservation) bool { return now.After(r.Until) || !alive(r.PID) })
	slices.SortStableFunc(l.Dumps, func(a, b entry) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Name, b.Name)) })
}

// is tells whether the dump is still there, and still the one listed.
func (l *ledger) is(e entry) bool {
	inode, size, _, err := fileFacts(filepath.Join(l.folder, e.Name))
	return err == nil && inode == e.Inode && size == e.Size
}

// errWait says that there is no room now, but handlers at work will make some.
var errWait = errors.New("wait for handlers at work")

// errFull is the cause of a dump that the limits of Keep forbid.
var errFull = errors.New("no room")

// makeRoom removes dumps, oldest first, until need more bytes are within the
// limits. free is what the disk has.
func (l *ledger) makeRoom(k Keep, need, free uint64, now time.Time) (gone []removed, err error) {
	drop := func(why string) {
		gone = append(gone, l.remove(why))
	}
	for k.Age > 0 && len(l.Dumps) > 0 && now.Sub(l.Dumps[0].Time) > k.Age {
		drop(fmt.Sprintf("older than %v", k.Age))
	}
	for k.Count > 0 && len(l.Dumps) > k.Count {
		drop(fmt.Sprintf("more than %d dumps", k.Count))
	}
	if k.Bytes > 0 && need > k.Bytes {
		return gone, fmt.Errorf("%w: it needs about %d bytes, and all dumps together may have %d", errFull, need, k.Bytes)
	}
	var reserved uint64
	for _, r := range l.Reserved {
		reserved += r.Bytes
	}
	for k.Bytes > 0 && l.bytes()+reserved+need > k.Bytes && len(l.Dumps) > 0 {
		drop(fmt.Sprintf("more than %d bytes of dumps", k.Bytes))
	}
	for free < need+reserved+k.Free && len(l.Dumps) > 0 {
		free += l.Dumps[0].Disk
		drop(fmt.Sprintf("less than %d bytes of disk would be free", k.Free))
	}
	switch {
	case k.Bytes > 0 && reserved+need > k.Bytes:
		return gone, errWait
	case free < need+reserved+k.Free && reserved > 0:
		return gone, errWait
	case free < need+k.Free:
		return gone, fmt.Errorf("%w: it needs about %d bytes, the disk has %d, and %d are to stay free", errFull, need, free, k.Free)
	}
	return gone, nil
}

func (l *ledger) bytes() (n uint64) {
	for _, e := range l.Dumps {
		n += e.Disk
	}
	return n
}

// remove removes the oldest dump.
func (l *ledger) remove(why string) removed {
	e := l.Dumps[0]
	l.Dumps = l.Dumps[1:]
	if l.is(e) {
		if err := os.Remove(filepath.Join(l.folder, e.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			why += fmt.Sprintf(", but it cannot be removed: %v", err)
		}
	}
	return removed{e, why}
}

// add lists a new dump.
func (l *ledger) add(path string, now time.Time) {
	if inode, size, disk, err := fileFacts(path); err == nil {
		l.Dumps = append(l.Dumps, entry{Name: filepath.Base(path), Inode: inode, Size: size, Disk: disk, Time: now})
	}
}

// release gives back what a handler has reserved.
func (l *ledger) release(pid int) {
	l.Reserved = slices.DeleteFunc(l.Reserved, func(r reservation) bool { return r.PID == pid })
}
