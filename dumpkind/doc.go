// Package dumpkind decides which memory of a process a dump of each kind holds.
//
// Select works on the hub model alone, so the same rules apply to a live
// process, a core file and a minidump. Ranges are whole pages.
package dumpkind
