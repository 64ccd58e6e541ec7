package snapshot

import (
	"bytes"
	"hash/maphash"
)

// ShareRegisters lets threads whose register sets hold the same bytes share
// them in RAM; nobody may change one of them after that. Of thousands of
// threads most wait at the same place, and their vector registers, kilobytes
// each, are alike.
func (p *Process) ShareRegisters() {
	const small = 256     // bytes of a set that is not worth it: general-purpose registers always differ
	var known [256][]byte // sets seen last, by hash
	seed := maphash.MakeSeed()
	for i := range p.Threads {
		sets := p.Threads[i].Registers.Sets
		for k := range sets {
			if len(sets[k].Data) < small {
				continue
			}
			same := &known[maphash.Bytes(seed, sets[k].Data)%uint64(len(known))]
			if bytes.Equal(*same, sets[k].Data) {
				sets[k].Data = *same
			} else {
				*same = sets[k].Data
			}
		}
	}
}
