// Package settings holds how the machine wants its kernel dumps: what
// HKLM\SYSTEM\CurrentControlSet\Control\CrashControl is on Windows, in one TOML
// file.
package settings

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

// Settings are all settings. The names of the keys in the file and on the
// command line are those of the toml tags; Windows' own names are understood,
// too.
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
	// Overwrite lets a new dump replace an older one of the same name
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
