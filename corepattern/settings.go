package corepattern

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"procdump/capture"
	"procdump/dumpkind"
)

// Settings say what becomes of a process that crashes.
type Settings struct {
	// Folder is where the dumps go: absolute, root's, and writable for nobody
	// else. Install makes it if only its last part is missing.
	Folder string `json:"folder"`
	// Name is the dumps' file name, see capture.ParseMask.
	Name string `json:"name"`

	Kinds       []dumpkind.Kind `json:"-"` // smallest first, at least one
	DropLargest bool            `json:"dropLargest,omitempty"`
	Mask        uint32          `json:"mask,omitempty"` // of dumpkind.Custom
	DontDump    bool            `json:"dontDump,omitempty"`
	Format      capture.Format  `json:"format,omitempty"`
	Compress    bool            `json:"compress,omitempty"`
	Comment     string          `json:"comment,omitempty"`

	// TimeLimit bounds the time that a crashed process is held, waiting for
	// its turn included.
	TimeLimit time.Duration `json:"timeLimit"`
	// Parallel is how many crashes are dumped at a time; the others wait.
	Parallel int `json:"parallel"`
	// PerMinute is how many crashes of one executable are dumped within a
	// minute; 0: all.
	PerMinute int  `json:"perMinute,omitempty"`
	Keep      Keep `json:"keep"`
}

// Keep bounds what the dumps of earlier crashes may occupy. The oldest ones are
// removed; files that the handler did not write never are.
type Keep struct {
	Count int           `json:"count,omitempty"` // dumps; 0: no bound, but DefaultCount where nothing is bounded
	Bytes uint64        `json:"bytes,omitempty"` // on disk; 0: no bound
	Age   time.Duration `json:"age,omitempty"`   // 0: for ever
	Free  uint64        `json:"free,omitempty"`  // bytes of the disk that dumps leave free; 0: Install chooses
}

// LogName is the file, in the dumps' folder, in which handlers say what they do.
const LogName = "procdump.log"

// What Settings without a value mean.
const (
	DefaultFolder    = "/var/lib/procdump/dumps"
	DefaultName      = "PROCESSNAME_PID_EXCEPTIONCODE_YYMMDD_HHMMSS"
	DefaultTimeLimit = 10 * time.Minute
	DefaultFree      = 1 << 30 // but no more than a twentieth of the disk
	DefaultCount     = 1000
)

// SplitPath splits an absolute path into a folder for dumps and their file name.
// The last part is a name if it has words that each dump replaces
// (capture.ParseMask) and is no folder that is there; else the name is "".
func SplitPath(path string) (folder, name string) {
	folder, name = filepath.Split(path)
	if st, err := os.Stat(path); err == nil && st.IsDir() || !capture.HasWords(name) {
		return filepath.Clean(path), ""
	}
	return filepath.Clean(folder), name
}

// withDefaults fills what is not given.
func (s Settings) withDefaults() Settings {
	if s.Folder == "" {
		s.Folder = DefaultFolder
	}
	if s.Name == "" {
		s.Name = DefaultName
	}
	if len(s.Kinds) == 0 {
		s.Kinds = []dumpkind.Kind{dumpkind.Mini}
	}
	if s.TimeLimit == 0 {
		s.TimeLimit = DefaultTimeLimit
	}
	if s.Parallel == 0 {
		s.Parallel = max(2, runtime.NumCPU())
	}
	if s.Keep == (Keep{}) {
		s.Keep.Count = DefaultCount
	}
	return s
}

// check tells what of the settings cannot be.
func (s Settings) check() error {
	switch {
	case !filepath.IsAbs(s.Folder):
		return fmt.Errorf("install crash handler: dump folder %q: give an absolute path: the kernel starts the handler in /", s.Folder)
	case s.TimeLimit < time.Second:
		return fmt.Errorf("install crash handler: time limit of %v: give a second or more", s.TimeLimit)
	case s.Parallel < 1 || s.PerMinute < 0 || s.Keep.Count < 0 || s.Keep.Age < 0:
		return fmt.Errorf("install crash handler: a limit is negative")
	}
	for _, k := range s.Kinds {
		if !k.Valid() {
			return fmt.Errorf("install crash handler: no kind %v", k)
		}
	}
	return nil
}

// mask makes the dumps' mask. The folder must exist.
func (s Settings) mask() (capture.Mask, error) {
	return capture.ParseMask(filepath.Join(s.Folder, s.Name),
		capture.MaskOptions{Format: s.Format, Compress: s.Compress, Kinds: len(s.Kinds)})
}

type plainSettings Settings

// storedSettings name the kinds, so that their numbers may change.
type storedSettings struct {
	plainSettings
	Kinds []string `json:"kinds"`
}

// MarshalJSON writes the settings as the settings file has them.
func (s Settings) MarshalJSON() ([]byte, error) {
	out := storedSettings{plainSettings: plainSettings(s)}
	for _, k := range s.Kinds {
		out.Kinds = append(out.Kinds, k.String())
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (s *Settings) UnmarshalJSON(b []byte) error {
	var in storedSettings
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	*s = Settings(in.plainSettings)
	s.Kinds = nil
	for _, name := range in.Kinds {
		k := dumpkind.Triage
		for k.Valid() && k.String() != name {
			k++
		}
		if !k.Valid() {
			return fmt.Errorf("read settings: no kind %q", name)
		}
		s.Kinds = append(s.Kinds, k)
	}
	return nil
}
