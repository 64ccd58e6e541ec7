package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"procdump/victims"
)

// TestInspectBeside wants the reports of -inspect beside each dump, readable by
// their owner only, and the dump whatever happens to them.
func TestInspectBeside(t *testing.T) {
	v := victims.Start(t, "threads")
	folder := t.TempDir()
	r := procdump(t, "-json", "-inspect", "-mm", "-mp", "-z", pidArg(v), filepath.Join(folder, "one"))
	dumps := r.completed()
	var about []string
	for _, e := range r.events {
		if e.Event != "report" {
			continue
		}
		about = append(about, e.Path)
		if !strings.HasPrefix(e.Reason, "The process did not crash: it was dumped while it ran") || strings.HasSuffix(e.Reason, "\n") {
			t.Errorf("reason %q", e.Reason)
		}
		for file, begin := range map[string]string{e.TextPath: "The process did not crash", e.HTMLPath: "<!doctype html>"} {
			b, err := os.ReadFile(file)
			if err != nil || !strings.HasPrefix(string(b), begin) || filepath.Dir(file) != folder {
				t.Errorf("%s: %v, begins with %.40q", file, err, b)
				continue
			}
			if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", file, st.Mode(), err)
			}
		}
	}
	slices.Sort(about)
	slices.Sort(dumps)
	if r.code != 0 || len(dumps) != 2 || !slices.Equal(about, dumps) || r.events[len(r.events)-1].Event != "end" {
		t.Errorf("reports on %q; %v", about, r)
	}

	// Where a report cannot be written the dump is good.
	if err := os.Mkdir(filepath.Join(folder, "two.report.html"), 0o700); err != nil {
		t.Fatal(err)
	}
	r = procdump(t, "-inspect", pidArg(v), filepath.Join(folder, "two"))
	if _, err := os.Stat(filepath.Join(folder, "two.core")); err != nil || r.code != 0 || !strings.Contains(r.stderr, "-inspect: no report is written") {
		t.Errorf("%v; %v", err, r)
	}
	wantAlive(t, v)
}

// TestInspectEnvironment wants the environment that a process began with, from
// the process, from cores, which have it on the stack alone, and from minidumps;
// with -redact the names only.
func TestInspectEnvironment(t *testing.T) {
	for _, name := range []string{"threads", "threads@i386"} {
		t.Run(name, func(t *testing.T) {
			v := victims.StartSpec(t, victims.Spec{Name: name, Env: []string{"PROCDUMP_TOKEN=s3cret=x", "PROCDUMP_EMPTY="}})
			targets := []string{pidArg(v)}
			for _, d := range []spec{{"-mm", "elf"}, {"-ma", "elf"}, {"-mm", "minidump"}} {
				targets = append(targets, dump(t, v.PID, d))
			}
			for _, target := range targets {
				for token, args := range map[string][]string{"s3cret=x": {"inspect", "-json", target}, "…": {"inspect", "-json", "-redact", target}} {
					r := procdump(t, args...)
					var report struct{ Process struct{ Environ []string } }
					if err := json.Unmarshal([]byte(r.stdout), &report); err != nil || r.code != 0 {
						t.Fatalf("%v; %v", err, r)
					}
					all := report.Process.Environ
					if !slices.Contains(all, "PROCDUMP_TOKEN="+token) || len(all) < 4 || (token == "…") != slices.Contains(all, "PROCDUMP_EMPTY=…") {
						t.Errorf("%q: %q", args, all)
					}
				}
			}
			if r := procdump(t, "inspect", dump(t, v.PID, spec{"-mt", "elf"}), "-json"); strings.Contains(r.stdout, "PROCDUMP_TOKEN") {
				t.Error("a triage dump tells the environment")
			}
		})
	}
}
