package pe

// packedEntry is what tells in an entry of the table itself how to leave a function of
// arm64 whose prolog has the usual form:
//
//	bit  0     packedFunction or packedFragment
//	     2     instructions of the function (11 bits)
//	    13     RegF: if not 0, d8 to d8+RegF are saved (3)
//	    16     RegI: that many registers from x19 on are saved (4)
//	    20     H: x0 to x7 are stored, too
//	    21     CR: what becomes of x29 and the link register (2)
//	    23     bytes of the stack / 16 (9)
type packedEntry uint32

// Values of CR.
const (
	unchained = 0
	savedLink = 1
	signed    = 2 // as chained, and the return address is signed
	chained   = 3 // x29 and the link register are saved, and x29 points there
)

const (
	maxRegI       = 10
	maxSub        = 4080 // bytes that the usual prolog allocates by one instruction
	maxPreIndexed = 512  // bytes that an instruction that saves a pair can allocate
)

func (p packedEntry) length() uint32 { return uint32(p) >> 2 & (1<<11 - 1) }

// record expands packed data to codes. The order is that in which the prolog is
// undone; that is an epilog, too, but without what sets x29 and stores
// parameters.
func (p packedEntry) record() (*record, bool) {
	regF, regI, cr := int(p>>13&7), int(p>>16&15), int(p>>21&3)
	linked := cr == signed || cr == chained
	ints, floats := regI, 0
	if cr == savedLink {
		ints++
	}
	if regF != 0 {
		floats = regF + 1
	}
	// Parameters are stored beside saved registers; without these, after the
	// prolog.
	home := p>>20&1 != 0 && ints+floats > 0
	saved := ints + floats
	if home {
		saved += 8
	}
	saved = (saved + 1) &^ 1 * 8 // bytes
	locals := int(p>>23)*16 - saved
	if regI > maxRegI || locals < 0 || linked && locals == 0 {
		return nil, false
	}
	var body codes
	switch {
	case linked && locals <= maxPreIndexed:
		body.add(saveFPLRX | byte(locals/8-1))
	case linked:
		body.add(saveFPLR)
		body.alloc(locals)
	case locals > 0:
		body.alloc(locals)
	}
	var saves codes
	saves.floats(floats, ints, saved)
	saves.ints(regI, cr == savedLink, saved)
	if cr == signed {
		saves.add(pacSignLR)
	}
	saves.add(end)

	r := &record{length: p.length()}
	if p&3 == packedFragment {
		r.codes.add(endC)
	}
	if linked {
		r.codes.add(setFP)
	}
	r.codes = append(r.codes, body...)
	if home {
		r.codes.add(nop, nop, nop, nop)
	}
	r.codes = append(r.codes, saves...)
	if p&3 == packedFunction {
		r.atEnd, r.epilog = true, uint32(len(r.codes))
		r.codes = append(append(r.codes, body...), saves...)
	}
	return r, true
}

// codes are those of a record.
type codes []byte

func (c *codes) add(b ...byte) { *c = append(*c, b...) }

// alloc adds what undoes the allocation of a number of bytes.
func (c *codes) alloc(n int) {
	one := func(n int) {
		if n < 512 {
			c.add(allocS | byte(n/16))
		} else {
			c.add(allocM|byte(n/16>>8), byte(n/16))
		}
	}
	if n > maxSub {
		one(n - maxSub)
		n = maxSub
	}
	one(n)
}

// floats adds those of registers from d8 on, which lie behind ints other words.
// The first instruction that saves a register allocates.
func (c *codes) floats(n, ints, size int) {
	if n%2 != 0 {
		c.add(saveFReg|byte((n-1)>>2), byte(n-1)<<6|byte(ints+n-1))
		n--
	}
	for n -= 2; n >= 0; n -= 2 {
		if n+ints == 0 {
			c.add(saveFRegPX, byte(size/8-1))
		} else {
			c.add(saveFRegP|byte(n>>2), byte(n)<<6|byte(ints+n))
		}
	}
}

// ints adds those of registers from x19 on, and of the link register behind them.
func (c *codes) ints(n int, link bool, size int) {
	const lr = 30 - 19
	switch {
	case link && n == 0:
		c.add(saveRegX|lr>>3, lr<<5&0xff|byte(size/8-1))
	case link && n%2 == 0:
		c.add(saveReg|lr>>2, lr<<6&0xff|byte(n))
	case link:
		n--
		c.add(saveLRPair|byte(n/2>>2), byte(n/2)<<6|byte(n))
		if n == 0 { // no code both saves that pair and allocates
			c.add(allocS | byte(size/16))
		}
	case n%2 != 0:
		n--
		if n == 0 {
			c.add(saveRegX, byte(size/8-1))
		} else {
			c.add(saveReg|byte(n>>2), byte(n)<<6|byte(n))
		}
	}
	for n -= 2; n >= 0; n -= 2 {
		if n == 0 {
			c.add(saveRegPX, byte(size/8-1))
		} else {
			c.add(saveRegP|byte(n>>2), byte(n)<<6|byte(n))
		}
	}
}
