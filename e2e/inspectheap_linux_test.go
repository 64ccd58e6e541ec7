package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"procdump/victims"
	"procdump/victims/need"
)

// inspectedHeap is what the tests look at of the C library's allocator.
type inspectedHeap struct {
	Found             string
	Bytes, Used, Free uint64
	Arenas            []struct {
		Address                      string
		Main, Partial                bool
		Threads                      *int
		Heaps, FreeBlocks            int
		Bytes, Used, Free, Top, Fast uint64
	}
	Mapped *struct{ Count, Bytes uint64 }
	Damage []struct {
		Arena, Address, Text string
		Changing             bool
	}
}

// arenas are a heap's arenas in the words of malloc_info(3), without order: bytes
// from the system, bytes of fast bins, bytes of all other free blocks, how many
// free blocks there are.
func (h *inspectedHeap) arenas() (all []string) {
	for _, a := range h.Arenas {
		all = append(all, fmt.Sprint(a.Bytes, a.Fast, a.Free-a.Fast, a.FreeBlocks+1))
	}
	slices.Sort(all)
	return all
}

// TestInspectHeap compares what inspect says of the C library's allocator with
// what the allocator says of itself (malloc_info(3), mallinfo(3)).
func TestInspectHeap(t *testing.T) {
	need.Root(t)
	for _, name := range []string{"arenas", "arenas@static", "arenas@i386"} {
		t.Run(name, func(t *testing.T) {
			v := victims.Start(t, name, "4")
			var want []string
			var err error
			for i := range v.Uint(t, "heaps") {
				f := strings.Split(v.Ready[fmt.Sprint("heap", i)], ",")
				if len(f) != 5 {
					t.Fatalf("the victim said %v", v.Ready)
				}
				var n [5]uint64
				for k := range f {
					if n[k], err = strconv.ParseUint(f[k], 10, 64); err != nil {
						t.Fatal(err)
					}
				}
				// It adds up sizes with a flag in the lowest bit, but for the last block.
				want = append(want, fmt.Sprint(n[0], n[2], n[4]-(n[3]-1), n[1]+n[3]))
			}
			slices.Sort(want)
			check := func(who, target string, found ...string) {
				t.Helper()
				h := inspectReport(t, target).Memory.Allocator
				if h == nil {
					t.Errorf("%s: there is nothing of the allocator", who)
					return
				}
				if got := h.arenas(); !slices.Equal(got, want) {
					t.Errorf("%s: %q, the victim said %q", who, got, want)
				}
				if h.Mapped == nil || h.Mapped.Count != v.Uint(t, "mapped") || h.Mapped.Bytes != v.Uint(t, "mappedBytes") {
					t.Errorf("%s: mapped %+v, the victim said %v", who, h.Mapped, v.Ready)
				}
				if h.Bytes != v.Uint(t, "system") || h.Free != v.Uint(t, "free") || h.Used != h.Bytes-h.Free {
					t.Errorf("%s: %+v, the victim said %v", who, h, v.Ready)
				}
				threads := 0
				for _, a := range h.Arenas {
					if a.Threads != nil {
						threads += *a.Threads
					}
					if a.Heaps == 0 || a.Partial {
						t.Errorf("%s: %+v", who, a)
					}
				}
				if threads != 5 || len(h.Damage) > 0 || !slices.Contains(found, h.Found) {
					t.Errorf("%s: %+v", who, h)
				}
			}
			found := []string{"shape", "symbol"}
			if name == "arenas@static" {
				found = found[1:]
			}
			check("the process", strconv.Itoa(v.PID), found...)
			for _, d := range []spec{{"-ma", "elf"}, {"-mp", "minidump"}} {
				check(d.String(), dump(t, v.PID, d), found...)
			}
			if h := inspectReport(t, dump(t, v.PID, spec{"-mm", "elf"})).Memory.Allocator; h != nil {
				t.Errorf("a mini dump tells of the allocator: %+v", h)
			}
		})
	}
}

// TestInspectHeapMany: arenas of many heaps have ends between their blocks, which
// are no damage.
func TestInspectHeapMany(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "arenas@i386", "20")
	h := inspectReport(t, dump(t, v.PID, spec{"-ma", "elf"})).Memory.Allocator
	if h == nil || h.Free != v.Uint(t, "free") || h.Bytes != v.Uint(t, "system") || len(h.Damage) > 0 {
		t.Fatalf("%+v, the victim said %v", h, v.Ready)
	}
	heaps := 0
	for _, a := range h.Arenas {
		heaps += a.Heaps
	}
	if heaps <= len(h.Arenas) {
		t.Errorf("%d heaps in %d arenas", heaps, len(h.Arenas))
	}
}

// TestInspectHeapDamage writes behind the end of a block, and wants to be told
// which free one was hit, and which one ends there.
func TestInspectHeapDamage(t *testing.T) {
	need.Root(t)
	v := victims.Start(t, "arenas", "2", "damage")
	for _, target := range []string{strconv.Itoa(v.PID), dump(t, v.PID, spec{"-ma", "elf"})} {
		h := inspectReport(t, target).Memory.Allocator
		if h == nil || len(h.Damage) == 0 || h.Damage[0].Address != v.Ready["damaged"] || h.Damage[0].Changing {
			t.Errorf("%+v, the damage is at %s", h, v.Ready["damaged"])
		}
		// Of a dump it is known which block ends there.
		if h != nil && target != strconv.Itoa(v.PID) && (len(h.Damage) != 2 || !strings.Contains(h.Damage[1].Text, v.Ready["size"]+" bytes that malloc gave out at "+v.Ready["before"]+" ")) {
			t.Errorf("%+v, the victim said %v", h.Damage, v.Ready)
		}
		text := procdump(t, "inspect", target).stdout
		if !strings.Contains(text, `0x4141414141414141 ("AAAAAAAA")`) {
			t.Errorf("the text does not tell of it:\n%s", text)
		}
	}
}
