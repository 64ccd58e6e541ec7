package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"procdump/internal/sys/procmem"
)

// piece is how much the limit copies at a time. 1 MiB is the fastest on the
// machines seen: smaller ones cost calls, larger ones leave the CPU's cache.
const piece = 1 << 20

// How the limit treats a disk: leave all to the fsync, or start writing every
// earlyPiece so that copying and the disk overlap; and whether a second thread
// takes one half.
const (
	limitPlain = "plain"
	limitEarly = "early"
	limitTwo   = "two"
	earlyPiece = 16 << 20
)

// copyMemory is the machine's limit: it copies the present pages of
// [addr, addr+size) of a process to the same offsets of a file.
func copyMemory(args []string) error {
	if len(args) != 5 || !slices.Contains([]string{limitPlain, limitEarly, limitTwo}, args[4]) {
		return fmt.Errorf("limit takes PID ADDR SIZE FILE %s|%s|%s", limitPlain, limitEarly, limitTwo)
	}
	pid, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	addr, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return err
	}
	size, err := strconv.ParseUint(args[2], 10, 64)
	if err != nil {
		return err
	}
	pagemap, err := os.Open(fmt.Sprintf("/proc/%d/pagemap", pid))
	if err != nil {
		return err
	}
	defer pagemap.Close()
	out, err := os.OpenFile(args[3], os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := out.Truncate(int64(size)); err != nil {
		return err
	}
	readers := uint64(1)
	if args[4] == limitTwo {
		readers = 2
	}
	errs := make([]error, readers)
	part := size / readers / piece * piece
	var all sync.WaitGroup
	for i := range readers {
		begin, end := addr+i*part, addr+(i+1)*part
		if i == readers-1 {
			end = addr + size
		}
		all.Go(func() {
			runtime.LockOSThread()
			c := copier{pid: pid, base: addr, out: out, buf: make([]byte, piece), early: args[4] == limitEarly}
			errs[i] = c.scan(pagemap, begin, end)
		})
	}
	all.Wait()
	return errors.Join(append(errs, out.Close())...)
}

// copier gathers runs of pages up to a piece, reads them with one call, and
// writes each at its place.
type copier struct {
	pid  int
	base uint64
	out  *os.File
	buf  []byte
	vecs []procmem.Vec
	size uint64 // of vecs

	early   bool  // start the disk now and then
	started int64 // up to where in the file it was
}

// scan copies the present pages from begin to end.
func (c *copier) scan(pagemap *os.File, begin, end uint64) error {
	regions := make([]procmem.Region, 4096)
	for at := begin; at < end; {
		n, next, err := procmem.Scan(pagemap, at, end, regions)
		if err != nil {
			return fmt.Errorf("scan pagemap: %w", err)
		}
		for _, r := range regions[:n] {
			// gcore leaves the shared zero page wherever it read nothing.
			if r.Categories&procmem.PageZero != 0 {
				continue
			}
			if err := c.add(r.Start, r.End); err != nil {
				return err
			}
		}
		if next <= at {
			break
		}
		at = next
	}
	return c.flush()
}

func (c *copier) add(start, end uint64) error {
	for start < end {
		n := min(end-start, piece-c.size)
		c.vecs = append(c.vecs, procmem.Vec{Addr: start, Size: n})
		c.size += n
		start += n
		if c.size == piece || len(c.vecs) == procmem.MaxVector {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *copier) flush() error {
	if len(c.vecs) == 0 {
		return nil
	}
	n, err := procmem.ReadV(c.pid, c.buf[:c.size], c.vecs)
	if err != nil {
		return fmt.Errorf("read memory: %w", err)
	}
	if uint64(n) != c.size {
		return fmt.Errorf("read memory: %d of %d bytes: %w", n, c.size, io.ErrUnexpectedEOF)
	}
	p := c.buf[:n]
	for _, v := range c.vecs {
		if _, err := c.out.WriteAt(p[:v.Size], int64(v.Addr-c.base)); err != nil {
			return err
		}
		p = p[v.Size:]
	}
	if last := c.vecs[len(c.vecs)-1]; c.early {
		if end := int64(last.Addr + last.Size - c.base); end-c.started >= earlyPiece {
			const syncFileRangeWrite = 2 // SYNC_FILE_RANGE_WRITE of linux/fs.h
			_ = syscall.SyncFileRange(int(c.out.Fd()), c.started, end-c.started, syncFileRangeWrite)
			c.started = end
		}
	}
	c.vecs, c.size = c.vecs[:0], 0
	return nil
}
