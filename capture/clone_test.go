package capture

import (
	"errors"
	"fmt"
	"testing"

	"procdump/dumpkind"
	"procdump/snapshot"
)

// fakeCloner is a source that can be cloned, or says why not. What it kept
// beside the clone is wanted, and goes into a file.
type fakeCloner struct {
	*fakeSource
	refuse error
	mortal bool // it dies with the process
	cloned int
	wanted int
}

func (s *fakeCloner) Outlives() bool { return !s.mortal }

func (s *fakeCloner) Clone(o CloneOptions) error {
	s.cloned++
	if s.refuse != nil {
		return s.refuse
	}
	for i := range s.p.Regions {
		if o.Want(&s.p.Regions[i]) {
			s.wanted++
		}
	}
	f, err := o.Spool()
	if err != nil {
		return err
	}
	if _, err := f.WriteString("kept"); err != nil {
		return err
	}
	s.p.Info.Method = "clone"
	return nil
}

// TestRunClone has every way in which a dump comes from a clone or does not.
func TestRunClone(t *testing.T) {
	why := fmt.Errorf("seccomp: %w", errors.ErrUnsupported)
	broken := errors.New("broken")
	for _, c := range []struct {
		name    string
		method  Method
		kind    dumpkind.Kind
		refuse  error
		cloned  int // times it was asked for
		from    string
		warning string
		err     error
	}{
		{"not asked for", Stand, dumpkind.Full, nil, 0, "", "", nil},
		{"full", Clone, dumpkind.Full, nil, 1, "clone", "", nil},
		{"miniplus", CloneOnly, dumpkind.MiniPlus, nil, 1, "clone", "", nil},
		{"small", CloneOnly, dumpkind.Mini, nil, 0, "", "", nil},
		{"refused", Clone, dumpkind.Full, why, 1, "", Stood(why.Error()), nil},
		{"avoided", CloneOnly, dumpkind.Full, why, 1, "", "", ErrAvoided},
		{"broken", Clone, dumpkind.Full, broken, 1, "", "", broken},
	} {
		t.Run(c.name, func(t *testing.T) {
			noLeak(t)
			src, m := newSource(1 << 20)
			cloner, dir, told := &fakeCloner{fakeSource: src, refuse: c.refuse}, t.TempDir(), 0
			j := &Job{Outputs: []Output{output(t, dir, "x.core", c.kind, 1)}, Method: c.method, Cloned: func() { told++ }}
			if err := j.Prepare(src.p); err != nil {
				t.Fatal(err)
			}
			res := j.Run(t.Context(), cloner)
			j.Discard()
			if !errors.Is(res[0].Err, c.err) || (c.err == nil) != (res[0].Err == nil) {
				t.Fatalf("error %v, want %v", res[0].Err, c.err)
			}
			if cloner.cloned != c.cloned || (told == 1) != (c.from == "clone") || src.resumes.Load() == 0 {
				t.Errorf("cloned %d times, told %d times, resumed %d times", cloner.cloned, told, src.resumes.Load())
			}
			if n := len(files(t, dir)); c.err != nil && n != 0 || c.err == nil && n != 1 {
				t.Errorf("%d files are left", n)
			}
			if c.err != nil {
				return
			}
			info := res[0].Process.Info
			if info.Method != c.from || len(info.Warnings) != 0 != (c.warning != "") || c.warning != "" && info.Warnings[0] != c.warning {
				t.Errorf("method %q, warnings %q", info.Method, info.Warnings)
			}
			if c.from == "clone" && cloner.wanted != len(src.p.Regions) {
				t.Errorf("%d of %d regions were wanted", cloner.wanted, len(src.p.Regions))
			}
			if c.kind != dumpkind.Mini {
				m.resumed.Store(false)
				check(t, &res[0], m)
			}
		})
	}
}

// TestCloneThatDies: a process is needed as long as its clone would be killed with it.
func TestCloneThatDies(t *testing.T) {
	src, _ := newSource(1 << 20)
	j := &Job{Outputs: []Output{output(t, t.TempDir(), "x.core", dumpkind.Full, 1)}, Method: Clone,
		Cloned: func() { t.Error("told that the process is not needed any more") }}
	if res := run(t, j, &fakeCloner{fakeSource: src, mortal: true}); res[0].Err != nil || res[0].Process.Info.Method != "clone" {
		t.Errorf("error %v, method %q", res[0].Err, res[0].Process.Info.Method)
	}
}

// TestCloneNotOffered: a source that cannot be cloned at all.
func TestCloneNotOffered(t *testing.T) {
	src, _ := newSource(1 << 20)
	j := &Job{Outputs: []Output{output(t, t.TempDir(), "x.core", dumpkind.Full, 1)}, Method: Clone}
	res := run(t, j, src)
	if res[0].Err != nil || len(res[0].Process.Info.Warnings) != 1 {
		t.Errorf("error %v, warnings %q", res[0].Err, res[0].Process.Info.Warnings)
	}
}

// TestWants: what no dump will hold need not be kept beside a clone.
func TestWants(t *testing.T) {
	for _, c := range []struct {
		o    dumpkind.Options
		g    snapshot.Region
		want bool
	}{
		{dumpkind.Options{Kind: dumpkind.Full}, snapshot.Region{Perm: rw | snapshot.Shared}, true},
		{dumpkind.Options{Kind: dumpkind.MiniPlus}, snapshot.Region{Perm: rw}, true},
		{dumpkind.Options{Kind: dumpkind.Full}, snapshot.Region{Perm: rw, Flags: snapshot.DontDump}, false},
		{dumpkind.Options{Kind: dumpkind.Full, DontDump: true}, snapshot.Region{Perm: rw, Flags: snapshot.DontDump}, true},
		{dumpkind.Options{Kind: dumpkind.Full}, snapshot.Region{Perm: rw, Flags: snapshot.IO}, false},
		{dumpkind.Options{Kind: dumpkind.Custom, Mask: dumpkind.MaskAnonPrivate}, snapshot.Region{Perm: rw | snapshot.Shared}, false},
		{dumpkind.Options{Kind: dumpkind.Custom, Mask: dumpkind.MaskAnonShared}, snapshot.Region{Perm: rw | snapshot.Shared, Path: "/dev/zero"}, true},
	} {
		if got := c.o.Wants(&c.g); got != c.want {
			t.Errorf("%+v wants %+v: %v", c.o, c.g, got)
		}
	}
}

// TestRoomForPreCopy: the copy and the dump must both find room on the disk.
func TestRoomForPreCopy(t *testing.T) {
	j := &Job{Outputs: []Output{output(t, t.TempDir(), "x.core", dumpkind.Full, 1)}}
	for size, enough := range map[uint64]bool{1 << 20: true, 1 << 60: false} {
		p := &snapshot.Process{Regions: []snapshot.Region{
			{Range: snapshot.Range{Addr: 1 << 12, Size: size}, Perm: snapshot.Read | snapshot.Write, Resident: size}}}
		if why := j.RoomForPreCopy(p); (why == "") != enough {
			t.Errorf("%d bytes: %q", size, why)
		}
	}
}
