package cli

import "runtime"

// What a small dump allocates while the target stands still, in bytes. Memory
// that the kernel has to supply and clear then would cost the target up to
// 10 µs a page; what was touched before costs nothing.
const (
	warmBytes  = 4 << 20
	warmThread = 16 << 10
	warmMax    = 20 << 20
)

// warmHeap makes the Go heap own n bytes of touched memory. If that is much,
// what reading the process's files has left behind is collected first, so that
// it becomes part of the n bytes.
func warmHeap(n int) {
	if n > warmMax/2 {
		runtime.GC()
	}
	b := make([]byte, min(n, warmMax))
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	runtime.KeepAlive(b)
	runtime.GC()
}
