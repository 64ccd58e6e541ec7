package unwind

// ruleKind is how a register of the caller is found.
type ruleKind uint8

const (
	unspecified  ruleKind = iota
	undefined             // it is lost
	sameValue             // it was not changed
	atOffset              // it lies at the CFA plus offset
	isOffset              // it is the CFA plus offset
	inRegister            // it is in another register
	atExpression          // it lies where the expression says
	isExpression          // it is what the expression says
)

// rule is how one register of the caller is found.
type rule struct {
	kind ruleKind
	off  int64  // atOffset, isOffset; inRegister: its number
	expr []byte // atExpression, isExpression
}

// row is what call frame information says for one address: how to find the
// canonical frame address, and from it the caller's registers.
type row struct {
	cfaReg  uint64
	cfaOff  int64
	cfaExpr []byte // in place of these two
	rules   [maxColumns]rule
	ra      uint64
	signal  bool
	// symbols tells that the row is a symbol file's, and last that it is of code
	// that nobody calls.
	symbols, last bool
	signed        bool // the return address has a pointer authentication code
}

// maxRemembered bounds DW_CFA_remember_state.
const maxRemembered = 64

// program runs the instructions of an FDE up to an address.
type program struct {
	row
	f       *fde
	word    int
	loc     uint64
	initial [maxColumns]rule
	stack   []row
}

// rowAt returns what holds at an address that the FDE covers.
func (f *fde) rowAt(pc uint64, word int, data uint64) (*row, error) {
	p := &program{f: f, word: word, loc: f.start}
	p.ra, p.signal = f.ra, f.signal
	if _, err := p.run(f.cie.instructions, ^uint64(0), data); err != nil {
		return nil, err
	}
	p.initial = p.rules
	p.loc = f.start
	if _, err := p.run(f.instructions, pc, data); err != nil {
		return nil, err
	}
	if p.ra >= maxColumns {
		return nil, errFormat
	}
	return &p.row, nil
}

// run runs instructions until one advances the location beyond pc; done tells
// that one did.
func (p *program) run(code []byte, pc, data uint64) (done bool, err error) {
	r := &reader{b: code, word: p.word, data: data}
	for len(r.b) > 0 {
		op := r.u8()
		if delta, ok := p.advance(r, op); ok {
			if r.bad {
				return false, errFormat
			}
			if p.loc += delta; p.loc > pc {
				return true, nil
			}
			continue
		}
		if !p.instruction(r, op) || r.bad {
			return false, errFormat
		}
	}
	return false, nil
}

// advance handles the instructions that change the location.
func (p *program) advance(r *reader, op byte) (delta uint64, ok bool) {
	switch {
	case op&0xc0 == 0x40:
		delta = uint64(op & 0x3f)
	case op == 0x02:
		delta = uint64(r.u8())
	case op == 0x03:
		delta = r.u16()
	case op == 0x04:
		delta = r.u32()
	case op == 0x01: // DW_CFA_set_loc; compilers do not write it
		r.bad = true
		return 0, true
	default:
		return 0, false
	}
	return delta * p.f.codeAlign, true
}

// setRule sets how a register is found. Those beyond the table (vector
// registers, flags) are of no use to a caller.
func (p *program) setRule(reg uint64, r rule) {
	if reg < maxColumns {
		p.rules[reg] = r
	}
}

func (p *program) factored(r *reader) int64 { return int64(r.uleb()) * p.f.dataAlign }

// instruction handles the others (DWARF 5, 6.4.2 and 7.24).
func (p *program) instruction(r *reader, op byte) bool {
	low := uint64(op & 0x3f)
	switch op & 0xc0 {
	case 0x80: // DW_CFA_offset
		p.setRule(low, rule{kind: atOffset, off: p.factored(r)})
		return true
	case 0xc0: // DW_CFA_restore
		p.restore(low)
		return true
	}
	switch op {
	case 0x00: // DW_CFA_nop
	case 0x05: // DW_CFA_offset_extended
		reg := r.uleb()
		p.setRule(reg, rule{kind: atOffset, off: p.factored(r)})
	case 0x06: // DW_CFA_restore_extended
		p.restore(r.uleb())
	case 0x07: // DW_CFA_undefined
		p.setRule(r.uleb(), rule{kind: undefined})
	case 0x08: // DW_CFA_same_value
		p.setRule(r.uleb(), rule{kind: sameValue})
	case 0x09: // DW_CFA_register
		reg := r.uleb()
		p.setRule(reg, rule{kind: inRegister, off: int64(r.uleb())})
	case 0x0a: // DW_CFA_remember_state
		if len(p.stack) == maxRemembered {
			return false
		}
		p.stack = append(p.stack, p.row)
	case 0x0b: // DW_CFA_restore_state
		n := len(p.stack)
		if n == 0 {
			return false
		}
		p.row, p.stack = p.stack[n-1], p.stack[:n-1]
	case 0x10: // DW_CFA_expression
		reg := r.uleb()
		p.setRule(reg, rule{kind: atExpression, expr: r.bytes(r.uleb())})
	case 0x11: // DW_CFA_offset_extended_sf
		reg := r.uleb()
		p.setRule(reg, rule{kind: atOffset, off: r.sleb() * p.f.dataAlign})
	case 0x14: // DW_CFA_val_offset
		reg := r.uleb()
		p.setRule(reg, rule{kind: isOffset, off: p.factored(r)})
	case 0x15: // DW_CFA_val_offset_sf
		reg := r.uleb()
		p.setRule(reg, rule{kind: isOffset, off: r.sleb() * p.f.dataAlign})
	case 0x16: // DW_CFA_val_expression
		reg := r.uleb()
		p.setRule(reg, rule{kind: isExpression, expr: r.bytes(r.uleb())})
	case 0x2c, 0x2d: // DW_CFA_AARCH64_negate_ra_state_with_pc, DW_CFA_AARCH64_negate_ra_state
		p.signed = !p.signed
	case 0x2e: // DW_CFA_GNU_args_size
		r.uleb()
	case 0x2f: // DW_CFA_GNU_negative_offset_extended
		reg := r.uleb()
		p.setRule(reg, rule{kind: atOffset, off: -p.factored(r)})
	default:
		return p.cfa(r, op)
	}
	return true
}

// cfa handles the instructions that say where the canonical frame address is.
func (p *program) cfa(r *reader, op byte) bool {
	switch op {
	case 0x0c: // DW_CFA_def_cfa
		p.cfaReg, p.cfaOff, p.cfaExpr = r.uleb(), int64(r.uleb()), nil
	case 0x0d: // DW_CFA_def_cfa_register
		p.cfaReg, p.cfaExpr = r.uleb(), nil
	case 0x0e: // DW_CFA_def_cfa_offset
		p.cfaOff, p.cfaExpr = int64(r.uleb()), nil
	case 0x0f: // DW_CFA_def_cfa_expression
		p.cfaExpr = r.bytes(r.uleb())
		return p.cfaExpr != nil
	case 0x12: // DW_CFA_def_cfa_sf
		p.cfaReg, p.cfaOff, p.cfaExpr = r.uleb(), r.sleb()*p.f.dataAlign, nil
	case 0x13: // DW_CFA_def_cfa_offset_sf
		p.cfaOff, p.cfaExpr = r.sleb()*p.f.dataAlign, nil
	default:
		return false
	}
	return true
}

func (p *program) restore(reg uint64) {
	if reg < maxColumns {
		p.rules[reg] = p.initial[reg]
	}
}
