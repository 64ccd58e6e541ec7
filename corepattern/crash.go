package corepattern

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Switch is what makes procdump a crash handler; the arguments of Handle
// follow it. It is hidden from users.
const Switch = "-j"

// specifiers are what the kernel fills in for each crash (core(5)), in the
// order of Crash's fields. The name comes last: kernels before 5.3 split it at
// its blanks.
const specifiers = "%P %I %s %t %u %g %d %c %h %e"

// Crash is what the kernel tells of a crash.
type Crash struct {
	PID, TID  int // in the initial PID namespace
	Signal    int
	Time      time.Time
	UID, GID  uint32 // real ones, in the initial user namespace
	Dumpable  int    // PR_GET_DUMPABLE: 2 for a process that has had other rights
	CoreLimit uint64 // soft RLIMIT_CORE, bytes
	Host      string
	Name      string // comm of the thread
}

// parseCrash reads the arguments that the kernel made of specifiers.
func parseCrash(args []string) (Crash, error) {
	const fixed = 9
	if len(args) <= fixed {
		return Crash{}, fmt.Errorf("read crash: %d arguments, want %s", len(args), specifiers)
	}
	var err error
	number := func(i, bits int) uint64 {
		n, e := strconv.ParseUint(args[i], 10, bits)
		if e != nil && err == nil {
			err = fmt.Errorf("read crash: argument %d of %s: %w", i+1, specifiers, e)
		}
		return n
	}
	c := Crash{PID: int(number(0, 31)), TID: int(number(1, 31)), Signal: int(number(2, 16)), Time: time.Unix(int64(number(3, 62)), 0),
		UID: uint32(number(4, 32)), GID: uint32(number(5, 32)), Dumpable: int(number(6, 16)), CoreLimit: number(7, 64),
		Host: args[8], Name: strings.Join(args[fixed:], " ")}
	if err == nil && (c.PID == 0 || c.TID == 0) {
		err = fmt.Errorf("read crash: process %d, thread %d", c.PID, c.TID)
	}
	return c, err
}

// owner is who gets the dumps: who ran the process, but root where it has, or
// has had, rights that its user does not have. Status is /proc/PID/status.
func (c Crash) owner(status []byte) (uid, gid int) {
	const suidSafe = 2
	if c.Dumpable == suidSafe || !sameIDs(status, "Uid:") || !sameIDs(status, "Gid:") {
		return 0, 0
	}
	return int(c.UID), int(c.GID)
}

// sameIDs tells whether the real, effective, saved and file system IDs of a
// line of /proc/PID/status are one; without the line it is not known that they
// are not.
func sameIDs(status []byte, name string) bool {
	for line := range bytes.Lines(status) {
		if ids, ok := bytes.CutPrefix(line, []byte(name)); ok {
			f := bytes.Fields(ids)
			return !slices.ContainsFunc(f, func(id []byte) bool { return !bytes.Equal(id, f[0]) })
		}
	}
	return true
}
