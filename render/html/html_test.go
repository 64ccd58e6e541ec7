package html

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"procdump/inspect"
	"procdump/render/html/htmltest"
)

var update = flag.Bool("update", false, "write the golden files")

// written is the report as HTML.
func written(t testing.TB, r *inspect.Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestSkeleton(t *testing.T) {
	for name, r := range map[string]*inspect.Report{"report": sample(), "nothing": {}} {
		got := htmltest.Skeleton(t, written(t, r))
		file := filepath.Join("testdata", name+".golden")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs (go test ./render/html -update writes it):\n%s", file, got)
		}
	}
}

// TestParts wants what the report says, in the page.
func TestParts(t *testing.T) {
	page := written(t, sample())
	for _, want := range []string{
		"<h1>Segmentation fault (SIGSEGV): write to 0x10", "the last words", "List::push", "list.cc:42", "22 threads, 3 different stacks",
		"the same, 3 times more", "it goes on on another stack", "busiest: 100 app", "0123456789abcdef", "the file is gone", "socket:[1234]",
		"limit ≥ 80 %", "device memory", "panics with a wrong turn", "created by main at /src/app.cc:3 in goroutine 1", "another build id", "/root", "default-src &#39;none&#39;", `data-fault="0x10"`, "__poll ← eventLoop",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("there is no %q", want)
		}
	}
}

// TestHostile writes a report whose texts are markup, and has no more elements
// than the same report without it.
func TestHostile(t *testing.T) {
	page := written(t, hostile())
	if strings.Contains(page, "<img") || strings.Count(page, "<script") != 1 || strings.Contains(page, `="javascript:`) {
		t.Error("text became markup")
	}
	if !utf8.ValidString(page) {
		t.Error("it is not UTF-8")
	}
	for _, r := range page {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			t.Fatalf("it has the character %U", r)
		}
	}
	elements := func(page string) (names []string) {
		for line := range strings.Lines(htmltest.Skeleton(t, page)) {
			name, _, _ := strings.Cut(strings.TrimSpace(line), ":")
			name, _, _ = strings.Cut(name, ".")
			names = append(names, name)
		}
		return names
	}
	tame := sample()
	for i := range tame.Groups { // as the other has it
		tame.Groups[i].End = "x"
	}
	tame.Dump.Comment = "x"
	if got, want := elements(page), elements(written(t, tame)); len(got) > len(want)+4 {
		t.Errorf("%d kinds of elements, %d without the markup\n%q\n%q", len(got), len(want), got, want)
	}
}

// TestMuch holds the page's size for reports of any size.
func TestMuch(t *testing.T) {
	begin := time.Now()
	page := written(t, crowd(1000))
	t.Logf("1,000 stacks: %d bytes in %v", len(page), time.Since(begin))
	if len(page) > 8<<20 {
		t.Errorf("%d bytes of 1,000 threads", len(page))
	}
	r := sample()
	long := strings.Repeat("verylong", 2000)
	for i := range 7000 {
		g := inspect.Group{Threads: []inspect.Thread{{TID: i, Name: "x"}}}
		for k := range 60 {
			g.Frames = append(g.Frames, frame(fmt.Sprint("f", i, "_", k), "", 0, app))
		}
		r.Groups = append(r.Groups, g)
		r.Modules = append(r.Modules, inspect.Module{Path: "/lib"})
		r.Files = append(r.Files, inspect.File{Target: "file"})
		r.Warnings = append(r.Warnings, "w")
		r.Missing = append(r.Missing, inspect.Missing{Why: "w"})
		r.Process.Environ = append(r.Process.Environ, "A="+long)
		r.Process.Args = append(r.Process.Args, long)
		r.Memory.Map = append(r.Memory.Map, inspect.Region{Address: inspect.Address(i << 20), Bytes: uint64(i)})
		r.Samples[0].Points = append(r.Samples[0].Points, r.Samples[0].Points[0])
	}
	for range 70_000 {
		r.Groups[1].Threads = append(r.Groups[1].Threads, inspect.Thread{TID: 1, Name: "worker"})
	}
	if page := written(t, r); len(page) > 16<<20 {
		t.Errorf("%d bytes of a report without end", len(page))
	}
}

// TestWhere wants a program's own functions in the one line of a stack.
func TestWhere(t *testing.T) {
	own := func(name string) inspect.Frame { return frame(name, "", 0, app) }
	other := func(name string) inspect.Frame { return frame(name, "", 0, "/lib/libc.so.6") }
	for want, frames := range map[string][]inspect.Frame{
		"__poll ← eventLoop ← main":        {other("syscall"), other("__poll"), own("eventLoop"), own("main"), own("_start")},
		"runtime.chanrecv2 ← main.consume": {own("runtime.gopark"), own("runtime.chanrecv2"), own("main.consume")},
		"read":                             {other("read")},
		"":                                 nil,
	} {
		r := sample()
		r.Exception = nil
		r.Groups = []inspect.Group{{Threads: []inspect.Thread{{TID: 1}}, Frames: frames}}
		if got := newDocument(r).Groups[0].Where; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestRows keeps both ends of a long stack.
func TestRows(t *testing.T) {
	var frames []inspect.Frame
	for i := range 1000 {
		frames = append(frames, frame(fmt.Sprint("f", i), "", 0, app))
	}
	all := rows(frames, 10, 5)
	if len(all) != 16 || all[9].Function != "f9+0x4" || all[10].Note != "… 985 lines left out" || all[15].Number != 999 {
		t.Errorf("%+v", all)
	}
}

func TestChart(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	points := []inspect.Sample{{Time: at, Value: 0}, {Time: at.Add(5 * time.Second), Value: 200}, {Time: at.Add(10 * time.Second), Value: 100}}
	c, ok := newChart(&inspect.Samples{Name: "Commit", Unit: "bytes", Limit: 150, Points: points}, nil)
	if !ok || c.Points != "0.0,100.00 500.0,7.41 1000.0,53.70" || c.LimitAt != "30.556%" || c.From != "−10 s" || c.Last != "100 B" || c.Dots[1].Title != "−5.0 s: 200 B" {
		t.Errorf("%+v", c)
	}
	for name, s := range map[string]inspect.Samples{
		"none":    {Limit: 1},
		"NaN":     {Limit: 1, Points: []inspect.Sample{{Value: nan()}}},
		"no time": {Limit: 1, Points: []inspect.Sample{{Value: 1}, {Value: -5}}},
		"equal":   {Limit: 0, Points: []inspect.Sample{{Time: at}}},
	} {
		c, ok := newChart(&s, &at)
		if ok != (name == "no time" || name == "equal") || strings.Contains(fmt.Sprint(c), "NaN") {
			t.Errorf("%s: %v, %+v", name, ok, c)
		}
	}
}

func nan() float64 {
	zero := 0.0
	return zero / zero
}

// TestScriptFrame shows a script's function with its language.
func TestScriptFrame(t *testing.T) {
	f := inspect.Frame{Function: "inner", File: "/src/app.rb", Line: 6, Language: "ruby", How: "runtime"}
	if r := newRow(1, &f); r.Classes != "script" || r.Module != "ruby" || r.Function != "inner" || r.Place != "app.rb:6" {
		t.Errorf("%+v", r)
	}
}
