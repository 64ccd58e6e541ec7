package images

import (
	"slices"
	"time"
)

// tracker knows the images of a process and turns changes of its mappings into
// events.
type tracker struct {
	images []*image
	emit   func(Event)
}

// fileID is what makes a file the same file.
type fileID struct{ device, inode uint64 }

type span struct{ start, end uint64 }

type image struct {
	file  fileID
	event Event  // with which it was mapped
	left  []span // of its executable part
}

// mapped takes note of an executable mapping of a file. What was there before
// is gone.
func (t *tracker) mapped(file fileID, s span, path string, at time.Time) {
	t.unmapped(s, at)
	t.put(file, s, path, at)
}

// put is mapped without the forgetting.
func (t *tracker) put(file fileID, s span, path string, at time.Time) {
	for _, i := range t.images {
		if i.file != file {
			continue
		}
		for _, l := range i.left {
			if s.start <= l.end && l.start <= s.end {
				i.left = append(i.left, s)
				return
			}
		}
	}
	e := Event{Kind: Mapped, Path: path, Addr: s.start, Size: s.end - s.start, Time: at}
	t.images = append(t.images, &image{file: file, event: e, left: []span{s}})
	if t.emit != nil {
		t.emit(e)
	}
}

// unmapped takes note that nothing is left of what was mapped there.
func (t *tracker) unmapped(s span, at time.Time) {
	t.images = slices.DeleteFunc(t.images, func(i *image) bool {
		before := i.left
		i.left = nil
		for _, l := range before {
			if l.start < s.start {
				i.left = append(i.left, span{l.start, min(l.end, s.start)})
			}
			if l.end > s.end {
				i.left = append(i.left, span{max(l.start, s.end), l.end})
			}
		}
		if len(i.left) > 0 {
			return false
		}
		e := i.event
		e.Kind, e.Time = Unmapped, at
		if t.emit != nil {
			t.emit(e)
		}
		return true
	})
}

// knows tells whether the whole of the span belongs to one image of the file.
func (t *tracker) knows(file fileID, s span) bool {
	return slices.ContainsFunc(t.images, func(i *image) bool {
		return i.file == file && slices.ContainsFunc(i.left, func(l span) bool { return l.start <= s.start && s.end <= l.end })
	})
}

// sync brings the tracker to what the process has mapped now.
func (t *tracker) sync(now []mapping, at time.Time) {
	is := &tracker{}
	for _, m := range now {
		is.put(m.file, m.span, m.path, at)
	}
	var gone []span
	for _, i := range t.images {
		for _, l := range i.left {
			gone = append(gone, is.uncovered(i.file, l)...)
		}
	}
	for _, s := range gone {
		t.unmapped(s, at)
	}
	for _, m := range now {
		if !t.knows(m.file, m.span) {
			t.put(m.file, m.span, m.path, at)
		}
	}
}

// uncovered returns what of s belongs to no image of the file.
func (t *tracker) uncovered(file fileID, s span) []span {
	rest := &tracker{images: []*image{{file: file, left: []span{s}}}}
	for _, i := range t.images {
		if i.file == file {
			for _, l := range i.left {
				rest.unmapped(l, time.Time{})
			}
		}
	}
	if len(rest.images) == 0 {
		return nil
	}
	return rest.images[0].left
}
