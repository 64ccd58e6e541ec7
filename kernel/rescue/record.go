package rescue

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"procdump/kernel/settings"
)

// Record is what the crash kernel did about one crash. It is written before the
// dump, and again when that is done: one that is not Finished tells that the
// machine did not survive Step.
type Record struct {
	// Time is when the kernel crashed, or zero if it did not tell.
	Time time.Time `json:"time"`
	// Release and Panic are the crashed kernel's version and the reason that its
	// log gives; "" if they could not be read.
	Release string `json:"release,omitempty"`
	Panic   string `json:"panic,omitempty"`
	// Memory is the crashed machine's RAM in bytes.
	Memory uint64 `json:"memoryBytes,omitempty"`

	// Wanted is the kind of dump that was to be written, and Kind that of the
	// one that was: a smaller one, or a complete one where the use of the pages
	// could not be found out. It is "" if there is none.
	Wanted settings.Kind `json:"wanted"`
	Kind   settings.Kind `json:"kind,omitempty"`
	// File is the dump, a path from the root of its file system or a device.
	File      string `json:"file,omitempty"`
	SizeBytes int64  `json:"sizeBytes,omitempty"`
	DiskBytes int64  `json:"diskBytes,omitempty"` // that the file occupies
	Pages     uint64 `json:"pages,omitempty"`
	// Verified says that the dump was read back and is right.
	Verified bool `json:"verified,omitempty"`
	// Small is the small dump, a path as File; "" if there is none.
	Small          string `json:"small,omitempty"`
	SmallSizeBytes int64  `json:"smallSizeBytes,omitempty"`

	// NoSpace says that the wanted kind found no room. NeededBytes is about what
	// it would have taken, and FreeBytes what was free.
	NoSpace     bool  `json:"noSpace,omitempty"`
	NeededBytes int64 `json:"neededBytes,omitempty"`
	FreeBytes   int64 `json:"freeBytes,omitempty"`

	// Seconds is how long the crash kernel worked on the dumps, and ResidentBytes
	// how much memory it took for that.
	Seconds       float64 `json:"seconds"`
	ResidentBytes int64   `json:"residentBytes,omitempty"`
	// Failures are what went wrong, in order.
	Failures []string `json:"failures,omitempty"`
	// Log is what the crash kernel's procdump said.
	Log []string `json:"log,omitempty"`

	Step     string `json:"step"`
	Finished bool   `json:"finished"`
	// Version is that of the procdump in the crash kernel.
	Version string `json:"version"`
}

// ParseRecord reads the contents of a file RecordName.
func ParseRecord(b []byte) (*Record, error) {
	r := &Record{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("parse record of the last crash: %w", err)
	}
	return r, nil
}

// Encode is the opposite of ParseRecord.
func (r *Record) Encode() ([]byte, error) {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	return append(b, '\n'), nil
}

// A device without a file system has the dump from its beginning on. Behind its
// superblock.Mark, near its end, is what a folder has beside the dump:
//
//	0                   "procdump" u64 length: the record, JSON
//	TailSize - 64 KiB   the small dump
const (
	TailSize  = 128 << 10
	smallRoom = 64 << 10

	tailMagic  = "procdump"
	tailHeader = 16
)

// ErrNoRecord means that no crash has left a record.
var ErrNoRecord = errors.New("no record of a crash")
