package symbols

import (
	"bytes"
	"debug/dwarf"

	"procdump/image"
)

// supplement is debug information that files share: dwz has put it into another
// file. It has entries and strings, and no code.
type supplement struct {
	d    *dwarf.Data
	text []byte // .debug_str
}

// addSupplement opens what an image's debug information refers to in another
// file, if it does.
func (x *debug) addSupplement(im *image.Image, f *image.File, budget *uint64) error {
	s := im.Supplement(f)
	if s == nil {
		return nil
	}
	d, data, err := openData(s, budget)
	if err != nil {
		return err
	}
	x.alt = &supplement{d, data["str"]}
	return nil
}

// string is an attribute's text, from the supplement if it lies there.
func (x *debug) string(e *dwarf.Entry, a dwarf.Attr) string {
	switch f := e.AttrField(a); {
	case f == nil:
	case f.Class == dwarf.ClassString:
		s, _ := f.Val.(string)
		return s
	case f.Class == dwarf.ClassStringAlt && x.alt != nil:
		if off, ok := f.Val.(int64); ok && off >= 0 && off < int64(len(x.alt.text)) {
			s, _, _ := bytes.Cut(x.alt.text[off:], []byte{0})
			return string(s)
		}
	}
	return ""
}

// linkageName is the name that an entry states for linkers, or "".
func (x *debug) linkageName(e *dwarf.Entry) string {
	if s := x.string(e, dwarf.AttrLinkageName); s != "" {
		return s
	}
	return x.string(e, attrMIPSLinkageName)
}

// refer returns the entry that an attribute refers to, and whose it is: an entry
// of the data d. nil: there is none.
func (x *debug) refer(d *dwarf.Data, e *dwarf.Entry, a dwarf.Attr) (*dwarf.Data, *dwarf.Entry) {
	f := e.AttrField(a)
	if f == nil {
		return nil, nil
	}
	var at dwarf.Offset
	switch v := f.Val.(type) {
	case dwarf.Offset:
		at = v
	case int64:
		if f.Class != dwarf.ClassReferenceAlt || x.alt == nil || v < 0 || v > 1<<32-1 {
			return nil, nil
		}
		d, at = x.alt.d, dwarf.Offset(v)
	default:
		return nil, nil
	}
	r := d.Reader()
	r.Seek(at)
	to, err := r.Next()
	if err != nil || to == nil {
		return nil, nil
	}
	return d, to
}
