package space

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"procdump/kernel/rescue"
	"procdump/kernel/settings"
	"procdump/kernel/small"
	"procdump/kernel/superblock"
	"procdump/victims/need"
)

func TestAfterBoot(t *testing.T) {
	c := newCrashed(t)
	if r := c.boot(); r.Outcome != nil || len(c.log) > 0 {
		t.Errorf("without a crash: %+v", r)
	}
	c.record(good())
	dump := c.put("vmcore.kdump", kdumpHead)
	small := c.put("small/small_260301_115900.elf", ours())
	if !c.m.Status().Pending {
		t.Error("the record is not pending")
	}
	r := c.boot()
	if o := r.Outcome; o == nil || o.Dump != dump || o.Small != small || len(o.Notes) > 0 || !o.Seen.Equal(day0) {
		t.Fatalf("%+v", o)
	}
	want := "N the kernel crashed at " + clock(day0.Add(-time.Minute)) + " (sysrq triggered crash): automatic dump of 34.0 MB in " + dump + "; small dump " + small
	if len(c.log) != 1 || c.log[0] != want {
		t.Errorf("logged %q\nwant   %q", c.log, want)
	}
	if got := c.files(); got != "small/small_260301_115900.elf vmcore.kdump" {
		t.Error(got)
	}
	if r := c.boot(); r.Outcome != nil || len(c.log) != 1 {
		t.Errorf("again at the next boot: %+v", r)
	}
	// Space is set aside by what the dump took.
	c.m.Measure = nil
	c.m.Settings.Kind = settings.Kernel
	reserve(t, c.m)
	if s := c.m.Status(); s.EstimateBytes != 34*mib || s.Last == nil || s.Last.Dump != dump || s.Pending {
		t.Errorf("%+v", s)
	}
}

// TestBoots is the course of a machine with real files: each boot takes the
// record, and sets space aside.
func TestBoots(t *testing.T) {
	c := newCrashed(t)
	now := day0
	c.m.Now = func() time.Time { return now }
	c.m.Measure = func(context.Context) (Measure, error) { return Measure{Memory: 256 * mib, Estimate: 20 * mib}, nil }
	const estimated, dumped, whole = 112 * mib, 144 * mib, 272 * mib // the dump has 34 MiB
	boot := func(what string, want int64) {
		t.Helper()
		c.boot()
		reserve(t, c.m)
		st, err := os.Stat(filepath.Join(c.m.Settings.Folder, ReservedName))
		if err != nil || st.Size() != want {
			t.Fatalf("%s: %v, %v; want %s set aside", what, st, err, size(want))
		}
		if s := c.m.Status(); s.ReservedBytes < want || s.GrownUntil.IsZero() != (want != whole) {
			t.Errorf("%s: %+v", what, s)
		}
	}
	// crash is what the crash kernel does.
	crash := func(rec rescue.Record) {
		t.Helper()
		if err := os.Remove(filepath.Join(c.m.Settings.Folder, ReservedName)); err != nil {
			t.Fatal(err)
		}
		rec.Time, rec.Small = now, ""
		c.record(rec)
		if rec.File != "" {
			c.put("vmcore.kdump", kdumpHead)
		}
	}
	full := good()
	full.Kind, full.File, full.DiskBytes, full.NoSpace, full.NeededBytes = "", "", 0, true, 150*mib
	boot("first", estimated)
	now = now.Add(day)
	crash(good())
	boot("after a dump that fits", dumped)
	now = now.Add(day)
	crash(full)
	boot("after one that does not", whole)
	at := now
	now = at.Add(10 * day)
	crash(good())
	boot("after one that fits again", whole)
	now = at.Add(FourWeeks - time.Minute)
	boot("just before four weeks", whole)
	now = at.Add(FourWeeks)
	boot("four weeks after the one that did not", dumped)
	now = at.Add(10*day + FourWeeks)
	boot("four weeks after the last", estimated)
	if len(c.log) != 3 {
		t.Errorf("%d crashes logged: %q", len(c.log), c.log)
	}
}

// TestAfterBootSmallBeside has the crash kernel not reach the folder of small
// dumps.
func TestAfterBootSmallBeside(t *testing.T) {
	c := newCrashed(t)
	c.record(good())
	small := c.put("small_260301_115900.elf", ours())
	if o := c.boot().Outcome; o == nil || o.Small != small {
		t.Errorf("%+v, want %s", o, small)
	}
}

// TestAfterBootTwice has the machine fail between the state and the record.
func TestAfterBootTwice(t *testing.T) {
	c := newCrashed(t)
	c.record(good())
	c.put("vmcore.kdump", kdumpHead)
	c.boot()
	c.record(good())
	if r := c.boot(); r.Outcome != nil || len(c.log) != 1 {
		t.Errorf("%+v, %q", r, c.log)
	}
	if got := c.files(); got != "vmcore.kdump" {
		t.Error(got)
	}
	next := good()
	next.Time = day0
	c.record(next)
	if r := c.boot(); r.Outcome == nil || len(c.log) != 2 {
		t.Errorf("the next crash: %+v, %q", r, c.log)
	}
}

func TestAfterBootNoSpace(t *testing.T) {
	c := newCrashed(t)
	rec := good()
	rec.Kind, rec.File, rec.Verified, rec.NoSpace, rec.NeededBytes, rec.FreeBytes = "", "", false, true, 900*mib, 200*mib
	rec.SizeBytes, rec.DiskBytes = 0, 0
	c.record(rec)
	small := c.put("small/small_260301_115900.elf", ours())
	o := c.boot().Outcome
	if o == nil || o.Dump != "" || o.Small != small {
		t.Fatalf("%+v", o)
	}
	want := "no dump; the automatic dump found no room: it needed 900.0 MB, and 200.0 MB were free; small dump " + small
	if len(c.log) != 1 || !strings.HasPrefix(c.log[0], "W ") || !strings.HasSuffix(c.log[0], want) {
		t.Errorf("logged %q, want %q", c.log, want)
	}
	s := c.m.Status()
	if !s.LastCrashTime.Equal(rec.Time) || !s.GrownUntil.Equal(rec.Time.Add(FourWeeks)) {
		t.Errorf("%+v", s)
	}
	text := fmt.Sprint(s.Lines())
	if !strings.Contains(text, want) || !strings.Contains(text, "as large as memory until") {
		t.Errorf("status %s lacks %q", text, want)
	}
	if r := reserve(t, c.m); r.Bytes < gib {
		t.Errorf("%s set aside, less than the memory of 1 GB", size(r.Bytes))
	}
}

func TestAfterBootLowDisk(t *testing.T) {
	for _, low := range []struct {
		free int64
		keep bool
		kind settings.Kind
		gone bool
	}{{9 * gib, false, settings.Automatic, true}, {10 * gib, false, settings.Automatic, false}, {9 * gib, true, settings.Automatic, false}, {9 * gib, false, settings.Small, false}} {
		c := newCrashed(t)
		c.m.Settings.Keep = low.keep
		c.m.Disk = func(string) (Disk, error) { return Disk{Size: 100 * gib, Free: low.free}, nil }
		rec := good()
		if rec.Wanted = low.kind; low.kind == settings.Small {
			rec.Kind, rec.File = "", ""
		}
		c.record(rec)
		small := c.put("small/small_260301_115900.elf", ours())
		dump := c.put("vmcore.kdump", kdumpHead)
		o := c.boot().Outcome
		if o.Small != small || existing(small) == "" {
			t.Errorf("%+v: the small dump is gone", low)
		}
		if (existing(dump) == "") != low.gone || len(o.Notes) > 0 != low.gone {
			t.Errorf("%+v: %s, notes %q", low, c.files(), o.Notes)
		}
		if low.gone && (o.Dump != "" || !strings.Contains(fmt.Sprint(c.m.Status().Lines()), "set keep=true")) {
			t.Errorf("%+v: %v", low, c.m.Status().Lines())
		}
		if low.gone && !strings.Contains(c.log[0], "of the disk were free, less than 10.0 GB") {
			t.Errorf("%+v: %q", low, c.log)
		}
		if level := c.log[0][0]; level != 'N' && !low.gone {
			t.Errorf("%+v: %q", low, c.log)
		}
	}
}

// TestAfterBootForged has a record that names a file that is no dump, and one
// that another user has made.
func TestAfterBootForged(t *testing.T) {
	c := newCrashed(t)
	c.m.Disk = func(string) (Disk, error) { return Disk{Size: 100 * gib, Free: gib}, nil }
	rec := good()
	rec.File, rec.Small = "/crash/letter.txt", ""
	letter := c.put("letter.txt", []byte("Dear reader"))
	c.record(rec)
	c.boot()
	if existing(letter) == "" {
		t.Error("a file that is no dump was removed")
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can make files of other users")
	}
	rec.File = "/crash/vmcore.kdump"
	dump := c.put("vmcore.kdump", kdumpHead)
	c.record(rec)
	record := filepath.Join(c.m.Settings.Folder, rescue.RecordName)
	if err := os.Chown(record, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	r, err := c.m.AfterBoot()
	if err != nil || r.Outcome != nil || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "another user") {
		t.Errorf("%+v, %v", r, err)
	}
	if existing(dump) == "" || existing(record) == "" {
		t.Errorf("files are %s", c.files())
	}
	// On vfat all is one user's (mount(8), uid=).
	if err := os.Chown(c.m.Settings.Folder, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if r := c.boot(); r.Outcome == nil {
		t.Error("a record of whose folder it is is not heeded")
	}
}

// TestAfterBootPipe has something in the place of the record that waits for a
// writer.
func TestAfterBootPipe(t *testing.T) {
	c := newCrashed(t)
	if err := syscall.Mkfifo(filepath.Join(c.m.Settings.Folder, rescue.RecordName), 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r, err := c.m.AfterBoot()
		if err != nil || r.Outcome != nil || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "no file") {
			t.Errorf("%+v, %v", r, err)
		}
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("waits for the pipe")
	}
}

// TestTakeSmall: where the time of the crash is not known it is that of the boot.
func TestTakeSmall(t *testing.T) {
	c := newCrashed(t)
	want := filepath.Join(c.m.Settings.SmallFolder, "small_"+day0.Local().Format("060102_150405"))
	for _, end := range []string{".elf", "-1.elf"} {
		if got, err := c.m.takeSmall(&rescue.Record{}, c.m.Settings.SmallFolder, ours()); err != nil || got != want+end {
			t.Errorf("%s, %v; want %s", got, err, want+end)
		}
	}
}

func TestAfterBootPrunesSmall(t *testing.T) {
	c := newCrashed(t)
	c.m.Settings.SmallCount = 3
	var keep []string
	for _, name := range []string{"small_260228_235959.elf", "small_260301_000000.elf", "small_260301_100000.elf", "small_260301_100000-2.elf", "small_260301_100000-10.elf"} {
		c.put("small/"+name, ours())
	}
	// What is not ours by name or by content.
	for name, content := range map[string][]byte{"small_260101_000000.elf.bak": ours(), "notes.txt": nil, "small_260101_000001.elf": []byte("mine"),
		"small_260101_000002.elf": smallDump("CORE", small.NoteType), "small_260101_000003.elf": smallDump(small.NoteOwner, 1),
		"small_260101_000004.elf": append(ours(), make([]byte, small.MaxSize)...), "small_260101_000005.elf": ours()[:100]} {
		keep = append(keep, filepath.Base(c.put("small/"+name, content)))
	}
	if err := os.Symlink("small_260301_000000.elf", filepath.Join(c.m.Settings.SmallFolder, "small_250101_000000.elf")); err != nil {
		t.Fatal(err)
	}
	keep = append(keep, "small_250101_000000.elf", "small_260301_100000-10.elf", "small_260301_100000-2.elf", "small_260301_115900.elf")
	c.record(good())
	c.put("small/small_260301_115900.elf", ours())
	o := c.boot().Outcome
	var got []string
	entries, err := os.ReadDir(c.m.Settings.SmallFolder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		got = append(got, e.Name())
	}
	slices.Sort(keep)
	if !slices.Equal(got, keep) {
		t.Errorf("left are %q\nwant     %q", got, keep)
	}
	if len(o.Notes) != 1 || o.Notes[0] != "3 small dumps removed, as 3 are kept" {
		t.Errorf("%q", o.Notes)
	}
}

func TestAfterBootOverwrite(t *testing.T) {
	for _, overwrite := range []bool{true, false} {
		for _, verified := range []bool{true, false} {
			c := newCrashed(t)
			c.m.Settings.Overwrite, c.m.Settings.File = overwrite, "k_YYMMDD_HHMMSS.kdump"
			for name, content := range map[string][]byte{"k_260201_000000.kdump": kdumpHead, "k_260201_000000-1.kdump": kdumpHead, "k_260301_115900.kdump": kdumpHead,
				"k_260101_000000.kdump": []byte("mine"), "other.kdump": kdumpHead} {
				c.put(name, content)
			}
			rec := good()
			rec.File, rec.Small, rec.Verified = "/crash/k_260301_115900.kdump", "", verified
			c.record(rec)
			c.boot()
			want := "k_260101_000000.kdump k_260201_000000-1.kdump k_260201_000000.kdump k_260301_115900.kdump other.kdump"
			if overwrite && verified {
				want = "k_260101_000000.kdump k_260301_115900.kdump other.kdump"
			}
			if got := c.files(); got != want {
				t.Errorf("overwrite %v, verified %v: %s, want %s", overwrite, verified, got, want)
			}
		}
	}
}

// TestAfterBootElsewhere has the settings change between the crash and the boot.
func TestAfterBootElsewhere(t *testing.T) {
	c := newCrashed(t)
	reserve(t, c.m)
	c.record(good())
	dump := c.put("vmcore.kdump", kdumpHead)
	c.m.Settings.Folder, c.m.Settings.SmallFolder = t.TempDir(), t.TempDir()
	if !c.m.Status().Pending {
		t.Error("the record is not pending")
	}
	if o := c.boot().Outcome; o == nil || o.Dump != dump {
		t.Errorf("%+v", o)
	}
	// It may be in the folder of small dumps, if the other could not be had.
	next := good()
	next.Time = day0
	c.record(next)
	if err := os.Rename(filepath.Join(c.m.Settings.Folder, rescue.RecordName), filepath.Join(c.m.Settings.SmallFolder, rescue.RecordName)); err != nil {
		t.Fatal(err)
	}
	if !c.m.Status().Pending || c.boot().Outcome == nil || c.m.Status().Pending {
		t.Error("the record in the folder of small dumps is not taken")
	}
}

func TestAfterBootDamagedRecord(t *testing.T) {
	c := newCrashed(t)
	c.put(rescue.RecordName, []byte(`{"time": 3`))
	c.put("vmcore.kdump", kdumpHead)
	r, err := c.m.AfterBoot()
	if err != nil || len(r.Warnings) != 1 || r.Outcome == nil || len(c.log) != 1 || c.log[0][0] != 'W' {
		t.Errorf("%+v, %v, %q", r, err, c.log)
	}
	if got := c.files(); got != rescue.RecordName+".damaged vmcore.kdump" {
		t.Error(got)
	}
	if r := c.boot(); r.Outcome != nil {
		t.Errorf("%+v", r.Outcome)
	}
}

// TestAfterBootUnfinished has the crash kernel die at its work.
func TestAfterBootUnfinished(t *testing.T) {
	c := newCrashed(t)
	c.m.Settings.LogEvent = false
	c.record(rescue.Record{Wanted: settings.Automatic, Step: "write dump", Failures: []string{"the disk\nis \x1b[1mslow"}})
	o := c.boot().Outcome
	if len(c.log) > 0 {
		t.Errorf("logged without log_event: %q", c.log)
	}
	if want := "the kernel crashed: no dump, the crash kernel ended at: write dump; the disk is  [1mslow"; o.Event() != want {
		t.Errorf("%q, want %q", o.Event(), want)
	}
	b, err := os.ReadFile(c.m.StateFile)
	var s State
	if err != nil || json.Unmarshal(b, &s) != nil || s.Last == nil || !s.LastCrashTime.IsZero() {
		t.Errorf("%s, %v", b, err)
	}
}

// TestAfterBootDevice has the dump on a device without a file system, with the
// record and the small dump at its end.
func TestAfterBootDevice(t *testing.T) {
	need.Root(t)
	image := filepath.Join(t.TempDir(), "device")
	const deviceSize = 4 * mib
	if err := errors.Join(os.WriteFile(image, kdumpHead, 0o600), os.Truncate(image, deviceSize)); err != nil {
		t.Fatal(err)
	}
	device := need.LoopDevice(t, image)
	c := newCrashed(t)
	c.m.Settings.Folder = device
	if r := c.boot(); r.Outcome != nil {
		t.Errorf("without a crash: %+v", r.Outcome)
	}
	rec := good()
	rec.File, rec.Small, rec.SmallSizeBytes = device, device, int64(len(ours()))
	b, err := rec.Encode()
	if err != nil {
		t.Fatal(err)
	}
	tail := make([]byte, rescue.TailSize)
	binary.LittleEndian.PutUint64(tail[copy(tail, "procdump"):], uint64(len(b)))
	copy(tail[16:], b)
	copy(tail[rescue.TailSize-small.MaxSize:], ours())
	f, err := os.OpenFile(device, os.O_WRONLY|os.O_SYNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(tail, superblock.MarkOffset(deviceSize)+superblock.MarkSize); err != nil {
		t.Fatal(err)
	}
	f.Close()
	o := c.boot().Outcome
	want := filepath.Join(c.m.Settings.SmallFolder, "small_"+rec.Time.Local().Format("060102_150405")+".elf")
	if o == nil || o.Dump != device || o.Small != want {
		t.Fatalf("%+v, want the small dump %s", o, want)
	}
	if got, err := os.ReadFile(want); err != nil || !bytes.Equal(got, ours()) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if r := c.boot(); r.Outcome != nil || len(c.log) != 1 {
		t.Errorf("the record that stays on the device is taken for a new one: %+v", r.Outcome)
	}
	if r := reserve(t, c.m); r.Bytes != 0 || len(r.Warnings) > 0 {
		t.Errorf("%+v", r)
	}
}
