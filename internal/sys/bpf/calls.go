package bpf

// kind says how a system call's arguments are to be read.
type kind string

// The kinds are labels of the programs that read them.
const (
	callBuffer  kind = "call_buffer"  // (fd, buffer, …): the result says how much
	callVector  kind = "call_vector"  // (fd, struct iovec *, count, …)
	callMessage kind = "call_message" // (fd, struct msghdr *, …)
	callSocket  kind = "call_socket"  // (SYS_SENDTO or the like, arguments *)

	callMap     kind = "call_map"     // (addr, length, prot, flags, fd, offset)
	callUnmap   kind = "call_unmap"   // (addr, length)
	callProtect kind = "call_protect" // (addr, length, prot)
	callRemap   kind = "call_remap"   // (addr, length, new length, flags, …)
	callExec    kind = "call_exec"    // done by the new program
)

// call is a system call of one ABI.
type call struct {
	number int32
	kind   kind
	// functions are names of the kernel function that does it, of which the
	// first that the kernel's BTF knows counts. The build of some kernels
	// leaves functions out of it that are also declared elsewhere (Linux 6.1:
	// mprotect, mremap, socketcall).
	functions []string
	// name of the call, if we can do without it.
	optional string
	// inner are used for want of the function, and see the calls with the
	// numbers in also as well.
	inner []inner
	also  []int32
}

// inner is a function that takes the arguments of a system call as its own.
type inner struct {
	function string
	params   int
	kind     kind
}

// abi is a way to enter the kernel.
type abi struct {
	compat bool   // 32-bit
	name   string // before the names of optional calls
	// args are the members of struct pt_regs with the arguments, and where in
	// a member that is an array.
	args  []register
	calls []call
}

type register struct {
	member string
	index  int16 // of 8 bytes
}

// arguments is how many arguments are read of calls of these kinds.
func arguments(kinds []kind) (n int) {
	for _, k := range kinds {
		switch k {
		case callBuffer, callMessage, callSocket, callUnmap:
			n = max(n, 2)
		case callVector, callProtect:
			n = max(n, 3)
		case callRemap:
			n = max(n, 4)
		case callMap:
			n = max(n, 6)
		}
	}
	return n
}

// of returns the ABI with those of its calls that are of the kinds.
func (a abi) of(kinds ...kind) abi {
	var calls []call
	for _, c := range a.calls {
		for _, k := range kinds {
			if c.kind == k {
				calls = append(calls, c)
			}
		}
	}
	a.calls = calls
	return a
}
