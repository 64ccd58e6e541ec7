package pages

// Mask is a set of classes.
type Mask uint32

// MaskOf is the set of the given classes.
func MaskOf(classes ...Class) Mask {
	var m Mask
	for _, c := range classes {
		m |= 1 << c
	}
	return m
}

// Has tells whether the class is in the set.
func (m Mask) Has(c Class) bool { return m>>c&1 == 1 }

// Takes tells whether a page is of one of the classes.
func (m Mask) Takes(p Page) bool { return m>>(p&classMask)&1 == 1 }

// What the kinds of dumps take. A page whose use is not known is always taken;
// broken and handed-back memory never is, because reading it is an error or
// worse.
var (
	// CompleteKind is all memory.
	CompleteKind = KernelKind | userMask | MaskOf(Free, HugeFree, CleanCache, Guest)
	// KernelKind is what the kernel itself uses.
	KernelKind = MaskOf(Zero, Slab, PageTable, Reserved, Kernel, Unknown)
	// AutomaticKind has the content of KernelKind.
	AutomaticKind = KernelKind
	// ActiveKind leaves out what debugging does not need: free pages, page
	// cache that is on disk and that nobody has mapped, and the memory of
	// virtual machines.
	ActiveKind = KernelKind | userMask
)

// userMask is memory that processes use, without that of virtual machines.
var userMask = MaskOf(Anon, KSM, Shmem, HugeUsed, MappedFile, DirtyFile)
