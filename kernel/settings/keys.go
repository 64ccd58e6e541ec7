package settings

import (
	"strconv"
	"strings"
)

// Key is a setting: its name, what it means, and how it is read and written.
type Key struct {
	Name    string
	Windows []string // Windows' names for it, the first that comes closest
	Values  string   // what it may be
	Meaning string   // one sentence
	text    func(s *Settings) string
	value   func(s *Settings) any // as TOML has it
	set     func(s *Settings, v string) *Error
}

// Text returns the key's value in s, without quotes.
func (k Key) Text(s Settings) string { return k.text(&s) }

// Value returns the key's value in s: a text, a number or a truth value.
func (k Key) Value(s Settings) any { return k.value(&s) }

// Keys returns all settings in the order of the file.
func Keys() []Key { return keys }

// keys are all settings, in the order of the file.
var keys = []Key{
	choice("kind", []string{"CrashDumpEnabled", "FilterPages"}, kindList(),
		"What a dump holds: all memory (complete); that less free pages, page cache and the memory of virtual machines (active); "+
			"what the kernel itself uses (kernel, and automatic, whose disk space is managed); 64 KiB of it (small, which is left beside all others, too); or nothing (none)",
		func(s *Settings) *string { return (*string)(&s.Kind) }),
	text("folder", []string{"DumpFile", "DedicatedDumpFile"}, "a folder, or a block device such as /dev/sdb1",
		"Where dumps go; a block device is overwritten from its beginning",
		func(s *Settings) *string { return &s.Folder }),
	text("file", []string{"DumpFile"}, "a file name",
		"The name of a dump in folder; YYMMDD and HHMMSS in it stand for the time of the crash; .elf at its end makes it an ELF file, and .kdump is added to most others",
		func(s *Settings) *string { return &s.File }),
	truth("overwrite", []string{"Overwrite"}, "A new dump takes the place of the older ones; else all stay, numbered",
		func(s *Settings) *bool { return &s.Overwrite }),
	text("small_folder", []string{"MinidumpDir"}, "a folder", "Where small dumps go",
		func(s *Settings) *string { return &s.SmallFolder }),
	number("small_count", []string{"MinidumpsCount"}, "1 to 10000", "How many small dumps are kept; the oldest go first",
		func(s *Settings) *int { return &s.SmallCount }),
	truth("keep", []string{"AlwaysKeepMemoryDump"}, "The dump stays even where it leaves little of the disk free",
		func(s *Settings) *bool { return &s.Keep }),
	choice("compression", nil, strings.Join(compressions, ", "), "How a dump is compressed; zlib is smallest, snappy fastest",
		func(s *Settings) *string { return &s.Compression }),
	truth("reboot", []string{"AutoReboot"}, "The machine starts again after the dump; else it is switched off",
		func(s *Settings) *bool { return &s.Reboot }),
	truth("log_event", []string{"LogEvent"}, "The next boot writes to the system's log what was dumped",
		func(s *Settings) *bool { return &s.LogEvent }),
}

// text is a key that is a string as it is.
func text(name string, windows []string, values, meaning string, field func(*Settings) *string) Key {
	return Key{Name: name, Windows: windows, Values: values, Meaning: meaning,
		text:  func(s *Settings) string { return *field(s) },
		value: func(s *Settings) any { return *field(s) },
		set:   func(s *Settings, v string) *Error { *field(s) = v; return nil },
	}
}

// choice is a key that is one word of some, in any case.
func choice(name string, windows []string, values, meaning string, field func(*Settings) *string) Key {
	k := text(name, windows, values, meaning, field)
	k.set = func(s *Settings, v string) *Error { *field(s) = strings.ToLower(v); return nil }
	return k
}

// truth is a key that is true or false.
func truth(name string, windows []string, meaning string, field func(*Settings) *bool) Key {
	return Key{Name: name, Windows: windows, Values: "true, false", Meaning: meaning,
		text:  func(s *Settings) string { return strconv.FormatBool(*field(s)) },
		value: func(s *Settings) any { return *field(s) },
		set: func(s *Settings, v string) *Error {
			b, ok := parseTruth(v)
			if !ok {
				return wrong(name, "choose true or false", "%q says neither yes nor no", v)
			}
			*field(s) = b
			return nil
		},
	}
}

// parseTruth reads true and false, and what people and Windows write for them.
func parseTruth(v string) (value, ok bool) {
	switch strings.ToLower(v) {
	case "true", "yes", "on", "1":
		return true, true
	case "false", "no", "off", "0":
		return false, true
	}
	return false, false
}

// number is a key that is a whole number.
func number(name string, windows []string, values, meaning string, field func(*Settings) *int) Key {
	return Key{Name: name, Windows: windows, Values: values, Meaning: meaning,
		text:  func(s *Settings) string { return strconv.Itoa(*field(s)) },
		value: func(s *Settings) any { return *field(s) },
		set: func(s *Settings, v string) *Error {
			n, err := strconv.Atoi(v)
			if err != nil {
				return wrong(name, "choose "+values, "%q is no whole number", v)
			}
			*field(s) = n
			return nil
		},
	}
}
