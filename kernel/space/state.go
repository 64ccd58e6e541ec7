package space

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"procdump/internal/sys/fsys"
	"procdump/kernel/rescue"
)

// State is what is known from one boot to the next.
type State struct {
	// Folder and SmallFolder are where the next dump goes, as it was when space
	// was last set aside: the settings may have been changed since.
	Folder      string `json:"folder,omitempty"`
	SmallFolder string `json:"smallFolder,omitempty"`
	// File holds the Reserved bytes that are set aside; "" if none are.
	File     string `json:"file,omitempty"`
	Reserved int64  `json:"reserved,omitempty"`
	// Peak is the size of the largest dump of kind kernel, written or estimated,
	// of the last four weeks, PeakTime when that was.
	Peak     int64     `json:"peak,omitempty"`
	PeakTime time.Time `json:"peakTime,omitzero"`
	// LastCrashTime is when a dump last did not fit, Needed the bytes that it
	// would have taken.
	LastCrashTime time.Time `json:"lastCrashTime,omitzero"`
	Needed        int64     `json:"needed,omitempty"`
	// Last is what became of the last crash; nil if there was none.
	Last *Outcome `json:"last,omitempty"`
}

// Outcome is what became of a crash.
type Outcome struct {
	Record rescue.Record `json:"record"`
	// Sum tells records apart: the one on a device is there until the next.
	Sum string `json:"sum"`
	// Seen is when AfterBoot met the record.
	Seen time.Time `json:"seen"`
	// Dump and Small are the dumps as this system names them; "" if there is
	// none, or not any more.
	Dump  string `json:"dump,omitempty"`
	Small string `json:"small,omitempty"`
	// Notes say what has been done about the dumps.
	Notes []string `json:"notes,omitempty"`
}

// maxState is the largest state file that is read, in bytes. The log of a crash
// kernel is in it.
const maxState = 4 << 20

// maxSize is more than any dump has.
const maxSize = 1 << 56

// loadState reads a state file. Where there is none, or with an error where it
// is damaged, the state is empty.
func loadState(path string) (State, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, nil
	}
	if err != nil {
		return State{}, fmt.Errorf("read state of the space for dumps: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxState+1))
	if err != nil {
		return State{}, fmt.Errorf("read state of the space for dumps: %w", err)
	}
	s, err := parseState(b)
	if err != nil {
		return State{}, fmt.Errorf("%s is damaged: %w", path, err)
	}
	return s, nil
}

// parseState reads what is in a state file.
func parseState(b []byte) (State, error) {
	if len(b) > maxState {
		return State{}, errors.New("it is larger than 4 MiB")
	}
	var s State
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&s); err != nil {
		return State{}, err
	}
	for _, n := range []int64{s.Reserved, s.Peak, s.Needed} {
		if n < 0 || n > maxSize {
			return State{}, fmt.Errorf("%d is no size", n)
		}
	}
	if s.File != "" && (!filepath.IsAbs(s.File) || filepath.Base(s.File) != ReservedName) {
		return State{}, fmt.Errorf("%q is not the file of the space set aside", s.File)
	}
	return s, nil
}

// save writes the state to path, all or nothing.
func (s *State) save(path string) error {
	b, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return fmt.Errorf("save state of the space for dumps: %w", err)
	}
	if err := fsys.WriteFile(path, append(b, '\n'), 0o600, fsys.Overwrite|fsys.Durable); err != nil {
		return fmt.Errorf("save state of the space for dumps: %w", err)
	}
	return nil
}
