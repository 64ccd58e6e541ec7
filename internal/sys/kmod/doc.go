// Package kmod loads modules into the running kernel; it exists on Linux only.
package kmod
