package live

// Guests says what is known of the virtual machines of this host.
type Guests struct {
	VMs   int    // how many there are
	Pages uint64 // how many pages of the host their memory takes
	// Guessed says that the memory was found by the size of mappings of the
	// processes that own the machines, not by the kernel's own lists.
	Guessed bool
}
