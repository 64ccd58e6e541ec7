// Package procmem reads another process's memory and asks which of its pages
// exist; it exists on Linux only.
package procmem
