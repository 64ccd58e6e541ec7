package capture

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"procdump/dumpkind"
)

// DefaultMask is the name of a dump that was given none.
const DefaultMask = "PROCESSNAME_YYMMDD_HHMMSS"

// maxName is the longest file name, in bytes, that every file system takes.
const maxName = 255

// zstExt ends the name of a compressed dump.
const zstExt = ".zst"

// ErrNotFolder is the cause of ParseMask's error where a folder has to be
// given and the path is something else.
var ErrNotFolder = errors.New("not a folder")

// ErrNotFile is the cause of ParseMask's error where the path is a device, a
// pipe or the like.
var ErrNotFile = errors.New("not a regular file or folder")

// Mask is where a command's dumps go and how they are named: a folder and a
// file name with words (PROCESSNAME, PID, EXCEPTIONCODE, YYMMDD, HHMMSS,
// CONTAINERID, CGROUP) that each dump replaces with its own facts.
//
// As in ProcDump, an upper-case word is replaced wherever it stands, even
// inside a longer one. In another case it is replaced only where it stands
// alone, next to no letter or digit but those of another such word, so that
// "pid.core", "x_pid" and "yymmddhhmmss" are masks, while "rapid.core" and
// "web-pid28876.core" (which ProcDump turns into "web-2887628876") stay.
// The folder part of a path is never changed.
type Mask struct {
	folder string // as given but absolute, with its separator at the end; never cleaned, since symlink/.. is not its parent
	mask   string // as given, without extension
	pieces []piece
	ext    string // ".core", ".dmp.zst"

	format    Format
	compress  bool
	kinds     bool // the kind is part of the name
	processes bool // the PID is appended
}

// MaskOptions are the facts beside the path that decide a dump's name.
type MaskOptions struct {
	Format   Format // FormatAuto: as the name's extension says
	Compress bool   // .zst is added

	// Folder tells that the path has to be an existing folder (-x FOLDER).
	Folder bool
	// Kinds is how many dumps one trigger writes. Where it is more than one
	// the kind becomes part of the name: x_mini.core, x_full.core.
	Kinds int
	// Processes tells that the dumps of several processes are named by this
	// mask: "_PID" is appended to one that has no PID in it.
	Processes bool
}

// Vars are the facts of one dump that its name is made of.
type Vars struct {
	Process   string // the process's name; "" prints as "process"
	PID       int
	Exception string        // "" prints as "0"
	Time      time.Time     // printed in local time
	Kind      dumpkind.Kind // used if MaskOptions.Kinds > 1
	Container string        // the container's ID as users see it; "" prints as "host"
	Cgroup    string        // the last folder of the control group's path; "" prints as "root"
}

// ParseMask reads a dump path as the command line has it: "" is DefaultMask in
// the current folder, an existing folder or a path that ends in a separator is
// DefaultMask there, anything else a folder (which must exist) and a mask.
//
// The extension chooses the format where o.Format does not (.dmp: minidump;
// .core, .elf, .coredump, .gcore and the names "core" and "core.*": ELF) and
// .zst asks for compression. Where the name's extension is not one of the
// format's, the format's is added, so that no name lies about its content.
func ParseMask(path string, o MaskOptions) (Mask, error) {
	if strings.ContainsRune(path, 0) {
		return Mask{}, fmt.Errorf("parse dump path %q: it has a NUL byte", path)
	}
	folder, name, err := splitPath(path, o.Folder)
	if err != nil {
		return Mask{}, err
	}
	if err := checkFolder(folder); err != nil {
		return Mask{}, err
	}
	if len(name) > maxName {
		return Mask{}, fmt.Errorf("parse dump path: file name %.20q… is %d bytes long, at most %d are possible", name, len(name), maxName)
	}
	if name == "" {
		name = DefaultMask
	}
	m := Mask{folder: folder, kinds: o.Kinds > 1}
	m.setExt(name, o)
	m.pieces = parsePieces(m.mask)
	m.processes = o.Processes && !m.has(wordPID)
	return m, nil
}

// splitPath splits a dump path into an absolute folder and a name, which is
// "" where the path is a folder.
func splitPath(path string, mustFolder bool) (folder, name string, err error) {
	isFolder := path == "" || os.IsPathSeparator(path[len(path)-1])
	if !isFolder {
		info, statErr := os.Stat(path)
		isFolder = statErr == nil && info.IsDir()
		if statErr == nil && !isFolder && !info.Mode().IsRegular() {
			return "", "", fmt.Errorf("write dump to %q: %w; a dump goes to a file of its own, made new", path, ErrNotFile)
		}
		if !isFolder && mustFolder {
			if statErr == nil {
				statErr = ErrNotFolder
			}
			return "", "", folderError(path, statErr)
		}
	}
	folder = path
	if !isFolder {
		folder, name = filepath.Split(path)
	}
	if !filepath.IsAbs(folder) && filepath.VolumeName(folder) == "" && !strings.HasPrefix(folder, string(filepath.Separator)) {
		cwd, err := os.Getwd()
		if err != nil {
			return "", "", fmt.Errorf("find current folder: %w", err)
		}
		folder = withSeparator(cwd) + folder
	}
	return withSeparator(folder), name, nil
}

func withSeparator(folder string) string {
	if folder != "" && os.IsPathSeparator(folder[len(folder)-1]) {
		return folder
	}
	return folder + string(filepath.Separator)
}

func checkFolder(folder string) error {
	info, err := os.Stat(folder)
	if err == nil && !info.IsDir() {
		err = ErrNotFolder
	}
	if err != nil {
		return folderError(folder, err)
	}
	return nil
}

// folderError says what is wrong with a dump folder and what to do about it.
func folderError(folder string, err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err // the path is said once
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open dump folder %q: %w; create it or give another one", folder, err)
	}
	return fmt.Errorf("open dump folder %q: %w", folder, err)
}

// setExt splits name into mask and extension and settles format and
// compression.
func (m *Mask) setExt(name string, o MaskOptions) {
	stem, ext, format, zst := splitExt(name)
	m.compress = o.Compress || zst
	m.format = o.Format
	if m.format == FormatAuto {
		m.format = DefaultFormat()
		// A name cannot ask for a core where there are none.
		if format == FormatMinidump || format == FormatELF && runtime.GOOS != "windows" {
			m.format = format
		}
	}
	if m.format != format {
		stem, ext = stem+ext, m.format.Ext()
	}
	if m.compress {
		ext += zstExt
	}
	m.mask, m.ext = stem, ext
}

// splitExt splits a file name into its stem, the extension that tells the
// format (FormatAuto: none does; "" where the whole name does), and whether
// .zst, which is in neither, followed it.
func splitExt(name string) (stem, ext string, format Format, zst bool) {
	stem = name
	if s, ok := cutSuffixFold(stem, zstExt); ok {
		stem, zst = s, true
	}
	if s, ok := cutSuffixFold(stem, ".dmp"); ok {
		return s, stem[len(s):], FormatMinidump, zst
	}
	for _, e := range []string{".core", ".elf", ".coredump", ".gcore"} {
		if s, ok := cutSuffixFold(stem, e); ok {
			return s, stem[len(s):], FormatELF, zst
		}
	}
	if stem == "core" || strings.HasPrefix(stem, "core.") {
		return stem, "", FormatELF, zst
	}
	return stem, "", FormatAuto, zst
}

// FormatOf returns the format that the extension of a dump path asks for,
// FormatAuto if none.
func FormatOf(path string) Format {
	_, name := filepath.Split(path)
	_, _, format, _ := splitExt(name)
	return format
}

// cutSuffixFold cuts suffix in any case off s unless nothing would be left.
func cutSuffixFold(s, suffix string) (string, bool) {
	n := len(s) - len(suffix)
	if n <= 0 || !strings.EqualFold(s[n:], suffix) {
		return s, false
	}
	return s[:n], true
}

// Folder returns the dumps' folder, absolute, with a separator at its end.
func (m Mask) Folder() string { return m.folder }

// String returns the file-name part as given, without its extension.
func (m Mask) String() string { return m.mask }

// Format returns the dumps' format; it is never FormatAuto.
func (m Mask) Format() Format { return m.format }

// Compress tells whether the dumps are compressed.
func (m Mask) Compress() bool { return m.compress }

// Name returns the file name of a dump: at most 255 bytes, no separator in it.
func (m Mask) Name(v Vars) string { return m.name(v, 0) }

// Path returns the path of a dump, as long as no file is there.
func (m Mask) Path(v Vars) string { return m.folder + m.name(v, 0) }

// Alternatives yields the paths to try for a dump, in order: Path, then the
// same with -1, -2, … before the extension. Whether a path is free is for the
// writer to find out by an operation that fails on an existing file, not by
// looking first. The sequence ends after 100,000 paths.
func (m Mask) Alternatives(v Vars) iter.Seq[string] {
	return func(yield func(string) bool) {
		for n := range 100_000 {
			if !yield(m.folder + m.name(v, n)) {
				return
			}
		}
	}
}

// name returns the n-th alternative for a file name.
func (m Mask) name(v Vars, n int) string {
	var tail strings.Builder
	if m.processes {
		tail.WriteString("_" + strconv.Itoa(v.PID))
	}
	if m.kinds {
		tail.WriteString("_" + v.Kind.String())
	}
	if n > 0 {
		tail.WriteString("-" + strconv.Itoa(n))
	}
	tail.WriteString(m.ext)

	space := maxName - tail.Len()
	v.Process = cleanValue(v.Process, "process")
	v.Exception = cleanValue(v.Exception, "0")
	v.Container, v.Cgroup = cleanValue(v.Container, "host"), cleanValue(v.Cgroup, "root")
	stem := m.expand(v)
	if over := len(stem) - space; over > 0 {
		// The process's name gives way before the time and the PID do.
		if count := m.count(wordProcess); count > 0 {
			v.Process = cutUTF8(v.Process, max(1, len(v.Process)-(over+count-1)/count))
			stem = m.expand(v)
		}
		stem = cutUTF8(stem, space)
	}
	return stem + tail.String()
}

// Beside returns the path of a file that accompanies a dump: the dump's path
// with suffix (".kernel.txt") in place of its extension.
func Beside(dump, suffix string) string {
	folder, name := filepath.Split(dump)
	stem, _, _, _ := splitExt(name)
	return folder + stem + suffix
}

// word is a part of a mask that each dump replaces.
type word uint8

const (
	literal word = iota
	wordProcess
	wordPID
	wordException
	wordDate
	wordTime
	wordContainer
	wordCgroup
)

// words are the spellings. None is the beginning of another.
var words = [...]string{
	wordProcess: "PROCESSNAME", wordPID: "PID", wordException: "EXCEPTIONCODE", wordDate: "YYMMDD", wordTime: "HHMMSS",
	wordContainer: "CONTAINERID", wordCgroup: "CGROUP",
}

// piece is a literal text or a word of a mask.
type piece struct {
	word word
	text string // of a literal
}

// parsePieces finds the words in a mask; see Mask for the rule.
func parsePieces(mask string) []piece {
	var pieces []piece
	for len(mask) > 0 {
		n := strings.IndexFunc(mask, isAlnum)
		if n < 0 {
			n = len(mask)
		}
		if n > 0 {
			pieces = append(pieces, piece{text: mask[:n]})
			mask = mask[n:]
			continue
		}
		n = strings.IndexFunc(mask, func(r rune) bool { return !isAlnum(r) })
		if n < 0 {
			n = len(mask)
		}
		pieces = append(pieces, parseRun(mask[:n])...)
		mask = mask[n:]
	}
	return pieces
}

func isAlnum(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// parseRun finds the words in a run of letters and digits.
func parseRun(run string) []piece {
	if pieces, rest := cutWords(run, strings.EqualFold); rest == "" {
		return pieces
	}
	var pieces []piece
	start := 0
	for i := 0; i < len(run); {
		found, rest := cutWords(run[i:], func(a, b string) bool { return a == b })
		if len(found) == 0 {
			i++
			continue
		}
		if i > start {
			pieces = append(pieces, piece{text: run[start:i]})
		}
		pieces = append(pieces, found...)
		i = len(run) - len(rest)
		start = i
	}
	if start < len(run) {
		pieces = append(pieces, piece{text: run[start:]})
	}
	return pieces
}

// cutWords cuts as many words as there are off the start of s.
func cutWords(s string, equal func(a, b string) bool) (pieces []piece, rest string) {
next:
	for s != "" {
		for w := wordProcess; w <= wordCgroup; w++ {
			if n := len(words[w]); len(s) >= n && equal(s[:n], words[w]) {
				pieces = append(pieces, piece{word: w})
				s = s[n:]
				continue next
			}
		}
		break
	}
	return pieces, s
}

func (m Mask) has(w word) bool { return m.count(w) > 0 }

func (m Mask) count(w word) int {
	n := 0
	for _, p := range m.pieces {
		if p.word == w {
			n++
		}
	}
	return n
}

// expand replaces the words. Values are not looked at again: a process may be
// called PID.
func (m Mask) expand(v Vars) string {
	var b strings.Builder
	for _, p := range m.pieces {
		switch p.word {
		case literal:
			b.WriteString(p.text)
		case wordProcess:
			b.WriteString(v.Process)
		case wordPID:
			b.WriteString(strconv.Itoa(v.PID))
		case wordException:
			b.WriteString(v.Exception)
		case wordDate:
			b.WriteString(v.Time.Local().Format("060102"))
		case wordTime:
			b.WriteString(v.Time.Local().Format("150405"))
		case wordContainer:
			b.WriteString(v.Container)
		case wordCgroup:
			b.WriteString(v.Cgroup)
		}
	}
	return b.String()
}

// cleanValue makes a text that the target chose fit for a file name that is
// safe in a shell and on every file system: what is not printable, a space, a
// separator or special to Windows becomes "_", and so do leading dots (hidden
// files, "..") and dashes (a login shell is called "-bash").
func cleanValue(s, empty string) string {
	if s == "" {
		return empty
	}
	var b strings.Builder
	lead := true
	for _, r := range s {
		if lead = lead && (r == '.' || r == '-'); lead {
			r = '_'
		}
		if r == utf8.RuneError || !unicode.IsPrint(r) || unicode.IsSpace(r) || strings.ContainsRune(`/\:*?"<>|`, r) {
			r = '_'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// cutUTF8 cuts s to at most n bytes without splitting a character.
func cutUTF8(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
