package corepattern

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"procdump/elfcore"
	"procdump/snapshot"
)

// maxHead bounds the head of a core: 65,530 mappings and a note of some 7 KiB
// for each of many threads.
const maxHead = 1 << 30

var errNoCore = errors.New("what the kernel sent is no core")

// readHead reads the head of a core from a stream: the ELF header, the program
// headers and the notes. The kernel writes them in this order, and the notes'
// program header first (fs/binfmt_elf.c, elf_core_dump).
func readHead(r io.Reader) ([]byte, error) {
	const ehdrSize, phdrSize = 64, 56
	head, err := more(r, nil, ehdrSize)
	if err != nil {
		return head, err
	}
	le := binary.LittleEndian
	if string(head[:4]) != elf.ELFMAG {
		return head, errNoCore
	}
	wide := elf.Class(head[elf.EI_CLASS]) == elf.ELFCLASS64
	phoff, entry := uint64(le.Uint32(head[28:])), uint64(32)
	if wide {
		phoff, entry = le.Uint64(head[32:]), phdrSize
	}
	if phoff > maxHead {
		return head, errNoCore
	}
	if head, err = more(r, head, phoff+entry); err != nil {
		return head, err
	}
	ph := head[phoff:]
	off, size := uint64(le.Uint32(ph[4:])), uint64(le.Uint32(ph[16:]))
	if wide {
		off, size = le.Uint64(ph[8:]), le.Uint64(ph[32:])
	}
	if elf.ProgType(le.Uint32(ph)) != elf.PT_NOTE || off > maxHead || size > maxHead || off < phoff+entry {
		return head, errNoCore
	}
	return more(r, head, off+size)
}

// more reads until head has n bytes.
func more(r io.Reader, head []byte, n uint64) ([]byte, error) {
	if n > maxHead {
		return head, errNoCore
	}
	had := uint64(len(head))
	if n <= had {
		return head, nil
	}
	var buf bytes.Buffer
	got, err := io.CopyN(&buf, r, int64(n-had))
	head = append(head, buf.Bytes()...)
	if err != nil {
		return head, fmt.Errorf("read core: it ends after %d bytes: %w", had+uint64(got), err)
	}
	return head, nil
}

// parseHead reads what a head says of the process. Its memory is not there.
func parseHead(head []byte) (*snapshot.Process, error) {
	r, err := elfcore.NewReader(bytes.NewReader(head), int64(len(head)))
	if err != nil {
		return nil, fmt.Errorf("read core: %w", err)
	}
	p, _ := r.Process() // the warnings say that the memory is missing
	if len(p.Threads) == 0 {
		return nil, fmt.Errorf("read core: %w: it has no thread", errNoCore)
	}
	return p, nil
}

// headProgs returns the program headers of a head.
func headProgs(head []byte) ([]elf.ProgHeader, error) {
	r, err := elfcore.NewReader(bytes.NewReader(head), int64(len(head)))
	if err != nil {
		return nil, fmt.Errorf("read core: %w", err)
	}
	return r.Progs, nil
}
