package unwind

import (
	"encoding/binary"
	"fmt"
	"testing"

	"procdump/image"
)

// assembler writes instructions of arm64.
type assembler struct{ code []uint32 }

func (a *assembler) emit(i ...uint32) { a.code = append(a.code, i...) }

// pair is stp or, by 1<<22, ldp: of x registers, or d ones, whose numbers are 100
// higher. before and after move the stack pointer.
const (
	loads     = 1 << 22
	inPlace   = 2 << 23
	movesDown = 3 << 23
	movesUp   = 1 << 23
)

func (a *assembler) pair(how uint32, reg, other, off int) {
	i := 0xa8000000 | how | uint32(off/8&0x7f)<<15 | uint32(other%100)<<10 | 31<<5 | uint32(reg%100)
	if reg >= 100 {
		i ^= 0xa8000000 ^ 0x6c000000
	}
	a.emit(i)
}

func (a *assembler) single(how uint32, reg, off int) {
	i := 0xf9000000 | how&loads | uint32(off/8)<<10 | 31<<5 | uint32(reg%100)
	switch how &^ loads {
	case movesDown:
		i = 0xf8000c00 | how&loads | uint32(off&0x1ff)<<12 | 31<<5 | uint32(reg%100)
	case movesUp:
		i = 0xf8000400 | how&loads | uint32(off&0x1ff)<<12 | 31<<5 | uint32(reg%100)
	}
	if reg >= 100 {
		i |= 1 << 26
	}
	a.emit(i)
}

// saving is an instruction that saves registers: one, or two.
type saving struct{ reg, other, off int }

// usual is a prolog of the form that packed data is for, and its epilog: Microsoft's
// "ARM64 exception handling", the table of its section on packed data.
func usual(regI, regF, cr int, homes bool, locals int) (prolog, epilog []uint32, size int) {
	ints, floats := regI, 0
	if cr == 1 {
		ints++
	}
	if regF > 0 {
		floats = regF + 1
	}
	area := 8 * (ints + floats)
	if homes && area > 0 {
		area += 64
	}
	area = (area + 15) &^ 15
	var all []saving
	i := 0
	for ; i+1 < regI; i += 2 {
		all = append(all, saving{19 + i, 20 + i, 8 * i})
	}
	switch odd := i < regI; {
	case odd && cr == 1:
		all = append(all, saving{19 + i, 30, 8 * i})
	case odd:
		all = append(all, saving{19 + i, 0, 8 * i})
	case cr == 1:
		all = append(all, saving{30, 0, 8 * i})
	}
	for i = 0; i+1 < floats; i += 2 {
		all = append(all, saving{108 + i, 109 + i, 8 * (ints + i)})
	}
	if i < floats {
		all = append(all, saving{108 + i, 0, 8 * (ints + i)})
	}
	var down, up assembler
	if cr == 2 {
		down.emit(0xd503237f)
	}
	alone := regI == 1 && cr == 1 // x19 and the link register cannot be saved and allocated for at once
	if alone {
		down.emit(0xd10003ff | uint32(area)<<10)
	}
	for k, s := range all {
		how, off := uint32(inPlace), s.off
		if k == 0 && !alone {
			how, off = movesDown, -area
		}
		if s.other != 0 {
			down.pair(how, s.reg, s.other, off)
		} else {
			down.single(how, s.reg, off)
		}
	}
	home := func(off int) {
		for k := 0; homes && k < 8; k += 2 {
			down.pair(inPlace, k, k+1, off+8*k)
		}
	}
	if area > 0 {
		home(8 * (ints + floats))
	}
	sub, add := func(n int) uint32 { return 0xd10003ff | uint32(n)<<10 }, func(n int) uint32 { return 0x910003ff | uint32(n)<<10 }
	allocate := func() {
		if locals > 4080 {
			down.emit(sub(4080), sub(locals-4080))
			up.emit(add(locals-4080), add(4080))
		} else if locals > 0 {
			down.emit(sub(locals))
			up.emit(add(locals))
		}
	}
	switch linked := cr >= 2; {
	case linked && locals <= 512:
		down.pair(movesDown, 29, 30, -locals)
		up.pair(movesUp|loads, 29, 30, locals)
	case linked:
		up.pair(inPlace|loads, 29, 30, 0)
		allocate()
		down.pair(inPlace, 29, 30, 0)
	default:
		allocate()
	}
	if cr >= 2 {
		down.emit(0x910003fd) // mov x29, sp
	}
	if area == 0 {
		home(16)
	}
	for k := len(all) - 1; k >= 0; k-- {
		s, how, off := all[k], uint32(inPlace|loads), all[k].off
		if k == 0 && !alone {
			how, off = movesUp|loads, area
		}
		if s.other != 0 {
			up.pair(how, s.reg, s.other, off)
		} else {
			up.single(how, s.reg, off)
		}
	}
	if alone {
		up.emit(add(area))
	}
	if cr == 2 {
		up.emit(0xd50323ff)
	}
	up.emit(0xd65f03c0)
	return down.code, up.code, area + locals
}

// TestWindowsARM64Packed walks to the caller at each instruction of functions that
// packed data is for, of every number of registers.
func TestWindowsARM64Packed(t *testing.T) {
	steps := 0
	for regI := range 11 {
		for _, regF := range []int{0, 1, 2, 6, 7} {
			for kind := range 8 {
				cr, homes := kind>>1, kind&1 != 0
				sizes := []int{0, 80, 496, 528, 4096} // by more than 504 no instruction raises the stack pointer that loads a pair
				for _, locals := range sizes {
					if locals == 0 && (cr >= 2 || homes) || locals == 80 && homes && regI+regF > 4 && cr < 2 {
						continue
					}
					steps += packedSteps(t, regI, regF, cr, homes, locals)
					if t.Failed() {
						return
					}
				}
			}
		}
	}
	if steps < 10000 {
		t.Errorf("%d steps", steps)
	}
	t.Logf("%d steps", steps)
}

func packedSteps(t *testing.T, regI, regF, cr int, homes bool, locals int) int {
	t.Helper()
	prolog, epilog, size := usual(regI, regF, cr, homes, locals)
	body := []uint32{0xd503201f, 0xd2800033, 0xd2800034, 0xd503201f} // it writes x19 and x20
	if regI < 2 {
		body = body[:1]
	}
	all := append(append(prolog, body...), epilog...)
	code := armWindowsCode()
	const begin, ret = 0x1200, windowsBase + 0x1804
	for i, w := range all {
		binary.LittleEndian.PutUint32(code[begin-codeAt+4*i:], w)
	}
	entry := 1 | uint32(len(all))<<2 | uint32(regF)<<13 | uint32(regI)<<16 | uint32(cr)<<21 | uint32(size/16)<<23
	if homes {
		entry |= 1 << 20
	}
	img := onARM64(windowsImage(code, entries(begin, entry), nil))
	u, _ := windowsProcess(t, img, nil, 0)
	p := *u.p
	p.Memory = memory{windowsBase: img}
	r := newRun(u, &p, windowsBase+begin, ret, 0x4000)
	u.p = &p
	u.set = image.NewSet(&p, image.Options{})
	defer u.set.Close()
	name := fmt.Sprintf("RegI %d, RegF %d, CR %d, H %v, %d bytes", regI, regF, cr, homes, size)
	r.all(t, name, func(addr uint64) uint32 {
		return binary.LittleEndian.Uint32(img[addr-windowsBase:])
	})
	return r.steps
}
