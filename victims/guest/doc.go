// Package guest boots a Debian kernel in a virtual machine (QEMU without
// hardware help, so it works inside virtual machines too), for tests that need
// another kernel than this machine's: one that may crash, that has other
// settings, or other versions of its interfaces.
//
// Programs of the test run in the guest as root with [Guest.Run]. By default
// they see the host's own file system at the same paths; what they change there
// stays in the guest's memory and is gone with it. Only the folder [Guest.Dir],
// also at one path on both sides, passes files from one to the other, and back,
// of any size. The guest has no network but its loopback interface.
//
//	g := guest.Boot(t, guest.Options{CommandLine: []string{"psi=1"}})
//	r := g.Run("cat", "/proc/pressure/memory")
//
// A guest may crash and boot again ([Guest.Crash], [Guest.AwaitBoot]), and its
// memory can be dumped from outside ([Guest.DumpMemory]). It is gone when the
// test ends, its console is shown if the test failed.
//
// Files that the host makes or changes outside Dir after the boot may not be
// seen by the guest: it keeps what it has read, and what it found missing.
//
// Only amd64 hosts on Linux are supported. fetch-kernel, in this folder, gets
// the kernels.
package guest
