package bpf

import (
	"fmt"

	"github.com/cilium/ebpf/asm"
)

// fault is what helpers return for an address that cannot be read: -EFAULT.
const fault = ^uint64(13)

// call calls a function of the program or a helper.
func (r *run) call(in *instruction, regs *registers, depth int) error {
	if in.src == uint8(asm.PseudoCall) {
		sub := registers{1: regs[1], 2: regs[2], 3: regs[3], 4: regs[4], 5: regs[5]}
		err := r.function(in.target, &sub, depth+1)
		regs[0] = sub[0]
		return err
	}
	v, err := r.helper(asm.BuiltinFunc(in.imm), regs)
	regs[0] = v
	return err
}

// theMap is the map that a handle stands for, nil if it is none.
func (r *run) theMap(handle uint64) *Map {
	if i := handle &^ mapTag; handle&mapTag == mapTag && i < uint64(len(r.m.maps)) {
		return r.m.maps[i]
	}
	return nil
}

// helper does what the kernel's helper functions do (bpf-helpers(7)).
func (r *run) helper(f asm.BuiltinFunc, regs *registers) (uint64, error) {
	m := r.m
	switch f {
	case asm.FnMapLookupElem, asm.FnMapUpdateElem, asm.FnMapDeleteElem:
		x := r.theMap(regs[1])
		if x == nil {
			return 0, ErrAccess
		}
		key := m.mem(regs[2], x.key)
		if key == nil {
			return 0, ErrAccess
		}
		switch f {
		case asm.FnMapLookupElem:
			return x.lookup(key), nil
		case asm.FnMapUpdateElem:
			value := m.mem(regs[3], x.value)
			if value == nil {
				return 0, ErrAccess
			}
			return 0, x.Put(key, value)
		}
		delete(x.hash, string(key))
		return 0, nil
	case asm.FnTailCall:
		name, ok := m.Tail[uint32(regs[3])]
		if !ok {
			return fault, nil
		}
		r.tail = name
		return 0, nil
	case asm.FnProbeReadUser:
		p := m.mem(regs[1], int(uint32(regs[2])))
		if p == nil {
			return 0, ErrAccess
		}
		if !r.env.ReadUser(p, regs[3]) {
			clear(p)
			return fault, nil
		}
		return 0, nil
	case asm.FnProbeReadKernel, asm.FnProbeRead:
		p, q := m.mem(regs[1], int(uint32(regs[2]))), m.mem(regs[3], int(uint32(regs[2])))
		if p == nil {
			return 0, ErrAccess
		}
		if q == nil {
			clear(p)
			return fault, nil
		}
		copy(p, q)
		return 0, nil
	case asm.FnRingbufOutput:
		p := m.mem(regs[2], int(uint32(regs[3])))
		if p == nil {
			return 0, ErrAccess
		}
		r.env.Output(p)
		return 0, nil
	case asm.FnGetCurrentTask, asm.FnGetCurrentTaskBtf:
		return r.env.Task, nil
	case asm.FnGetCurrentPidTgid:
		return r.env.PIDTGID, nil
	case asm.FnGetCurrentComm:
		p := m.mem(regs[1], int(uint32(regs[2])))
		if p == nil {
			return 0, ErrAccess
		}
		clear(p)
		return 0, nil
	case asm.FnGetStack, asm.FnGetStackid: // of the kernel
		return fault, nil
	case asm.FnKtimeGetNs, asm.FnGetSmpProcessorId, asm.FnPerfEventOutput, asm.FnTracePrintk:
		return 0, nil
	}
	return 0, fmt.Errorf("%w: %v", ErrProgram, f)
}
