package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"procdump/internal/sys/fsys"
)

// maxFile is the largest file that is read, in bytes.
const maxFile = 1 << 20

// Load reads the file at path. Where there is none it returns Default. Its
// error about what is in the file is an *Error with the line.
func Load(path string) (Settings, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Default(), nil
	}
	if err != nil {
		return Settings{}, fmt.Errorf("read settings: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return Settings{}, fmt.Errorf("read settings: %w", err)
	}
	if why := untrusted(st); why != "" {
		return Settings{}, &Error{File: path, What: "the file is not heeded: " + why, Remedy: "chown root:root and chmod 644 it, once its contents are right"}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Settings{}, fmt.Errorf("read settings: %w", err)
	}
	if len(b) > maxFile {
		return Settings{}, &Error{File: path, What: "the file is larger than 1 MiB", Remedy: "this is not a file of settings; remove it"}
	}
	s, e := parse(string(b))
	if e != nil {
		e.File = path
		return Settings{}, e
	}
	return s, nil
}

// Parse reads what is in a file. Its error is an *Error.
func Parse(text string) (Settings, error) {
	s, e := parse(text)
	if e != nil {
		return Settings{}, e
	}
	return s, nil
}

func parse(text string) (Settings, *Error) {
	var table map[string]any
	meta, err := toml.Decode(text, &table)
	if err != nil {
		return Settings{}, syntaxError(err)
	}
	var list []assignment
	var lines []int
	for _, k := range meta.Keys() {
		line := lineOf(text, k[0])
		if _, e := lookup(k[0]); e != nil {
			e.Line = line
			return Settings{}, e
		}
		value, ok := scalar(table[k[0]])
		if !ok || len(k) > 1 {
			e := wrong(k[0], "write "+k[0]+" = VALUE", "a list, a table or a date is no value of a setting")
			e.Line = line
			return Settings{}, e
		}
		list, lines = append(list, assignment{k[0], value}), append(lines, line)
	}
	s := Default()
	if i, e := s.assign(list); e != nil {
		e.Line = lines[i]
		return Settings{}, e
	}
	if e := s.check(); e != nil {
		// The key may be written with a name of Windows.
		for i, a := range list {
			if k, _ := lookup(a.name); slices.Contains(k.keys, e.Key) {
				e.Line = lines[i]
			}
		}
		return Settings{}, e
	}
	return s, nil
}

// scalar returns a value as it is written on the command line.
func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	}
	return "", false
}

// syntaxError is the error of a file that is no TOML.
func syntaxError(err error) *Error {
	var p toml.ParseError
	if !errors.As(err, &p) {
		return &Error{What: "the file is not TOML", Err: err, Remedy: remedySyntax}
	}
	return &Error{Line: p.Position.Line, What: p.Message, Remedy: remedySyntax}
}

const remedySyntax = "write KEY = VALUE, texts in quotes; without the file all settings have their defaults"

// lineOf returns the number of the line that sets a key, or 0: the decoder does
// not tell where it has found it.
func lineOf(text, key string) int {
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimLeft(strings.TrimSpace(line), "[ \t")
		end := strings.IndexAny(line, "=.]")
		if end < 0 {
			continue
		}
		name := strings.TrimSpace(line[:end])
		if name == key || len(name) >= 2 && (name[0] == '"' || name[0] == '\'') && name[1:len(name)-1] == key {
			return i + 1
		}
	}
	return 0
}

// header is the comment at the top of the file.
const header = `# How procdump dumps the kernel when it crashes. "procdump kernel config" shows
# and changes these settings; it writes this file anew, without comments of your
# own. They take effect when "procdump kernel arm" is run, or at the next boot.
`

// Marshal returns s as the file has it.
func (s Settings) Marshal() []byte {
	var b bytes.Buffer
	b.WriteString(header)
	std := Default()
	for _, k := range keys {
		b.WriteByte('\n')
		for _, line := range wrap(k.Meaning+". Values: "+k.Values+".", 78) {
			b.WriteString("# " + line + "\n")
		}
		if len(k.Windows) > 0 {
			fmt.Fprintf(&b, "# Windows: %s. ", strings.Join(k.Windows, ", "))
		} else {
			b.WriteString("# ")
		}
		fmt.Fprintf(&b, "Default: %s\n", line(k, &std))
		b.WriteString(line(k, &s) + "\n")
	}
	return b.Bytes()
}

// line is the key and its value, as TOML.
func line(k Key, s *Settings) string {
	out, err := toml.Marshal(map[string]any{k.Name: k.value(s)})
	if err != nil {
		panic(err) // a text, a number and a truth value can be encoded
	}
	return strings.TrimSpace(string(out))
}

// wrap breaks a text into lines of at most width bytes.
func wrap(text string, width int) []string {
	var lines []string
	for _, word := range strings.Fields(text) {
		if n := len(lines); n > 0 && len(lines[n-1])+1+len(word) <= width {
			lines[n-1] += " " + word
			continue
		}
		lines = append(lines, word)
	}
	return lines
}

// Save writes s to path, all or nothing, and makes the folder if there is none.
// Its error about a value is an *Error.
func (s Settings) Save(path string) error {
	if e := s.check(); e != nil {
		return e
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("save settings: %w", err)
	}
	// Nothing in it is secret, and a person is to see how the machine is set.
	if err := fsys.WriteFile(path, s.Marshal(), 0o644, fsys.Overwrite|fsys.Durable); err != nil {
		return fmt.Errorf("save settings: %w", err)
	}
	return nil
}
