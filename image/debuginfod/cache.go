package debuginfod

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// cache is a folder of files that were fetched: BUILDID/executable and
// BUILDID/debuginfo. An empty file means that no server had it when it was made.
// Files of its own say for how long that counts, how old an unused file gets, and
// how often such are looked for, in seconds.
type cache struct {
	dir string // "" if there is no place for it
}

const (
	missFile     = "cache_miss_s"
	intervalFile = "cache_clean_interval_s"
	ageFile      = "max_unused_age_s"
)

// defaults are those of elfutils, in seconds.
var defaults = map[string]int64{missFile: 600, intervalFile: 24 * 3600, ageFile: 7 * 24 * 3600}

// newCache finds the folder as elfutils does: an old one in the home folder is
// used where it is there.
func newCache(getenv func(string) string) cache {
	if dir := getenv("DEBUGINFOD_CACHE_PATH"); dir != "" {
		return cache{dir}
	}
	home := getenv("HOME")
	if home != "" {
		old := filepath.Join(home, ".debuginfod_client_cache")
		if st, err := os.Stat(old); err == nil && st.IsDir() {
			return cache{old}
		}
	}
	base := getenv("XDG_CACHE_HOME")
	if base == "" && home != "" {
		base = filepath.Join(home, ".cache")
	}
	if base == "" {
		return cache{}
	}
	return cache{filepath.Join(base, "debuginfod_client")}
}

// setting is the number of seconds in one of the cache's own files, which is
// made if it is not there.
func (c cache) setting(name string) time.Duration {
	path, n := filepath.Join(c.dir, name), defaults[name]
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		os.WriteFile(path, fmt.Appendf(nil, "%d\n", n), 0o644)
	}
	if v, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 32); err == nil && v >= 0 {
		n = v
	}
	return time.Duration(n) * time.Second
}

// find looks for a file. missing tells that servers need not be asked. Where
// there can be no cache, that is the error.
func (c cache) find(name, kind string) (path string, missing bool, err error) {
	if c.dir == "" {
		return "", false, errors.New("nothing is asked for: there is no place for a cache (set HOME or DEBUGINFOD_CACHE_PATH)")
	}
	path = filepath.Join(c.dir, name, kind)
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", false, nil
	case err != nil:
		return "", false, err
	case !st.Mode().IsRegular():
		return "", true, nil
	case st.Size() > 0:
		os.Chtimes(path, time.Now(), st.ModTime()) // it is used; the mount may not note it
		return path, false, nil
	case time.Since(st.ModTime()) < c.setting(missFile):
		return "", true, nil
	}
	os.Remove(path)
	return "", false, nil
}

// miss notes that no server has a file. Versions of elfutils know that by the
// size or by the mode of the file.
func (c cache) miss(name, kind string) {
	if os.MkdirAll(filepath.Join(c.dir, name), 0o700) == nil {
		if f, err := os.OpenFile(filepath.Join(c.dir, name, kind), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0); err == nil {
			f.Close()
		}
	}
	c.clean()
}

// elfMagic is what the files that are fetched begin with.
const elfMagic = "\x7fELF"

// put puts a file of at most limit bytes into the cache, if it fits, and returns
// its path and how many bytes were read.
func (c cache) put(name, kind string, r io.Reader, limit int64, fits func(string) error) (path string, n int64, err error) {
	dir := filepath.Join(c.dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", 0, err
	}
	f, err := os.CreateTemp(dir, kind+".*")
	if err != nil {
		return "", 0, err
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(f.Name())
			os.Remove(dir) // if it is empty
		}
	}()
	head := make([]byte, len(elfMagic))
	k, err := io.ReadFull(r, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return "", int64(k), err
	}
	if !bytes.Equal(head, []byte(elfMagic)) {
		return "", int64(k), errors.New("what came is no ELF file")
	}
	n, err = io.Copy(f, io.MultiReader(bytes.NewReader(head), r))
	if err == nil && n > limit {
		err = fmt.Errorf("it has more than %d bytes (DEBUGINFOD_MAXSIZE)", limit)
	}
	if err = cmp.Or(err, f.Chmod(0o400), f.Close()); err != nil {
		return "", n, err
	}
	if err = fits(f.Name()); err != nil {
		return "", n, err
	}
	path = filepath.Join(dir, kind)
	if err = os.Rename(f.Name(), path); err != nil {
		return "", n, err
	}
	c.clean()
	return path, n, nil
}

// ours are the files that a cache of debuginfod holds, half-fetched ones among them.
var ours = regexp.MustCompile(`^[0-9a-f]+/(debuginfo|executable|source|metadata)[^/]*$`)

// clean removes files that were not used for long, if that was not done lately.
func (c cache) clean() {
	mark := filepath.Join(c.dir, intervalFile)
	interval := c.setting(intervalFile)
	st, err := os.Stat(mark)
	if err != nil || time.Since(st.ModTime()) < interval {
		return
	}
	now := time.Now()
	if os.Chtimes(mark, now, now) != nil {
		return
	}
	age := c.setting(ageFile)
	files, _ := filepath.Glob(filepath.Join(c.dir, "*", "*"))
	for _, file := range files {
		rel, err := filepath.Rel(c.dir, file)
		if err != nil || !ours.MatchString(filepath.ToSlash(rel)) {
			continue
		}
		if st, err := os.Lstat(file); err == nil && st.Mode().IsRegular() && now.Sub(used(st)) > age {
			os.Remove(file)
			os.Remove(filepath.Dir(file)) // if it is empty
		}
	}
}
