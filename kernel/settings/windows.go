package settings

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

// crashDumpEnabled are the numbers of CrashDumpEnabled. Active is 1 with
// FilterPages 1.
var crashDumpEnabled = []struct {
	number int
	kind   Kind
}{{0, None}, {1, Complete}, {2, Kernel}, {3, Small}, {7, Automatic}}

// windowsValues are those of CrashControl that have an effect here.
var windowsValues = []setting{
	{"CrashDumpEnabled", []string{"kind"},
		func(s *Settings) string {
			kind := s.Kind
			if kind == Active {
				kind = Complete
			}
			for _, c := range crashDumpEnabled {
				if c.kind == kind {
					return strconv.Itoa(c.number)
				}
			}
			return ""
		},
		func(s *Settings, v string) *Error {
			for _, c := range crashDumpEnabled {
				if v == strconv.Itoa(c.number) {
					s.Kind = c.kind
					return nil
				}
			}
			return wrong("CrashDumpEnabled", "choose 0 (none), 1 (complete), 2 (kernel), 3 (small) or 7 (automatic)", "%q is no kind of dump", v)
		}},
	{"FilterPages", []string{"kind"},
		func(s *Settings) string { return bit(s.Kind == Active) },
		setFilterPages},
	{"DumpFile", []string{"folder", "file"},
		func(s *Settings) string {
			if s.Raw() {
				return s.Folder
			}
			return path.Join(s.Folder, s.File)
		},
		func(s *Settings, v string) *Error {
			switch {
			case isDevice(v):
				s.Folder = v
			case !path.IsAbs(v):
				return wrong("DumpFile", "give the whole path, from /", "%q is not absolute", v)
			case strings.HasSuffix(v, "/"):
				return wrong("DumpFile", "add the name of the dump, or set folder="+path.Clean(v), "%q is a folder", v)
			default:
				s.Folder, s.File = path.Dir(v), path.Base(v)
			}
			return nil
		}},
	{"DedicatedDumpFile", []string{"folder"},
		func(s *Settings) string {
			if s.Raw() {
				return s.Folder
			}
			return ""
		},
		func(s *Settings, v string) *Error {
			if !isDevice(v) {
				return wrong("DedicatedDumpFile", "set folder: space for dumps is set aside in the folder of the dumps", "%q is no block device", v)
			}
			s.Folder = v
			return nil
		}},
	windowsTruth("Overwrite", "overwrite", func(s *Settings) *bool { return &s.Overwrite }),
	windowsTruth("AlwaysKeepMemoryDump", "keep", func(s *Settings) *bool { return &s.Keep }),
	windowsTruth("AutoReboot", "reboot", func(s *Settings) *bool { return &s.Reboot }),
	windowsTruth("LogEvent", "log_event", func(s *Settings) *bool { return &s.LogEvent }),
	windowsSame("MinidumpDir", "small_folder"),
	windowsSame("MinidumpsCount", "small_count"),
}

// setFilterPages makes an active dump of a complete one, or the opposite.
func setFilterPages(s *Settings, v string) *Error {
	on, ok := parseTruth(v)
	switch {
	case !ok:
		return wrong("FilterPages", "choose 0 or 1", "%q says neither yes nor no", v)
	case on && (s.Kind == Complete || s.Kind == Active):
		s.Kind = Active
	case on:
		return wrong("FilterPages", "set kind=active, or CrashDumpEnabled=1 with it", "it makes an active dump of a complete one, and kind is %s", s.Kind)
	case s.Kind == Active:
		s.Kind = Complete
	}
	return nil
}

// windowsElsewhere are values of CrashControl that are no setting here, and
// what to do instead.
var windowsElsewhere = map[string]string{
	"DumpFileSize":       "leave it out: the space for dumps is chosen by procdump",
	"IgnorePagefileSize": "leave it out: dumps do not go through the swap space",
	"LastCrashTime":      "procdump kernel status shows it",
	"DumpFilters":        "leave it out: there are no filter drivers",
	"KernelDumpOnly":     "set kind=kernel",
	"SendAlert":          "leave it out: set log_event=true and have the system's log send it",
	"NMICrashDump":       "run sysctl -w kernel.unknown_nmi_panic=1",
}

// windowsTruth is Windows' 0 or 1 for a key of ours.
func windowsTruth(name, key string, field func(*Settings) *bool) setting {
	return setting{name, []string{key},
		func(s *Settings) string { return bit(*field(s)) },
		truth(name, nil, "", field).set}
}

// windowsSame is another name of a key of ours.
func windowsSame(name, key string) setting {
	i := slices.IndexFunc(keys, func(k Key) bool { return k.Name == key })
	return setting{name, []string{key}, keys[i].text, keys[i].set}
}

func bit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}
