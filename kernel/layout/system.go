package layout

import (
	"errors"
	"fmt"
	"time"

	"procdump/kdump"
)

// Uname reads what uname(1) printed on the machine.
func (k *Kernel) Uname() (kdump.Uname, error) {
	ns, err := k.Symbol("init_uts_ns")
	if err != nil {
		return kdump.Uname{}, err
	}
	off, err := k.offset("uts_namespace", "name")
	if err != nil {
		return kdump.Uname{}, err
	}
	b, err := k.Space.Bytes(ns+off, kdump.UnameSize)
	if err != nil {
		return kdump.Uname{}, fmt.Errorf("read uname: %w", err)
	}
	u := kdump.DecodeUname(b)
	if u.Sysname != "Linux" {
		return kdump.Uname{}, fmt.Errorf("layout: uname at %#x reads %q, not Linux", ns+off, u.Sysname)
	}
	return u, nil
}

// Uptime is the time since boot, suspended time included, to the second.
func (k *Kernel) Uptime() (time.Duration, error) {
	tk, err := k.timekeeper()
	if err != nil {
		return 0, fmt.Errorf("find the kernel's clock: %w", err)
	}
	var v [3]uint64
	for i, member := range []string{"xtime_sec", "wall_to_monotonic.tv_sec", "offs_boot"} {
		f, err := k.Field("timekeeper", member)
		if err != nil {
			return 0, err
		}
		if v[i], err = k.ReadField(tk, f); err != nil {
			return 0, fmt.Errorf("read the kernel's clock: %w", err)
		}
	}
	up := time.Duration(v[0]+v[1])*time.Second + time.Duration(v[2])
	if up < 0 || up > 100*365*24*time.Hour {
		return 0, fmt.Errorf("layout: time since boot of %v: implausible", up)
	}
	return up.Truncate(time.Second), nil
}

// timekeeper is the address of a struct timekeeper.
func (k *Kernel) timekeeper() (uint64, error) {
	if f, err := k.Field("tk_data", "timekeeper"); err == nil { // since 6.13
		for _, name := range []string{"timekeeper_data", "tk_core"} {
			if a, err := k.Symbol(name); err == nil {
				return a + f.Offset, nil
			}
		}
	}
	// Before, a copy has a symbol of its own; the original is part of a
	// structure without a name.
	return k.Symbol("shadow_timekeeper")
}

// Tainted returns the kernel's taint flags
// (Documentation/admin-guide/tainted-kernels.rst).
func (k *Kernel) Tainted() (uint64, error) {
	a, err := k.Symbol("tainted_mask")
	if err != nil {
		return 0, err
	}
	return k.Space.Uint64(a)
}

// CPUs lists the numbers of the processors that were online.
func (k *Kernel) CPUs() ([]int, error) {
	a, err := k.Symbol("__cpu_online_mask")
	if err != nil {
		return nil, err
	}
	n, err := k.Symbol("nr_cpu_ids")
	count := uint64(64)
	if err == nil {
		if v, err := k.Space.Uint32(n); err == nil && v <= 8192 {
			count = uint64(v)
		}
	}
	var out []int
	for at := uint64(0); at < count; at += 64 {
		word, err := k.Space.Uint64(a + at/8)
		if err != nil {
			return out, fmt.Errorf("read mask of online processors: %w", err)
		}
		for bit := range uint64(64) {
			if word>>bit&1 == 1 && at+bit < count {
				out = append(out, int(at+bit))
			}
		}
	}
	if len(out) == 0 {
		return nil, errors.New("layout: no processor is marked as online")
	}
	return out, nil
}
