package bpf

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// kernel answers questions about the running kernel's types.
type kernel struct{ types *btf.Spec }

func loadKernel() (kernel, error) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return kernel{}, unsupported("BPF", "a kernel built with CONFIG_DEBUG_INFO_BTF (/sys/kernel/btf/vmlinux)", err)
	}
	return kernel{spec}, nil
}

// offset returns where a member lies in a structure, in bytes. The path goes
// on into structures that are embedded in the one before; unnamed structures
// and unions are looked through.
func (k kernel) offset(structure string, path ...string) (int16, error) {
	var s *btf.Struct
	if err := k.types.TypeByName(structure, &s); err != nil {
		return 0, fmt.Errorf("find kernel structure %s: %w", structure, err)
	}
	var t btf.Type = s
	off := btf.Bits(0)
	for _, name := range path {
		m, at, ok := member(t, name)
		if !ok {
			return 0, fmt.Errorf("find member %s of kernel structure %s: %w", strings.Join(path, "."), structure, errors.ErrUnsupported)
		}
		off += at
		t = m.Type
	}
	if off.Bytes() > math.MaxInt16 {
		return 0, fmt.Errorf("member %s of kernel structure %s lies too far inside", strings.Join(path, "."), structure)
	}
	return int16(off.Bytes()), nil
}

func member(t btf.Type, name string) (btf.Member, btf.Bits, bool) {
	var members []btf.Member
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		members = t.Members
	case *btf.Union:
		members = t.Members
	}
	for _, m := range members {
		if m.Name == name {
			return m, m.Offset, true
		}
		if m.Name != "" {
			continue
		}
		if in, at, ok := member(m.Type, name); ok {
			return in, m.Offset + at, true
		}
	}
	return btf.Member{}, 0, false
}

// has tells whether the kernel has a helper.
func (k kernel) has(helper asm.BuiltinFunc) bool {
	var ids *btf.Enum
	if k.types.TypeByName("bpf_func_id", &ids) != nil {
		return false
	}
	for _, v := range ids.Values {
		if v.Value == uint64(helper) && v.Name != "__BPF_FUNC_MAX_ID" {
			return true
		}
	}
	return false
}
