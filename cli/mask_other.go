//go:build !windows

package cli

const (
	maskMeaning = "bits of core(5)"
	maskMore    = "MASK has the bits of coredump_filter, see core(5): 1 anonymous private, 2 anonymous shared, " +
		"4 file-backed private, 8 file-backed shared memory, 10 ELF headers, 20 private and 40 shared huge pages, " +
		"80 private and 100 shared DAX pages. The coredump_filter of the process is neither read nor changed."
	maxMask = 0x1ff
	badMask = "it has the bits of coredump_filter here, see core(5); a MINIDUMP_TYPE is for Windows"
)
