package corepattern

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"procdump/internal/sys/fsys"
)

// state is the settings file.
type state struct {
	Pattern  string   `json:"pattern"` // ours
	Before   before   `json:"before"`
	Settings Settings `json:"settings"`
}

// before is what the kernel's files held, byte for byte. A file that this
// kernel does not have is nil.
type before struct {
	Pattern   []byte `json:"corePattern"`
	PipeLimit []byte `json:"corePipeLimit"`
	UsesPID   []byte `json:"coreUsesPid"`
}

// readState reads the settings file; ErrNotInstalled: there is none.
func (s System) readState() (*state, error) {
	b, err := os.ReadFile(s.stateFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotInstalled
	}
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	st := new(state)
	if err := json.Unmarshal(b, st); err != nil {
		return nil, fmt.Errorf("read settings %s: %w", s.stateFile(), err)
	}
	st.Settings = st.Settings.withDefaults()
	return st, nil
}

func (s System) writeState(st *state) error {
	b, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	if err := os.MkdirAll(s.stateDir(), 0o755); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	return replaceFile(s.stateFile(), append(b, '\n'), 0o600, true)
}

// replaceFile puts a file in place of another at once.
func replaceFile(path string, content []byte, mode os.FileMode, durable bool) error {
	flags := fsys.Overwrite
	if durable {
		flags |= fsys.Durable
	}
	if err := fsys.WriteFile(path, content, mode, flags); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
