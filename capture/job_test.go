package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"procdump/dumpkind"
	"procdump/elfcore"
	"procdump/snapshot"
	"procdump/victims/need"
)

// formats are file names that ask for each format, plain and compressed.
var formats = []string{"x.core", "x.dmp", "x.core.zst", "x.dmp.zst"}

// noLeak checks at the test's end that no goroutine is left.
func noLeak(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		for range 100 {
			if runtime.NumGoroutine() <= before {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		buf := make([]byte, 1<<16)
		t.Errorf("%d goroutines, before %d:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
	})
}

func TestRunExact(t *testing.T) {
	noLeak(t)
	zstd := need.Tool(t, "zstd")
	for _, kind := range []dumpkind.Kind{dumpkind.Mini, dumpkind.MiniPlus, dumpkind.Full} {
		for i, name := range formats {
			t.Run(kind.String()+" "+name, func(t *testing.T) {
				src, m := newSource(9<<20 + 5*page)
				if i%2 == 0 {
					src.p.Memory = fastMemory{m}
				}
				j := &Job{Outputs: []Output{output(t, t.TempDir(), name, kind, 1)}}
				res := run(t, j, src)
				m.resumed.Store(false)
				check(t, &res[0], m)
				if src.resumes.Load() == 0 || res[0].Pause != 42*time.Millisecond || res[0].Process.Info.PauseMicros != 42000 {
					t.Errorf("%d resumes, pause %v, in the dump %d µs", src.resumes.Load(), res[0].Pause, res[0].Process.Info.PauseMicros)
				}
				// Zero pages are a third of what exists, and half never existed.
				if kind == dumpkind.Full && (res[0].Disk > res[0].Full/2 || res[0].Disk == 0) {
					t.Errorf("%d bytes occupy %d", res[0].Full, res[0].Disk)
				}
				if res[0].Output.Mask.Compress() {
					out, err := exec.Command(zstd, "-dc", res[0].Path).Output()
					if err != nil || !bytes.Equal(out, want(t, &res[0], m)) {
						t.Errorf("the zstd program reads %d other bytes, %v", len(out), err)
					}
				}
			})
		}
	}
}

// TestRunReservation has 64 GiB of which three pages exist.
func TestRunReservation(t *testing.T) {
	src, m := newSource(1 << 20)
	big := snapshot.Range{Addr: bigRegion - 1<<40, Size: 64 << 30}
	src.p.Regions = slices.Insert(src.p.Regions, 300, snapshot.Region{Range: big, Perm: rw})
	var at []uint64
	for _, off := range []uint64{page, 30<<30 + page, 64<<30 - 2*page} {
		a := big.Addr + off
		for a/page%3 == 0 {
			a -= page
		}
		at = append(at, a)
		m.runs = slices.Insert(m.runs, 300+len(at)-1, snapshot.Range{Addr: a, Size: page})
	}
	for _, name := range []string{"x.core", "x.core.zst"} {
		m.resumed.Store(false)
		res := run(t, &Job{Outputs: []Output{output(t, t.TempDir(), name, dumpkind.Full, 1)}}, src)
		if res[0].Err != nil || res[0].Disk > 4<<20 || res[0].Full > 2<<30 {
			t.Fatalf("%s: %d bytes on disk for %d, %v", name, res[0].Disk, res[0].Full, res[0].Err)
		}
		if name != "x.core" {
			continue
		}
		f, err := os.Open(res[0].Path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r, err := elfcore.NewReader(f, res[0].Size)
		if err != nil {
			t.Fatal(err)
		}
		p, _ := r.Process()
		for _, a := range at {
			got, want := make([]byte, page), make([]byte, page)
			m.fill(want, a)
			if _, err := p.Memory.ReadMemory(got, a); err != nil || !bytes.Equal(got, want) {
				t.Errorf("page %#x differs, or %v", a, err)
			}
		}
	}
}

// TestRunKinds writes several kinds from one stop. Where each is a copy in RAM
// the process goes on before the first byte is written.
func TestRunKinds(t *testing.T) {
	noLeak(t)
	for _, tt := range []struct {
		kinds    []dumpkind.Kind
		buffered bool
	}{
		{[]dumpkind.Kind{dumpkind.Triage, dumpkind.Mini}, true},
		{[]dumpkind.Kind{dumpkind.Triage, dumpkind.Mini, dumpkind.MiniPlus, dumpkind.Full}, false},
	} {
		dir := t.TempDir()
		src, m := newSource(5 << 20)
		j := &Job{}
		for _, k := range tt.kinds {
			j.Outputs = append(j.Outputs, output(t, dir, "x.core", k, len(tt.kinds)))
		}
		var written int64
		src.onResume = func() {
			m.resumed.Store(true)
			for _, f := range j.files {
				st, _ := f.Stat()
				written += st.Size()
			}
		}
		res := run(t, j, src)
		if tt.buffered != (written == 0) {
			t.Errorf("%v: %d bytes were written when the process went on", tt.kinds, written)
		}
		m.resumed.Store(false)
		for i := range res {
			if res[i].Err != nil || filepath.Base(res[i].Path) != "x_"+tt.kinds[i].String()+".core" || res[i].Process.Info.Kind != tt.kinds[i].String() {
				t.Errorf("%v: %q, %v", tt.kinds[i], res[i].Path, res[i].Err)
			} else if tt.kinds[i] != dumpkind.Triage {
				check(t, &res[i], m)
			}
		}
	}
}

// cancelAt ends a context when part of the memory has been read.
func cancelAt(m *fakeMemory, bytes uint64, f func()) {
	m.onRead = func(done uint64) error {
		if done >= bytes {
			f()
		}
		return nil
	}
}

func TestRunCancelled(t *testing.T) {
	noLeak(t)
	stop := errors.New("stop it")
	for _, at := range []uint64{0, 4 << 20} {
		for _, name := range formats {
			dir := t.TempDir()
			src, m := newSource(9 << 20)
			ctx, cancel := context.WithCancelCause(t.Context())
			cancelAt(m, at, func() { cancel(stop) })
			j := &Job{Outputs: []Output{output(t, dir, name, dumpkind.Full, 1)}}
			refused(t, j, ctx, src, stop)
			if m.done.Load() > 8<<20 {
				t.Errorf("%s: %d MiB were read after the end", name, m.done.Load()>>20)
			}
		}
	}
}

// refused runs a job that must fail: no file, the process running.
func refused(t *testing.T, j *Job, ctx context.Context, src *fakeSource, want error) {
	t.Helper()
	dir := j.Outputs[0].Mask.Folder()
	if err := j.Prepare(src.p); err != nil {
		t.Fatal(err)
	}
	res := j.Run(ctx, src)
	j.Discard()
	for i := range res {
		if !errors.Is(res[i].Err, want) || res[i].Path != "" {
			t.Errorf("%v: %q, error %v, want %v", res[i].Output.Mask, res[i].Path, res[i].Err, want)
		}
	}
	if n := files(t, dir); len(n) > 0 {
		t.Errorf("files %q are left", n)
	}
	if src.resumes.Load() == 0 {
		t.Error("the process still stands")
	}
}

func TestRunTimeLimit(t *testing.T) {
	noLeak(t)
	over := errors.New("time limit")
	src, m := newSource(5 << 20)
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, over)
	defer cancel()
	cancelAt(m, 1<<20, func() { <-ctx.Done() })
	refused(t, &Job{Outputs: []Output{output(t, t.TempDir(), "x.core", dumpkind.Full, 1)}}, ctx, src, over)

	// A context that has ended before anything began, and a dump in RAM.
	ended, cancelNow := context.WithCancelCause(t.Context())
	cancelNow(over)
	dir := t.TempDir()
	src, _ = newSource(5 << 20)
	refused(t, &Job{Outputs: []Output{output(t, dir, "x.core", dumpkind.Mini, 2), output(t, dir, "x.dmp.zst", dumpkind.Full, 2)}}, ended, src, over)
}

// TestRunGone has the process end half-way.
func TestRunGone(t *testing.T) {
	noLeak(t)
	gone := errors.New("the process has ended")
	for i, name := range formats {
		src, m := newSource(9 << 20)
		if i%2 == 0 {
			src.p.Memory = fastMemory{m}
		}
		m.onRead = func(done uint64) error {
			if done > 4<<20 {
				return gone
			}
			return nil
		}
		refused(t, &Job{Outputs: []Output{output(t, t.TempDir(), name, dumpkind.Full, 1)}}, t.Context(), src, gone)
		src, m = newSource(1 << 20)
		m.onRead = func(uint64) error { return gone }
		refused(t, &Job{Outputs: []Output{output(t, t.TempDir(), name, dumpkind.Mini, 1)}}, t.Context(), src, gone)
	}
}

// TestRunUnreadable has pages that cannot be read: they are zero in the dump,
// which says so.
func TestRunUnreadable(t *testing.T) {
	for i, name := range formats {
		src, m := newSource(5 << 20)
		if i >= 2 {
			src.p.Memory = fastMemory{m}
		}
		run0 := m.runs[300]
		m.bad = map[uint64]bool{}
		for _, at := range []uint64{m.runs[7].Addr, run0.Addr, run0.Addr + 100*page, run0.Addr + 101*page, run0.End() - page} {
			m.bad[at] = true
		}
		res := run(t, &Job{Outputs: []Output{output(t, t.TempDir(), name, dumpkind.Full, 1)}}, src)
		m.resumed.Store(false)
		check(t, &res[0], m)
		want := []snapshot.Range{{Addr: m.runs[7].Addr, Size: page}, {Addr: run0.Addr, Size: page}, {Addr: run0.Addr + 100*page, Size: 2 * page}, {Addr: run0.End() - page, Size: page}}
		if got := res[0].Process.Info.Unreadable; !slices.Equal(got, want) {
			t.Errorf("%s: unreadable %v, want %v", name, got, want)
		}
	}
}

// TestRunNames has eight jobs want one name at the same time.
func TestRunNames(t *testing.T) {
	noLeak(t)
	dir := t.TempDir()
	var wg sync.WaitGroup
	paths := make(chan string, 8)
	for range 8 {
		src, m := newSource(1 << 20)
		j := &Job{Outputs: []Output{output(t, dir, "x.core", dumpkind.Full, 1)}}
		if err := j.Prepare(src.p); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer j.Discard()
			res := j.Run(t.Context(), src)
			m.resumed.Store(false)
			check(t, &res[0], m)
			paths <- filepath.Base(res[0].Path)
		})
	}
	wg.Wait()
	close(paths)
	var got []string
	for p := range paths {
		got = append(got, p)
	}
	slices.Sort(got)
	if want := "[x-1.core x-2.core x-3.core x-4.core x-5.core x-6.core x-7.core x.core]"; fmt.Sprint(got) != want || fmt.Sprint(files(t, dir)) != want {
		t.Errorf("results %v, files %v", got, files(t, dir))
	}
}

func TestRunOverwrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.core")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	src, m := newSource(1 << 20)
	o := output(t, dir, "x.core", dumpkind.Full, 1)
	o.Overwrite = true
	res := run(t, &Job{Outputs: []Output{o}}, src)
	m.resumed.Store(false)
	check(t, &res[0], m)
	if res[0].Path != path || len(files(t, dir)) != 1 {
		t.Errorf("%q, files %q", res[0].Path, files(t, dir))
	}
	// What fails leaves the old file.
	gone := errors.New("gone")
	src, m = newSource(1 << 20)
	m.onRead = func(uint64) error { return gone }
	if res := run(t, &Job{Outputs: []Output{o}}, src); !errors.Is(res[0].Err, gone) {
		t.Error(res[0].Err)
	}
	if st, err := os.Stat(path); err != nil || st.Size() != res[0].Size {
		t.Errorf("the old dump is lost: %v, %v", st, err)
	}
}

func TestRunSidecar(t *testing.T) {
	dir := t.TempDir()
	j := func(overwrite bool) *Job {
		o := output(t, dir, "x.core", dumpkind.Mini, 1)
		o.Overwrite = overwrite
		return &Job{Outputs: []Output{o}, Sidecars: []Sidecar{
			func(*snapshot.Process) (string, []byte) { return ".none.txt", nil },
			func(p *snapshot.Process) (string, []byte) { return ".kernel.txt", []byte(p.Name) },
		}}
	}
	path := filepath.Join(dir, "x.kernel.txt")
	src, _ := newSource(1 << 20)
	res := run(t, j(false), src)
	b, err := os.ReadFile(path)
	st, _ := os.Stat(path)
	if !slices.Equal(res[0].Sidecars, []string{"", path}) || string(b) != "victim" || err != nil || st.Mode() != 0o600 || len(res[0].Warnings) > 0 {
		t.Fatalf("%q: %q, %v, warnings %q", res[0].Sidecars, b, err, res[0].Warnings)
	}
	// In the way: the dump is good all the same, and says so.
	if err := os.Remove(res[0].Path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	src, _ = newSource(1 << 20)
	res = run(t, j(false), src)
	if b, _ := os.ReadFile(path); res[0].Err != nil || !slices.Equal(res[0].Sidecars, []string{"", ""}) || len(res[0].Warnings) != 1 || string(b) != "mine" {
		t.Errorf("%v, sidecar %q, warnings %q, file %q", res[0].Err, res[0].Sidecars, res[0].Warnings, b)
	}
	src, _ = newSource(1 << 20)
	res = run(t, j(true), src)
	if b, _ := os.ReadFile(path); !slices.Equal(res[0].Sidecars, []string{"", path}) || string(b) != "victim" {
		t.Errorf("sidecar %q, warnings %q, file %q", res[0].Sidecars, res[0].Warnings, b)
	}
}

func TestProgress(t *testing.T) {
	src, _ := newSource(5 << 20)
	var mu sync.Mutex
	var last, most uint64
	j := &Job{Outputs: []Output{output(t, t.TempDir(), "x.core", dumpkind.Full, 1)}}
	j.Progress = func(done, total uint64) {
		mu.Lock()
		defer mu.Unlock()
		if done > total {
			t.Errorf("%d of %d", done, total)
		}
		last, most = total, max(most, done)
	}
	for i := range src.p.Regions { // it has grown since
		src.p.Regions[i].Resident = min(src.p.Regions[i].Size, 3<<20)
	}
	if res := run(t, j, src); res[0].Err != nil {
		t.Fatal(res[0].Err)
	}
	if most == 0 || most != last {
		t.Errorf("ended at %d of %d", most, last)
	}
}

// TestTriageFile looks for a secret in finished triage dumps.
func TestTriageFile(t *testing.T) {
	secret := []byte("kQzXvJwYpGqTzRbNxWcHdVfKjLmZ")
	for _, name := range formats[:2] {
		src, _ := newSource(1 << 20)
		p := src.p
		p.Memory = secretMemory{secret}
		p.Args, p.Environ = []string{string(secret)}, []string{"X=" + string(secret)}
		p.Files = []snapshot.File{{Target: string(secret)}}
		p.Info.CommandLine = []string{string(secret)}
		p.Exe = "/home/" + string(secret) + "/x"
		p.Texts = map[string][]byte{"cmdline": secret, "environ": secret, "status": secret, "maps": []byte("1-2 r-xp 0 08:01 7 " + p.Exe + "\n")}
		p.Modules = []snapshot.Module{{Range: snapshot.Range{Addr: bigRegion, Size: page}, Path: p.Exe, Dynamic: bigRegion + 64}}
		p.Threads[0].Registers.Put(2, bytes.Repeat(secret, 19)[:512])
		p.Threads[0].Siginfo = bytes.Repeat(secret, 5)[:128]
		p.Threads[0].Syscall = string(secret)
		for _, kind := range []dumpkind.Kind{dumpkind.Mini, dumpkind.Triage} {
			res := run(t, &Job{Outputs: []Output{output(t, t.TempDir(), name, kind, 1)}}, src)
			if res[0].Err != nil {
				t.Fatal(res[0].Err)
			}
			b, err := os.ReadFile(res[0].Path)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for k := 0; k+4 <= len(secret); k++ {
				n += bytes.Count(b, secret[k:k+4])
				n += bytes.Count(b, []byte(strings.Join(strings.Split(string(secret[k:k+4]), ""), "\x00"))) // UTF-16
			}
			if found := n > 0; found != (kind == dumpkind.Mini) {
				t.Errorf("%v %s: the secret is there %d times", kind, name, n)
			}
		}
	}
}

// secretMemory is full of one text.
type secretMemory struct{ text []byte }

func (m secretMemory) ReadMemory(p []byte, addr uint64) (int, error) {
	for i := range p {
		p[i] = m.text[(addr+uint64(i))%uint64(len(m.text))]
	}
	return len(p), nil
}

func (m secretMemory) Extents(r snapshot.Range) ([]snapshot.Extent, error) {
	return []snapshot.Extent{{Range: r, Kind: snapshot.ExtentPresent}}, nil
}

// TestSplit cuts placements for the readers.
func TestSplit(t *testing.T) {
	places := []snapshot.Placement{
		{Range: snapshot.Range{Addr: 1 << 40, Size: 100}, Off: 5},
		{Range: snapshot.Range{Addr: 1 << 41, Size: 5*workSize + 3}, Off: 4096},
		{Range: snapshot.Range{Addr: 1 << 40, Size: workSize}, Off: 1 << 40}, // the same memory again
		{Range: snapshot.Range{Addr: 1<<40 + workSize, Size: 1}, Off: 1 << 41},
		{Range: snapshot.Range{Addr: 1 << 50, Size: 0}, Off: 1 << 42},
	}
	var all []snapshot.Placement
	for _, w := range split(places) {
		var size uint64
		for i, pl := range w {
			size += pl.Size
			if pl.Size == 0 || i > 0 && pl.Addr < w[i-1].End() {
				t.Errorf("unit %v", w)
			}
			if n := len(all); n > 0 && all[n-1].End() == pl.Addr && all[n-1].Off+int64(all[n-1].Size) == pl.Off {
				all[n-1].Size += pl.Size
			} else {
				all = append(all, pl)
			}
		}
		if size > workSize {
			t.Errorf("unit of %d bytes", size)
		}
	}
	if !slices.Equal(all, places[:4]) {
		t.Errorf("units cover %v, want %v", all, places[:4])
	}
	if len(split(nil)) != 0 {
		t.Error("units of nothing")
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 bytes", 1023: "1023 bytes", 1536: "1.5 KiB", 1 << 30: "1.0 GiB", 5 << 50: "5120.0 TiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
