// Package cli is procdump's command line: ProcDump's grammar, what each
// invocation does, the console's lines and events, the help and the manual.
package cli
