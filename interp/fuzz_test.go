package interp

import (
	"encoding/binary"
	"testing"

	"procdump/arch"
	"procdump/image"
	"procdump/snapshot"
	"procdump/unwind"
)

// fuzzAt is where the memory of a fuzzed process begins.
const fuzzAt = 0x10000

// ReadMemory makes flat the memory of such a process.
func (f flat) ReadMemory(p []byte, addr uint64) (int, error) {
	n := 0
	if at := addr - fuzzAt; at < uint64(len(f)) {
		n = copy(p, f[at:])
	}
	if n < len(p) {
		return n, &snapshot.MemoryError{Addr: addr + uint64(n), Err: snapshot.ErrNotMapped}
	}
	return n, nil
}

func (flat) Extents(snapshot.Range) ([]snapshot.Extent, error) { return nil, nil }

type flat []byte

// bytes are those of a space from fuzzAt on.
func (s space) bytes(n int) []byte {
	b := make([]byte, n)
	for i := 0; i < n; i += spacePage {
		copy(b[i:], s[fuzzAt+uint64(i)])
	}
	return b
}

// rubySeed is a thread of Ruby's with a method in Ruby that one in C has called.
func rubySeed() []byte {
	s := space{}
	const tcb, vector, block, context, stack, frame = fuzzAt, fuzzAt + 0x100, fuzzAt + 0x200, fuzzAt + 0x300, fuzzAt + 0x400, 56
	s.u64(tcb+8, vector)
	s.u64(vector+8, block)
	s.u64(block, context)
	s.u64(context, stack)
	s.u64(context+8, 64+5)
	const end = stack + (64+5)*8
	const inner = end - 3*frame
	s.u64(context+16, inner)
	const iseq, body, env, method = fuzzAt + 0xa00, fuzzAt + 0xb00, fuzzAt + 0xc40, fuzzAt + 0xd00
	s.u64(inner, fuzzAt+0x1008)
	s.u64(inner+16, iseq)
	s.u64(inner+32, env)
	s.u64(inner+frame+32, method)
	s.u64(env, 0)
	s.u64(method, frameC|frameFinish)
	s.u64(iseq+16, body)
	s.u32(body+4, 10)
	s.u64(body+8, fuzzAt+0x1000)
	s.u64(body+64, s.str(fuzzAt+0xe00, 24, "/srv/shop.rb"))
	s.u64(body+80, s.str(fuzzAt+0xe40, 24, "price"))
	s.u64(body+112, fuzzAt+0xf00)
	s.u32(body+128, 1)
	s.u32(fuzzAt+0xf00, 12)
	return s.bytes(0x1100)
}

// perlSeed is a program of Perl's without threads that is in a subroutine.
func perlSeed() []byte {
	s := space{}
	const info, contexts, cop = fuzzAt + 0x100, fuzzAt + 0x200, fuzzAt + 0x400
	s.u64(fuzzAt+0x10, info)
	s.u64(fuzzAt+0x18, cop)
	s.u64(info+8, contexts)
	s.u32(info+0x20, 0)
	s.u32(info+0x24, 10)
	s.u32(info+0x2c, stackMain)
	s.put(contexts, []byte{kindSub})
	s.u64(contexts+calledBy, cop)
	s.u64(contexts+functionOf, s.sub(fuzzAt+0x500, s.glob(fuzzAt+0x600, s.hek(fuzzAt+0x800, "price"), s.hash(fuzzAt+0x900, 0, s.hek(fuzzAt+0xa00, "Shop"))), 0, 0))
	s.u32(cop+0x24, 42)
	s.u64(cop+0x30, s.glob(fuzzAt+0xb00, s.hek(fuzzAt+0xd00, "_</srv/shop.pl"), 0))
	return s.bytes(0x1000)
}

// fuzzed are the walkers of a process with that memory, whose variables lie at its
// beginning.
func fuzzed(b []byte, version int) (*ruby, *perl, *snapshot.Thread) {
	whole := snapshot.Range{Addr: fuzzAt, Size: uint64(len(b))}
	p := &snapshot.Process{PID: 1, Memory: flat(b), System: snapshot.System{Machine: arch.AMD64}, Modules: []snapshot.Module{{Range: whole, Path: "/usr/lib/libruby.so"}},
		Regions: []snapshot.Region{{Range: whole, Perm: snapshot.Read | snapshot.Write}}}
	set := image.NewSet(p, image.Options{})
	r := &ruby{memory: newMemory(set), p: p, lib: set.All()[0], version: version, slot: rubySlot{entry: 8}, iseqs: map[uint64]*rubyISeq{}}
	r.layout()
	w := &perl{pid: p.PID, program: set.All()[0], symbols: map[string]snapshot.Range{"PL_curstackinfo": {Addr: fuzzAt + 0x10}, "PL_curcop": {Addr: fuzzAt + 0x18}}}
	w.Attach(p, set)
	t := &snapshot.Thread{TID: 1, Registers: arch.Registers{Machine: arch.AMD64}}
	t.Registers.SetGP("fs_base", fuzzAt)
	return r, w, t
}

// TestSeeds: what the fuzzing begins with is sound.
func TestSeeds(t *testing.T) {
	r, _, thread := fuzzed(rubySeed(), 0x30401)
	s, err := r.Stack(thread, &unwind.Stack{})
	if err != nil || len(s.Frames) != 2 || *s.Frames[0].Script != (unwind.Script{Language: "ruby", Function: "price", File: "/srv/shop.rb", Line: 12}) {
		t.Errorf("ruby: %+v, %v", s.Frames, err)
	}
	_, w, thread := fuzzed(perlSeed(), 0x30401)
	s, err = w.Stack(thread, &unwind.Stack{})
	if err != nil || len(s.Frames) != 2 || *s.Frames[0].Script != (unwind.Script{Language: "perl", Function: "Shop::price", File: "/srv/shop.pl", Line: 42}) {
		t.Errorf("perl: %+v, %v", s.Frames, err)
	}
}

// FuzzWalk walks stacks of Ruby and Perl in memory of any content, in a bounded
// number of reads.
func FuzzWalk(f *testing.F) {
	for _, b := range [][]byte{rubySeed(), perlSeed()} {
		f.Add(b, uint16(0x304), uint64(0), uint64(0))
		f.Add(b, uint16(0x301), uint64(0x308), uint64(1<<24))
	}
	f.Fuzz(func(t *testing.T, b []byte, version uint16, at, value uint64) {
		if len(b) > 8 { // one word is another
			b = append([]byte(nil), b...)
			binary.LittleEndian.PutUint64(b[at%uint64(len(b)-7):], value)
		}
		r, w, thread := fuzzed(b, int(version)<<8)
		native := &unwind.Stack{Frames: []unwind.Frame{{PC: fuzzAt}, {PC: 1}}}
		for _, x := range []Walker{r, w} {
			s, err := x.Stack(thread, native)
			if err != nil && len(s.Frames) != len(native.Frames) || len(s.Frames) < len(native.Frames) || len(s.Frames) > 3*maxScripts {
				t.Errorf("%d frames, %v", len(s.Frames), err)
			}
		}
		if r.reads < maxReads-maxThreadReads || w.reads < maxReads-maxThreadReads {
			t.Errorf("%d and %d reads are left", r.reads, w.reads)
		}
	})
}
