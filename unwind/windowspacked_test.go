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

// savings are those of a prolog, in its order.
func savings(regI, floats int, link bool) []saving {
	var all []saving
	i := 0
	for ; i+1 < regI; i += 2 {
		all = append(all, saving{19 + i, 20 + i, 8 * i})
	}
	ints := regI
	switch odd := i < regI; {
	case odd && link:
		all = append(all, saving{19 + i, 30, 8 * i})
	case odd:
		all = append(all, saving{19 + i, 0, 8 * i})
	case link:
		all = append(all, saving{30, 0, 8 * i})
	}
	if link {
		ints++
	}
	for i = 0; i+1 < floats; i += 2 {
		all = append(all, saving{108 + i, 109 + i, 8 * (ints + i)})
	}
	if i < floats {
		all = append(all, saving{108 + i, 0, 8 * (ints + i)})
	}
	return all
}

func (a *assembler) save(how uint32, s saving, off int) {
	if s.other != 0 {
		a.pair(how, s.reg, s.other, off)
	} else {
		a.single(how, s.reg, off)
	}
}

// homes stores the parameters.
func (a *assembler) homes(off int) {
	for k := 0; k < 8; k += 2 {
		a.pair(inPlace, k, k+1, off+8*k)
	}
}

func (a *assembler) sub(n int) { a.emit(0xd10003ff | uint32(n)<<10) }
func (a *assembler) add(n int) { a.emit(0x910003ff | uint32(n)<<10) }

// locals allocates what is not for saved registers, and frees it.
func locals(down, up *assembler, n int, linked bool) {
	switch {
	case linked && n <= 512:
		down.pair(movesDown, 29, 30, -n)
		up.pair(movesUp|loads, 29, 30, n)
		return
	case linked:
		up.pair(inPlace|loads, 29, 30, 0)
	}
	if n > 4080 {
		down.sub(4080)
		down.sub(n - 4080)
		up.add(n - 4080)
		up.add(4080)
	} else if n > 0 {
		down.sub(n)
		up.add(n)
	}
	if linked {
		down.pair(inPlace, 29, 30, 0)
	}
}

// usual is a prolog of the form that packed data is for, and its epilog: Microsoft's
// "ARM64 exception handling", the table of its section on packed data.
func usual(regI, regF, cr int, homes bool, room int) (prolog, epilog []uint32, size int) {
	floats := 0
	if regF > 0 {
		floats = regF + 1
	}
	all := savings(regI, floats, cr == 1)
	words := regI + floats
	if cr == 1 {
		words++
	}
	area := 8 * words
	if homes && area > 0 {
		area += 64
	}
	area = (area + 15) &^ 15
	var down, up assembler
	if cr == 2 {
		down.emit(0xd503237f) // pacibsp
	}
	alone := regI == 1 && cr == 1 // x19 and the link register cannot be saved and allocated for at once
	if alone {
		down.sub(area)
	}
	for k, s := range all {
		if k == 0 && !alone {
			down.save(movesDown, s, -area)
		} else {
			down.save(inPlace, s, s.off)
		}
	}
	if homes && area > 0 {
		down.homes(8 * words)
	}
	locals(&down, &up, room, cr >= 2)
	if cr >= 2 {
		down.emit(0x910003fd) // mov x29, sp
	}
	if homes && area == 0 {
		down.homes(16)
	}
	for k := len(all) - 1; k >= 0; k-- {
		if k == 0 && !alone {
			up.save(movesUp|loads, all[k], area)
		} else {
			up.save(inPlace|loads, all[k], all[k].off)
		}
	}
	if alone {
		up.add(area)
	}
	if cr == 2 {
		up.emit(0xd50323ff) // autibsp
	}
	up.emit(0xd65f03c0) // ret
	return down.code, up.code, area + room
}

// TestWindowsARM64Packed walks to the caller at each instruction of functions that
// packed data is for, of every number of registers.
func TestWindowsARM64Packed(t *testing.T) {
	steps := 0
	for regI := range 11 {
		for _, regF := range []int{0, 1, 2, 6, 7} {
			for kind := range 8 {
				cr, homes := kind>>1, kind&1 != 0
				// An instruction that loads a pair raises the stack pointer by 504 bytes at most.
				sizes := []int{0, 80, 496, 528, 4096}
				for _, room := range sizes {
					if room == 0 && (cr >= 2 || homes) {
						continue
					}
					steps += packedSteps(t, regI, regF, cr, homes, room)
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

func packedSteps(t *testing.T, regI, regF, cr int, homes bool, room int) int {
	t.Helper()
	prolog, epilog, size := usual(regI, regF, cr, homes, room)
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
