// Package machine mounts file systems and switches the machine off or starts it
// again: the calls of the first process of a kernel. It exists on Linux only.
package machine
