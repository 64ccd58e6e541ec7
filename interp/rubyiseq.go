package interp

import (
	"encoding/binary"
	"math/bits"

	"procdump/snapshot"
)

// rubyISeq are the instructions of a method, a block or a file: struct
// rb_iseq_constant_body (vm_core.h).
type rubyISeq struct {
	label, file string
	code        uint64 // its first instruction
	words       uint64 // of instructions
	lines       uint64 // struct iseq_insn_info_entry [count]
	count       uint64
	position    uint64 // struct succ_index_table: from an instruction to the number of its entry
}

const (
	isString    = 5       // RUBY_T_STRING
	isArray     = 7       // RUBY_T_ARRAY
	typeMask    = 0x1f    // RUBY_T_MASK
	flagUser1   = 1 << 13 // RUBY_FL_USER1: a string is elsewhere; an array is not
	lineEntry   = 12      // bytes of struct iseq_insn_info_entry
	maxLines    = 1 << 24 // entries
	imemoMethod = 6       // imemo_ment
	imemoSVar   = 2       // imemo_svar
	symbolIDs   = 16      // offset of ids in rb_symbols_t
	idUnit      = 512     // IDs in each array of names (ID_ENTRY_UNIT)
)

func (r *ruby) readISeq(iseq uint64) *rubyISeq {
	const (
		body     = 16
		size     = 4
		code     = 8
		location = 64 // rb_iseq_location_t: pathobj, base_label, label
	)
	b := r.u64(iseq + body)
	q := &rubyISeq{words: uint64(r.u32(b + size)), code: r.u64(b + code), lines: r.u64(b + r.lines),
		count: uint64(r.u32(b + r.lineCount)), position: r.u64(b + r.linePosition)}
	q.file, q.label = r.path(r.u64(b+location)), r.string(r.u64(b+location+16))
	return q
}

// path is the path of a file; an array has the one it was asked for by and the
// absolute one, which files have that are not made up.
func (r *ruby) path(v uint64) string {
	if data, n := r.array(v); n == 2 {
		if real := r.string(r.u64(data + 8)); real != "" {
			return real
		}
		return r.string(r.u64(data))
	}
	return r.string(v)
}

// flags are the first word of an object (struct RBasic); v may be none.
func (r *ruby) flags(v uint64) uint64 {
	if v == 0 || v%8 != 0 {
		return 0
	}
	return r.u64(v)
}

// array returns where an array's elements are, and how many.
func (r *ruby) array(v uint64) (data, n uint64) {
	flags := r.flags(v)
	switch {
	case flags&typeMask != isArray:
		return 0, 0
	case flags&flagUser1 != 0:
		const lengthShift, lengthMask = 15, 0x7f
		return v + 16, flags >> lengthShift & lengthMask
	}
	return r.u64(v + 32), r.u64(v + 16)
}

// string returns a string, "" of what is none.
func (r *ruby) string(v uint64) string {
	flags := r.flags(v)
	switch {
	case flags&typeMask != isString:
		return ""
	case flags&flagUser1 != 0:
		return r.text(r.u64(v+24), r.u64(v+16))
	case r.embedded == 16: // before Ruby 3.2 the length is in the flags
		const lengthShift, lengthMask = 14, 0x1f
		return r.text(v+16, flags>>lengthShift&lengthMask)
	}
	return r.text(v+r.embedded, r.u64(v+16))
}

// line is the line that the instruction before pc belongs to, 0 if it is not
// known.
func (q *rubyISeq) line(r *ruby, pc uint64) int {
	at := (pc - q.code) / 8
	if pc < q.code || at > q.words || q.count == 0 || q.count > maxLines {
		return 0
	}
	if at > 0 {
		at-- // pc is where it goes on
	}
	i := uint64(1)
	if q.count > 1 {
		if i = r.rank(q.position, at); i == 0 || i > q.count {
			return 0
		}
	}
	return int(int32(r.u32(q.lines + (i-1)*lineEntry)))
}

// rank is how many entries begin at or before an instruction. The table
// (struct succ_index_table, iseq.c) has 7 bits for each of the first
// instructions, nine in a word; of the others blocks of a bit for each:
//
//	u64 direct[6]
//	{u32 rank; u64 ranks of the eight words, 9 bits each but the first's; u64 bits[8]}…
func (r *ruby) rank(table, at uint64) uint64 {
	const (
		perWord, width   = 9, 7
		direct           = 6 * perWord
		block            = 8 + 8 + 64 // bytes
		perBlock         = 512        // instructions
		wordRank, rank9s = 9, 0x1ff
	)
	if table == 0 {
		return 0
	}
	if at < direct {
		return r.u64(table+at/perWord*8) >> (at % perWord * width) & (1<<width - 1)
	}
	at -= direct
	b := table + direct/perWord*8 + at/perBlock*block
	word, bit := at%perBlock/64, at%64
	n := uint64(r.u32(b))
	if word > 0 {
		n += r.u64(b+8) >> ((word - 1) * wordRank) & rank9s
	}
	return n + uint64(bits.OnesCount64(r.u64(b+16+word*8)<<(63-bit)))
}

// method is the name of the method in C that a frame with that environment runs.
func (r *ruby) method(ep uint64) string {
	const unknown = "<method in C>"
	entry := r.u64(ep - 16) // VM_ENV_DATA_INDEX_ME_CREF
	if kind := r.imemo(entry); kind == imemoSVar {
		entry = r.u64(entry + 8)
	}
	if r.imemo(entry) != imemoMethod {
		r.failed = false
		return unknown
	}
	definition := r.u64(entry + 16)
	name := r.id(r.u64(definition + 32)) // original_id
	if r.failed || name == "" {
		r.failed = false
		return unknown
	}
	return name
}

// imemo is the kind of an object that is none of the program's (internal/imemo.h).
func (r *ruby) imemo(v uint64) uint64 { return r.flags(v) >> 12 & 0xf }

// id is the name that stands behind an ID (symbol.c).
func (r *ruby) id(id uint64) string {
	const scopeBits = 4
	if id > r.operators {
		id >>= scopeBits
	}
	if !r.idsOK {
		r.ids, r.idsOK = r.findIDs(), true
	}
	data, n := r.array(r.ids)
	if id/idUnit >= n {
		return ""
	}
	data, n = r.array(r.u64(data + id/idUnit*8))
	if i := id % idUnit * 2; i < n { // each ID has two elements: its name and its symbol
		return r.string(r.u64(data + i*8))
	}
	return ""
}

// findIDs finds the names of methods in a library without symbols, by what its
// variables are like: rb_symbols_t (symbol.h) is
//
//	last_id, str, ids, dsymbol_fstr_hash
//
// and ids is an array of arrays, one for each 512 IDs up to the last.
func (r *ruby) findIDs() uint64 {
	const maxVariables = 4 << 20 // bytes
	le := binary.LittleEndian
	whole := snapshot.Range{Addr: r.lib.Module.Addr, Size: r.lib.Module.Size}
	for i := range r.p.Regions {
		g := whole.Intersect(r.p.Regions[i].Range)
		if r.p.Regions[i].Perm&snapshot.Write == 0 || g.Size == 0 {
			continue
		}
		b := make([]byte, min(g.Size, maxVariables)&^7)
		if !r.read(b, g.Addr) {
			r.failed = false
			continue
		}
		for at := 0; at+32 <= len(b); at += 8 {
			last, ids := uint64(le.Uint32(b[at:])), le.Uint64(b[at+symbolIDs:])
			const fewest, most = 500, 1 << 28 // a Ruby that has just begun has more than 1,000
			if last < fewest || last > most || ids == 0 || ids%8 != 0 || le.Uint64(b[at+24:])%8 != 0 {
				continue
			}
			data, n := r.array(ids)
			if n == last/idUnit+1 && r.flags(r.u64(data))&typeMask == isArray {
				return ids
			}
			r.failed = false
		}
	}
	return 0
}
