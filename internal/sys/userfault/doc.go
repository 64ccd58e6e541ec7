// Package userfault finds out which pages a process writes to, by
// userfaultfd(2) with asynchronous write-protection (Linux 6.7): a write to a
// protected page takes the protection away, and nobody is waited for. It exists
// on Linux only.
package userfault
