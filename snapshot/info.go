package snapshot

import "time"

// Info is what a dump says of itself: everything a person wants to know of it
// that its format has no standard place for. It travels as JSON in a note
// (ELF, owner "procdump", type InfoNote) or a stream (minidump, type
// InfoStream) which other readers skip. Fields are only ever added.
type Info struct {
	Version     int       `json:"version"`        // InfoVersion
	Tool        string    `json:"tool"`           // "procdump 0.1.0"
	Kind        string    `json:"kind"`           // "mini", "full", …
	From        string    `json:"from,omitempty"` // kind of the dump that it was made of, if that is a smaller one: it holds no more
	Reason      string    `json:"reason"`         // "Manual dump"
	Comment     string    `json:"comment,omitempty"`
	CommandLine []string  `json:"commandLine,omitempty"` // of procdump
	Time        time.Time `json:"time,omitzero"`         // when the target was stopped

	// PauseMicros is how long the target stood still, first thread stopped to
	// last thread resumed; -1 while unknown.
	PauseMicros int64  `json:"pauseMicros"`
	Method      string `json:"method,omitempty"` // "stop-and-copy", "clone" or "pre-copy"
	Rounds      int    `json:"rounds,omitempty"` // of "pre-copy": how often memory was copied before the stop

	// Samples are the values that were watched, up to the trigger.
	Samples []Samples `json:"samples,omitempty"`

	LeftOut       []LeftOut      `json:"leftOut,omitempty"`
	LeftOutBytes  uint64         `json:"leftOutBytes,omitempty"`
	Unreadable    []Range        `json:"unreadable,omitempty"`
	MissedThreads []MissedThread `json:"missedThreads,omitempty"`
	Warnings      []string       `json:"warnings,omitempty"`
	// Truncated is set when lists above were cut to fit their reserved space.
	Truncated bool `json:"truncated,omitempty"`

	Namespaces map[string]string `json:"namespaces,omitempty"` // "pid": "pid:[4026531836]"
	NSPID      []int             `json:"nsPID,omitempty"`      // the PID in each nested PID namespace, outermost first
	Container  string            `json:"container,omitempty"`  // container id found in the cgroup path
}

// InfoVersion is the version of Info that this package writes.
const InfoVersion = 1

// InfoNote is the ELF note type (owner "procdump") and InfoStream the minidump
// stream type that carry Info.
const (
	InfoNoteName = "procdump"
	InfoNote     = 1
	InfoStream   = 0x50440001 // "PD", 1
)

// LeftOut is a piece of memory that a dump does not hold although the process
// has it, and why.
type LeftOut struct {
	Range Range  `json:"range"`
	What  string `json:"what,omitempty"` // the region's path or name
	Why   string `json:"why"`
}

// MissedThread is a thread that could not be stopped.
type MissedThread struct {
	TID   int    `json:"tid"`
	State string `json:"state"`
	Why   string `json:"why"`
}
