package dumpkind

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"procdump/arch"
	"procdump/snapshot"
)

// crowd is a process of many threads, each with 20 KiB of stack in use, most of
// them in a guarded mapping of its own.
func crowd(threads int) *fake {
	f := newFake(arch.AMD64)
	const distance, used = 1 << 20, 20 << 10
	heap := span(1<<30, 1<<30)
	f.p.Regions = []snapshot.Region{{Range: heap, Perm: rw, Path: "[heap]"}}
	f.runs = []snapshot.Extent{{Range: heap, Kind: anon}}
	for i := range uint64(threads) {
		st := span(1<<40+i*distance, used+8*page)
		// Not by region and exists, which sort each time.
		f.p.Regions = append(f.p.Regions, snapshot.Region{Range: st, Perm: rw})
		f.runs = append(f.runs, snapshot.Extent{Range: st, Kind: anon})
		sp := st.End() - used
		f.thread(int(i)+1, map[string]uint64{"rsp": sp, "rbx": heap.Addr + i*page}, st.End())
		f.p.Threads[i].Registers.Put(arch.NT_X86_XSTATE, bytes.Repeat([]byte{byte(i), 7}, 1344))
	}
	return f
}

// TestManyThreads selects a dump that is too large to be kept in RAM: it is not
// copied, nor is as much RAM used in another way.
func TestManyThreads(t *testing.T) {
	const threads = 10000
	f := crowd(threads)
	for _, o := range []Options{{Kind: Mini}, {Kind: Triage}, {Kind: MiniPlus, DropLargest: true}} {
		t.Run(o.Kind.String(), func(t *testing.T) {
			f.read = nil
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			sel, err := Select(f.p, o)
			runtime.ReadMemStats(&after)
			if err != nil {
				t.Fatal(err)
			}
			if sel.Buffered {
				t.Error("the dump is buffered")
			}
			if n := total(sel.Ranges); n < threads*minStack {
				t.Errorf("the dump holds %d MiB, less than all stacks", n>>20)
			}
			// What has ever been allocated, not just what is left.
			if n := after.TotalAlloc - before.TotalAlloc; n > copyBudget/2 {
				t.Errorf("selecting took %d MiB of RAM", n>>20)
			}
			b := make([]byte, 8)
			for _, i := range []int{0, threads / 2, threads - 1} {
				if _, err := sel.Process.Memory.ReadMemory(b, sel.Process.Threads[i].Registers.SP()); err != nil {
					t.Errorf("stack of thread %d: %v", i, err)
				}
			}
		})
	}
}

// TestHeld has another selection hold most of the RAM there is.
func TestHeld(t *testing.T) {
	p := newProgram(arch.AMD64)
	p.main(nil)
	sel := mustSelect(t, p.p, Options{Kind: Mini})
	size := total(sel.Ranges) + threadCost
	for held, want := range map[uint64]bool{0: true, copyBudget - size: true, copyBudget - size + 1: false, 1 << 62: false} {
		if sel := mustSelect(t, p.p, Options{Kind: Mini, Held: held}); sel.Buffered != want {
			t.Errorf("%d bytes held: buffered is %v", held, sel.Buffered)
		}
	}
}

// extentMemory is the fake with ReadExtents, as a live process has it.
type extentMemory struct{ *fake }

func (m extentMemory) ReadExtents(p []byte, xs []snapshot.Extent) (bad []snapshot.Range, err error) {
	for _, x := range xs {
		miss, err := snapshot.ReadExtent(m.fake, p[:x.Size], x)
		if err != nil {
			return nil, err
		}
		bad, p = append(bad, miss...), p[x.Size:]
	}
	return bad, nil
}

// TestScrubbedPieces reads the memory of a triage dump in pieces that begin and
// end anywhere: they are those of the whole, and nothing more shows.
func TestScrubbedPieces(t *testing.T) {
	for _, m := range []arch.Machine{arch.AMD64, arch.I386} {
		for _, fast := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v fast=%v", m, fast), func(t *testing.T) {
				p := newProgram(m)
				spread(p)
				if fast {
					p.p.Memory = extentMemory{p.fake}
				}
				p.main(nil)
				for _, held := range []uint64{0, copyBudget} {
					sel, err := Select(p.p, Options{Kind: Triage, Held: held})
					if err != nil {
						t.Fatal(err)
					}
					checkPieces(t, sel)
				}
			})
		}
	}
}

func checkPieces(t *testing.T, sel *Selection) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	img, mem := mustCopy(t, sel), sel.Process.Memory.(snapshot.ExtentReader)
	for range 3000 {
		r := sel.Ranges[rnd.IntN(len(sel.Ranges))]
		r.Addr += rnd.Uint64N(r.Size)
		r.Size = 1 + rnd.Uint64N(min(uint64(len(img.Bytes(r.Addr))), 300))
		want, got := img.Bytes(r.Addr)[:r.Size], make([]byte, r.Size)
		if n, err := mem.ReadMemory(got, r.Addr); n != len(got) || err != nil || !bytes.Equal(got, want) {
			t.Fatalf("read %v: %d bytes, %v: %x, want %x", r, n, err, got, want)
		}
		clear(got)
		xs, err := mem.Extents(r)
		if err != nil || len(xs) != 1 || xs[0].Range != r {
			t.Fatalf("extents of %v: %v, %v", r, xs, err)
		}
		if bad, err := mem.ReadExtents(got, xs); len(bad) > 0 || err != nil || !bytes.Equal(got, want) {
			t.Fatalf("read extent %v: %v, %v: %x, want %x", r, bad, err, got, want)
		}
	}
}

// TestScrubbedGone has the process end while its memory is read: what was read
// up to then does not show.
func TestScrubbedGone(t *testing.T) {
	p := newProgram(arch.AMD64)
	spread(p)
	p.main(nil)
	sel, err := Select(p.p, Options{Kind: Triage, Held: copyBudget})
	if err != nil {
		t.Fatal(err)
	}
	mem := sel.Process.Memory.(*scrubbed)
	mem.mem = dying{p.fake}
	b := make([]byte, p.stack.Size)
	if _, err := mem.ReadExtents(b, []snapshot.Extent{{Range: p.stack, Kind: anon}}); err == nil {
		t.Error("no error")
	}
	if s := leak(b); s != "" {
		t.Errorf("memory holds %q of the secret", s)
	}
}

// dying is the memory of a process that ends while it is read.
type dying struct{ *fake }

func (m dying) ReadExtents(p []byte, xs []snapshot.Extent) ([]snapshot.Range, error) {
	if _, err := m.ReadMemory(p, xs[0].Addr); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("read %v: the process has ended", xs[0].Range)
}
