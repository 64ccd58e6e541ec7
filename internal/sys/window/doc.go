// Package window reads a file through mappings of a few of its pieces at a
// time. /proc/vmcore is several times faster that way than by read(2), which
// maps and unmaps every single page of it, and a mapping of all of it would
// take page tables of 2 MiB for each GiB. It exists on Linux only.
package window
