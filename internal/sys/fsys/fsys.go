// Package fsys does what the os package lacks for writing dumps: files without
// a name, free space, renames that refuse to replace, terminal width, and how
// many files may be open.
package fsys
