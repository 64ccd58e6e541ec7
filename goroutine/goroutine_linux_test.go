package goroutine

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"procdump/arch"
	"procdump/image"
	"procdump/snapshot"
)

// own is the memory of the process that asks.
type own struct{ f *os.File }

func (o own) ReadMemory(p []byte, addr uint64) (int, error) {
	n, err := o.f.ReadAt(p, int64(addr))
	if err == io.EOF {
		err = snapshot.ErrNotMapped
	}
	return max(n, 0), err
}

func (o own) Extents(snapshot.Range) ([]snapshot.Extent, error) { return nil, nil }

// self is this process as a snapshot, which goes on meanwhile.
func self(t testing.TB) *snapshot.Process {
	t.Helper()
	f, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	m := snapshot.Module{Path: exe}
	for line := range strings.SplitSeq(string(maps), "\n") {
		var from, to uint64
		if !strings.HasSuffix(line, exe) {
			continue
		}
		if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err != nil {
			t.Fatal(err)
		}
		if m.Addr == 0 {
			m.Addr = from
		}
		m.Size = to - m.Addr
	}
	p := &snapshot.Process{Modules: []snapshot.Module{m}, Memory: own{f}}
	p.System.Machine = map[string]arch.Machine{"amd64": arch.AMD64, "386": arch.I386, "arm64": arch.ARM64}[runtime.GOARCH]
	return p
}

func find(t testing.TB, p *snapshot.Process) (*List, error) {
	t.Helper()
	set := image.NewSet(p, image.Options{})
	defer set.Close()
	return Find(p, set)
}

// TestFind compares the goroutines that stand still with what the runtime says.
func TestFind(t *testing.T) {
	never := make(chan int)
	defer close(never)
	before := runtime.NumGoroutine()
	for range 300 {
		go func() { <-never }()
	}
	go func() { make(chan int) <- 1 }()
	go func() {
		defer func() { <-never; recover() }()
		panic(fmt.Sprint("number ", 7))
	}()
	var text []byte
	for deadline := time.Now().Add(30 * time.Second); ; runtime.Gosched() {
		text = make([]byte, 1<<20)
		text = text[:runtime.Stack(text, true)]
		if strings.Count(string(text), "[chan receive")+strings.Count(string(text), "[chan send") >= 302 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the goroutines do not wait: %s", text)
		}
	}
	runtime.GC() // it notes that it began,
	runtime.GC() // and for who waits when the one before began
	l, err := find(t, self(t))
	if err != nil {
		t.Fatal(err)
	}
	var up float64
	if b, err := os.ReadFile("/proc/uptime"); err != nil {
		t.Fatal(err)
	} else if _, err := fmt.Sscan(string(b), &up); err != nil {
		t.Fatal(err)
	}
	byID := map[uint64]*Goroutine{}
	for i := range l.All {
		byID[l.All[i].ID] = &l.All[i]
	}
	const tick = 0.01 // the file has whole hundredths of a second
	compared := 0
	for _, m := range regexp.MustCompile(`(?m)^goroutine (\d+) \[(chan [a-z]+).*\]:$`).FindAllSubmatch(text, -1) {
		id, _ := strconv.ParseUint(string(m[1]), 10, 64)
		g := byID[id]
		if g == nil || g.Reason != string(m[2]) || g.Status != Waiting || !g.Stack.Contains(g.SP) || g.Start == 0 || id != 1 && g.Parent == 0 {
			t.Errorf("goroutine %d [%s]: %+v", id, m[2], g)
		} else if since := float64(g.WaitSince) / 1e9; since > up+tick || since < up-60 {
			t.Errorf("goroutine %d waits since second %f of %f", id, since, up)
		}
		compared++
	}
	if compared < 302 || len(l.All) < before+302 {
		t.Errorf("%d goroutines, %d compared", len(l.All), compared)
	}
	panics := 0
	for _, g := range l.All {
		if g.Panic == "number 7" {
			panics++
		}
	}
	if panics != 1 {
		t.Errorf("%d goroutines panic", panics)
	}
}

// damaged is memory of which bytes are others.
type damaged struct {
	snapshot.Memory
	random *rand.Rand
	one    int // of so many words one is damaged
}

func (d damaged) ReadMemory(p []byte, addr uint64) (int, error) {
	n, err := d.Memory.ReadMemory(p, addr)
	for i := 0; i+8 <= n; i += 8 {
		if d.random.IntN(d.one) == 0 {
			p[i+d.random.IntN(8)] ^= byte(1 << d.random.IntN(8))
		}
	}
	if d.random.IntN(d.one) == 0 && n > 0 {
		return d.random.IntN(n), snapshot.ErrNotMapped
	}
	return n, err
}

// FuzzFind: whatever the memory holds, there is an end, and what is found can be.
func FuzzFind(f *testing.F) {
	f.Add(uint64(1), uint16(50))
	f.Add(uint64(2), uint16(1000))
	f.Add(uint64(3), uint16(60000))
	p := self(f)
	f.Fuzz(func(t *testing.T, seed uint64, one uint16) {
		q := *p
		q.Memory = damaged{p.Memory, rand.New(rand.NewPCG(seed, 1)), int(one) + 1}
		l, err := find(t, &q)
		if err != nil {
			if !errors.Is(err, ErrNone) && !errors.Is(err, ErrNotHere) {
				t.Fatal(err)
			}
			return
		}
		for _, g := range l.All {
			if g.ID == 0 || g.Status == Dead || len(g.Panic) > 3*maxText+1000 {
				t.Errorf("%+v", g)
			}
		}
	})
}

// TestSearchBounded: the list is not sought for ever.
func TestSearchBounded(t *testing.T) {
	p := self(t)
	set := image.NewSet(p, image.Options{})
	defer set.Close()
	for _, left := range []int{maxSought, 0} {
		f, err := newFinder(p, set)
		if err != nil {
			t.Fatal(err)
		}
		if f.left > left {
			f.left = left
		}
		if _, n := f.allgs(); (n > 0) != (left > 0) || f.left == maxSought {
			t.Errorf("%d found of %d words", n, left)
		}
	}
}

// TestNone: a process without Go has no goroutines, and one whose memory is not
// there has them elsewhere.
func TestNone(t *testing.T) {
	p := self(t)
	p.Modules[0].Path = "/nonexistent"
	if _, err := find(t, p); !errors.Is(err, ErrNone) {
		t.Errorf("without its file: %v", err)
	}
	p = self(t)
	p.Memory = nothing{}
	if l, err := find(t, p); !errors.Is(err, ErrNotHere) && !errors.Is(err, ErrNone) {
		t.Errorf("without memory: %v, %v", l, err)
	}
}

// nothing is memory that a dump does not hold.
type nothing struct{}

func (nothing) ReadMemory([]byte, uint64) (int, error)            { return 0, snapshot.ErrNotMapped }
func (nothing) Extents(snapshot.Range) ([]snapshot.Extent, error) { return nil, nil }
