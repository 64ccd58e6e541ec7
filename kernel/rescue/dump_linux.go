package rescue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"procdump/internal/sys/machine"
	"procdump/kdump/diskdump"
	"procdump/kernel/capture"
	"procdump/kernel/dumped"
	"procdump/kernel/settings"
)

// smaller is the kind to take where another one finds no room.
var smaller = map[capture.Kind]capture.Kind{
	capture.Complete: capture.Active,
	capture.Active:   capture.Kernel,
}

// writeDump writes the dump of the kind that is wanted, or what there is room
// for.
func (s *session) writeDump() error {
	if s.place == nil || s.dump == nil {
		return nil
	}
	kind, err := capture.ParseKind(string(s.plan.Settings.Kind))
	if err != nil {
		return err
	}
	for {
		err := s.writeKind(kind)
		if !errors.Is(err, capture.ErrNoSpace) {
			return err
		}
		s.rec.NoSpace = true
		next, ok := smaller[kind]
		if !ok {
			return err
		}
		s.failed(err)
		kind = next
	}
}

// writeKind writes a dump of a kind. Where older dumps make way for new ones
// they do that before, if it is the only way to have room.
func (s *session) writeKind(kind capture.Kind) error {
	defer debug.FreeOSMemory()
	src := dumped.Open(s.dump, dumped.Options{NoTypes: kind == capture.Kernel || kind == capture.Automatic})
	o := capture.Options{Kind: kind, Overwrite: s.plan.Settings.Overwrite, Progress: s.progress()}
	if err := s.place.options(&o, s.plan.Settings.File); err != nil {
		return err
	}
	var err error
	if o.Compression, err = diskdump.ParseCompression(s.plan.Settings.Compression); err != nil {
		s.failed(err)
		o.Compression = diskdump.Snappy
	}
	j := capture.NewJob(src, o)
	defer func() { j.Discard() }()
	if err = j.Prepare(context.Background()); errors.Is(err, capture.ErrNoSpace) && s.makeWay(j.Plan.Estimate-j.Plan.Free) {
		j.Discard()
		j = capture.NewJob(src, o)
		err = j.Prepare(context.Background())
	}
	if s.rec.NeededBytes == 0 {
		s.rec.NeededBytes, s.rec.FreeBytes = j.Plan.Estimate, j.Plan.Free
	}
	for _, w := range src.Warnings() {
		s.failed(errors.New(w))
	}
	if err != nil {
		return err
	}
	s.log.printf("writing %s dump of %d MiB of memory, about %d MiB on disk", kind, j.Plan.Pages*uint64(s.dump.PageSize)>>20, j.Plan.Estimate>>20)
	res, err := j.Run(context.Background())
	if err != nil {
		return err
	}
	for _, w := range res.Warnings {
		s.failed(errors.New(w))
	}
	s.rec.Kind = settings.Kind(kind.String())
	if !src.Known() {
		s.rec.Kind = settings.Complete
	}
	s.rec.File, s.rec.SizeBytes, s.rec.DiskBytes, s.rec.Pages = s.place.name(res.Path), res.Size, res.Disk, res.Pages
	s.log.printf("%s dump of %d MiB in %s", s.rec.Kind, res.Size>>20, s.rec.File)
	if err := verify(res, src.Dump(), s.log.alive); err != nil {
		return fmt.Errorf("read the dump back: %w", err)
	}
	s.rec.Verified = true
	s.log.printf("the dump was read back and is right")
	return nil
}

// makeWay removes the dumps that the new one takes the place of, before there is
// a new one, if that makes room for so many bytes. It tells whether it did.
func (s *session) makeWay(need int64) bool {
	f, ok := s.place.(*folder)
	if !ok || !s.plan.Settings.Overwrite {
		return false
	}
	older := f.older(s.plan.Settings.File)
	var has int64
	for _, path := range older {
		if st, err := os.Stat(path); err == nil {
			has += st.Size()
		}
	}
	if has < need {
		return false
	}
	for _, path := range older {
		if err := os.Remove(path); err != nil {
			s.failed(fmt.Errorf("remove older dump: %w", err))
			continue
		}
		s.log.printf("the older dump %s makes way", f.name(path))
	}
	return machine.SyncFS(f.root) == nil
}

// progress returns a function that tells every ten seconds how far a dump is.
func (s *session) progress() func(done, total uint64) {
	last := time.Now()
	return func(done, total uint64) {
		s.log.alive()
		if time.Since(last) > 10*time.Second {
			last = time.Now()
			s.log.printf("%d of %d MiB", done>>20, total>>20)
		}
	}
}
