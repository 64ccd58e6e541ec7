package rescue

import (
	"os"
	"slices"
	"strings"
	"testing"

	"procdump/kdump"
	"procdump/kdump/diskdump"
	"procdump/kernel/capture"
	"procdump/kernel/dumped"
	"procdump/kernel/settings"
)

// TestVerify compares a dump with what it was made of, and with what it was not.
func TestVerify(t *testing.T) {
	f := below(t.TempDir(), Target{Folder: "crash"})
	s := damaged(settings.Complete, f)
	src := dumped.Open(s.dump, dumped.Options{NoTypes: true})
	o := capture.Options{Kind: capture.Complete, Compression: diskdump.Snappy}
	if err := f.options(&o, "vmcore.kdump"); err != nil {
		t.Fatal(err)
	}
	j := capture.NewJob(src, o)
	defer j.Discard()
	if err := j.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	good, err := j.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	beats := 0
	check := func(what, want string, change func(res *capture.Result, memory *kdump.Dump)) {
		t.Helper()
		res, memory := *good, *src.Dump()
		change(&res, &memory)
		err := verify(&res, &memory, func() { beats++ })
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	check("as it is", "", func(*capture.Result, *kdump.Dump) {})
	if beats < verifyPages {
		t.Errorf("%d pages compared, want %d", beats, verifyPages)
	}
	check("a page less", "has 1024 pages, 1023 were written", func(res *capture.Result, _ *kdump.Dump) { res.Pages-- })
	check("a byte less", "were written", func(res *capture.Result, _ *kdump.Dump) { res.Size++ })
	check("another kernel", "other VMCOREINFO", func(_ *capture.Result, memory *kdump.Dump) { memory.VMCoreInfo = []byte("OSRELEASE=6.2\n") })
	check("other memory", "differs from memory", func(_ *capture.Result, memory *kdump.Dump) {
		other := slices.Clone(memory.Memory.(ram))
		other[4095]++ // of the first page, which is among those compared
		memory.Memory = other
	})
	check("memory that cannot be read", "", func(_ *capture.Result, memory *kdump.Dump) { memory.Memory = ram(nil) })
	check("no dump", "no such file", func(res *capture.Result, _ *kdump.Dump) { res.Path += "x" })
	if err := os.Truncate(good.Path, good.Size/2); err != nil {
		t.Fatal(err)
	}
	check("half of it", "were written", func(*capture.Result, *kdump.Dump) {})
}

// fickle is memory that holds something else each time.
type fickle struct{ reads byte }

func (f *fickle) ReadPhys(b []byte, _ uint64) (int, error) {
	f.reads++
	for i := range b {
		b[i] = f.reads
	}
	return len(b), nil
}

// TestNotVerified: a dump that is not right stays, and the record says so.
func TestNotVerified(t *testing.T) {
	f := below(t.TempDir(), Target{Folder: "crash"})
	s := damaged(settings.Complete, f)
	s.dump.Memory = &fickle{}
	s.step("write dump", s.writeDump)
	if s.rec.Verified || s.rec.File != "/crash/vmcore.kdump" || !strings.Contains(strings.Join(s.rec.Failures, "\n"), "read the dump back: the page at") {
		t.Errorf("%+v", s.rec)
	}
}
