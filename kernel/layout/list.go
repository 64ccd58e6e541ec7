package layout

import "fmt"

// maxList bounds a list of the kernel: the number of threads cannot exceed
// 4,194,304 (PID_MAX_LIMIT), and every other list is shorter.
const maxList = 4 << 20

// List calls f with the address of each structure that hangs in the struct
// list_head at head, offset bytes before its node, until f returns false. A
// list that does not come back to its head, as in damaged memory, ends in an
// error after the part that could be walked.
func (k *Kernel) List(head, offset uint64, f func(addr uint64) bool) error {
	// Brent's algorithm finds a loop that does not go through the head.
	var mark uint64
	power, steps := 1, 0
	node, err := k.Space.Uint64(head)
	if err != nil {
		return fmt.Errorf("read head of list %#x: %w", head, err)
	}
	for n := 0; node != head; n++ {
		if node == mark || node == 0 || n >= maxList {
			return fmt.Errorf("layout: list %#x does not come back to its head after %d elements", head, n)
		}
		if steps++; steps == power {
			mark, power, steps = node, power*2, 0
		}
		if !f(node - offset) {
			return nil
		}
		next, err := k.Space.Uint64(node)
		if err != nil {
			return fmt.Errorf("read element %d of list %#x: %w", n, head, err)
		}
		node = next
	}
	return nil
}

// PerCPU returns the address of a per-CPU variable of one processor; variable
// is the address of its symbol.
func (k *Kernel) PerCPU(variable uint64, cpu int) (uint64, error) {
	offsets, err := k.Symbol("__per_cpu_offset")
	if err != nil {
		return 0, err
	}
	if cpu < 0 || cpu >= 1<<16 {
		return 0, fmt.Errorf("layout: processor number %d: implausible", cpu)
	}
	off, err := k.Space.Uint64(offsets + uint64(cpu)*8)
	if err != nil {
		return 0, fmt.Errorf("read per-CPU offset of processor %d: %w", cpu, err)
	}
	return variable + off, nil
}
