// Package cpuclock reads the CPU time of other processes; it exists on Linux
// only.
package cpuclock
