package interp

import "strings"

// Types of values, and their flags (sv.h, cv.h).
const (
	valueType = 0xff
	isGlob    = 9         // SVt_PVGV
	isHash    = 12        // SVt_PVHV
	isCode    = 13        // SVt_PVCV
	hasGlob   = 0x8000    // SVpgv_GP
	hasMore   = 0x2000000 // SVf_OOK: a hash has struct xpvhv_aux
	isNamed   = 0x8000    // CVf_NAMED: a subroutine has a name instead of a glob
	maxKnown  = 1 << 16   // names that are remembered
)

// subroutine is the name of a subroutine (CV): of its glob or its own, after
// that of its package.
func (w *perl) subroutine(cv uint64) string {
	name, ok := w.names[cv]
	if !ok {
		if name = w.readSubroutine(cv); name == "" {
			name = "<unknown>"
		}
		if len(w.names) < maxKnown {
			w.names[cv] = name
		}
	}
	return name
}

func (w *perl) readSubroutine(cv uint64) string {
	if cv == 0 || w.u32(cv+0xc)&valueType != isCode {
		return ""
	}
	body := w.u64(cv)
	name, stash := w.u64(body+0x38), w.u64(body+0x20) // xcv_gv_u, xcv_stash
	if w.u32(body+0x5c)&isNamed == 0 {
		name, stash = w.glob(name)
	}
	s := w.key(name)
	if p := w.packageName(stash); p != "" && s != "" {
		s = p + "::" + s
	}
	return s
}

// glob returns where the name and the package of a glob (GV) are: of the one
// that it was before it got other names.
func (w *perl) glob(gv uint64) (name, stash uint64) {
	const whole = valueType | hasGlob
	if gv == 0 || w.u32(gv+0xc)&whole != isGlob|hasGlob {
		return 0, 0
	}
	if first := w.u64(w.u64(gv+0x10) + 0x38); first != 0 && w.u32(first+0xc)&valueType == isGlob { // gp_egv
		gv = first
	}
	body := w.u64(gv)
	return w.u64(body + 0x20), w.u64(body + 0x28) // xivu_namehek, xgv_stash
}

// packageName is the name of a package's hash (HV), in struct xpvhv_aux (hv.h).
func (w *perl) packageName(hv uint64) string {
	const whole = valueType | hasMore
	if hv == 0 || w.u32(hv+0xc)&whole != isHash|hasMore {
		return ""
	}
	more := w.u64(hv) + 0x20
	name, count := w.u64(more), int32(w.u32(more+0x1c))
	switch { // several names, the first of which may be missing
	case count > 0:
		name = w.u64(name)
	case count < 0:
		name = w.u64(name + 8)
	}
	return w.key(name)
}

// key is a key of a hash (HEK): u32 hash, i32 length, its bytes.
func (w *perl) key(hek uint64) string {
	if hek == 0 {
		return ""
	}
	n := int32(w.u32(hek + 4))
	if n <= 0 || n > maxName {
		return ""
	}
	return w.text(hek+8, uint64(n))
}

// placeOf is where a statement (COP) stands.
func (w *perl) placeOf(cop uint64) place {
	if cop == 0 || cop%8 != 0 {
		return place{}
	}
	p, ok := w.where[cop]
	if ok {
		return p
	}
	p.line = int(int32(w.u32(cop + 0x24)))
	file := w.u64(cop + 0x30)
	if w.symbols["PL_thr_key"].Addr != 0 {
		p.file = w.cString(file)
	} else { // Perl without threads has a glob of that name
		name, _ := w.glob(file)
		p.file = strings.TrimPrefix(w.key(name), "_<")
	}
	if len(w.where) < maxKnown {
		w.where[cop] = p
	}
	return p
}
