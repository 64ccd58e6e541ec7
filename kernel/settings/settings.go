// Package settings holds how the machine wants its kernel dumps: what
// HKLM\SYSTEM\CurrentControlSet\Control\CrashControl is on Windows, in one TOML
// file. The names of Windows' values are understood wherever a key is.
//
// The file is flat: one line for each key, no tables. Save writes all keys, each
// under a comment that explains it, and always in the same order. A file that
// lacks keys means their defaults; a key that there is not is an error, because
// a setting that was meant and is not heeded shows only after the crash.
//
// Windows' names and meanings are those of "Memory dump file options" and
// "Configure system failure and recovery options" at learn.microsoft.com.
package settings

// File is where the settings of the machine are.
const File = "/etc/procdump/kernel.toml"

// Kind is what a dump at a crash holds.
type Kind string

// The kinds of dumps at a crash.
const (
	None      Kind = "none"
	Complete  Kind = "complete"
	Kernel    Kind = "kernel"
	Small     Kind = "small"
	Automatic Kind = "automatic"
	Active    Kind = "active"
)

// kinds are all kinds, as they are listed.
var kinds = []Kind{Automatic, Kernel, Active, Complete, Small, None}

// compressions are the methods, the default first.
var compressions = []string{"zstd", "snappy", "zlib", "none"}

// Settings are all settings. The names of the keys in the file and on the
// command line are those of the toml tags.
type Settings struct {
	// Kind is what is dumped (CrashDumpEnabled, FilterPages).
	Kind Kind `toml:"kind" json:"kind"`
	// Folder is where dumps go, or a block device to which they are written
	// without a file system (DumpFile, DedicatedDumpFile).
	Folder string `toml:"folder" json:"folder"`
	// File is the name of a dump in Folder; its words YYMMDD and HHMMSS stand
	// for the time of the crash.
	File string `toml:"file" json:"file"`
	// SmallFolder takes the small dump that is left beside every other one
	// (MinidumpDir), SmallCount how many of them are kept (MinidumpsCount).
	SmallFolder string `toml:"small_folder" json:"smallFolder"`
	SmallCount  int    `toml:"small_count" json:"smallCount"`
	// Overwrite lets a new dump replace the older ones that File has named
	// (Overwrite).
	Overwrite bool `toml:"overwrite" json:"overwrite"`
	// Keep keeps the dump even where the disk is nearly full
	// (AlwaysKeepMemoryDump).
	Keep bool `toml:"keep" json:"keep"`
	// Compression is zstd, snappy, zlib or none.
	Compression string `toml:"compression" json:"compression"`
	// Reboot says whether the machine starts again after the dump (AutoReboot);
	// otherwise it is switched off.
	Reboot bool `toml:"reboot" json:"reboot"`
	// LogEvent has the next boot write what was dumped to the log (LogEvent).
	LogEvent bool `toml:"log_event" json:"logEvent"`
}

// Default returns the settings of a machine that has no file. They are
// Windows', where Windows has them.
func Default() Settings {
	return Settings{
		Kind:        Automatic,
		Folder:      "/var/crash",
		File:        "vmcore.kdump",
		SmallFolder: "/var/crash/small",
		SmallCount:  50,
		Overwrite:   true,
		Compression: compressions[0],
		Reboot:      true,
		LogEvent:    true,
	}
}

// Raw tells whether dumps go to a block device that is written without a file
// system.
func (s Settings) Raw() bool { return isDevice(s.Folder) }
