package kernel

// taintFlags are the kernel's taint flags by their bit
// (Documentation/admin-guide/tainted-kernels.rst).
var taintFlags = []Taint{
	{"P", "a proprietary module was loaded"},
	{"F", "a module was loaded by force"},
	{"S", "the processors or the platform are out of specification"},
	{"R", "a module was unloaded by force"},
	{"M", "the hardware reported a machine check"},
	{"B", "a page of memory was in a bad state"},
	{"U", "user space asked for this flag"},
	{"D", "the kernel died before: an oops or BUG"},
	{"A", "an ACPI table was overridden"},
	{"W", "the kernel issued a warning"},
	{"C", "a driver from the staging area was loaded"},
	{"I", "a bug of the firmware is worked around"},
	{"O", "a module from outside the kernel's source was loaded"},
	{"E", "an unsigned module was loaded"},
	{"L", "a soft lockup happened before"},
	{"K", "the kernel was patched while it ran"},
	{"X", "the distribution set its own flag"},
	{"T", "the layout of structures is randomised"},
	{"N", "a test was run in the kernel"},
	{"J", "user space called a debugging interface of fwctl"},
}

// taintsOf lists the flags that are set.
func taintsOf(flags uint64) []Taint {
	var all []Taint
	for bit, t := range taintFlags {
		if flags>>bit&1 == 1 {
			all = append(all, t)
		}
	}
	if rest := flags >> len(taintFlags); rest != 0 {
		all = append(all, Taint{"?", "flags that are not known: " + Hex(rest<<len(taintFlags)).String()})
	}
	return all
}
