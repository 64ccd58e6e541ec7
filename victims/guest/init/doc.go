// Command init is the first process of a guest that a test has booted. It
// loads the modules that its initramfs holds, makes the guest's file systems
// (the host's own as a base, where the test asked for it, with changes in
// memory), and then runs what the test asks for.
//
// As every init it adopts and reaps orphans, and never ends: the kernel would
// panic.
package main
