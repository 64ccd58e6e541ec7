package e2e

import (
	"debug/elf"
	"encoding/hex"
	"os"
	"path/filepath"
	"sync"
)

// debugFile returns the separate debug file of an image by its build id, or "".
func debugFile(image string) string {
	f, err := elf.Open(image)
	if err != nil {
		return ""
	}
	defer f.Close()
	s := f.Section(".note.gnu.build-id")
	if s == nil {
		return ""
	}
	b, err := s.Data()
	if err != nil || len(b) < 17 {
		return ""
	}
	id := hex.EncodeToString(b[16:])
	p := filepath.Join("/usr/lib/debug/.build-id", id[:2], id[2:]+".debug")
	if _, err := os.Stat(p); err != nil {
		return ""
	}
	return p
}

var symbolTables = struct {
	sync.Mutex
	byImage map[string]map[string][]uint64
}{byImage: map[string]map[string][]uint64{}}

// symbolsOf returns the values of each function symbol of an image and its
// debug file.
func symbolsOf(image string) map[string][]uint64 {
	symbolTables.Lock()
	defer symbolTables.Unlock()
	if m, ok := symbolTables.byImage[image]; ok {
		return m
	}
	m := map[string][]uint64{}
	for _, file := range []string{image, debugFile(image)} {
		f, err := elf.Open(file)
		if err != nil {
			continue
		}
		for _, list := range []func() ([]elf.Symbol, error){f.Symbols, f.DynamicSymbols} {
			symbols, _ := list()
			for _, s := range symbols {
				if s.Value != 0 {
					name := normal(s.Name)
					m[name] = append(m[name], s.Value)
				}
			}
		}
		f.Close()
	}
	symbolTables.byImage[image] = m
	return m
}

// aliases tells whether an image has the same function under both names:
// debuggers pick different ones of pause and __libc_pause.
func aliases(image, a, b string) bool {
	if image == "" {
		return false
	}
	m := symbolsOf(image)
	for _, x := range m[a] {
		for _, y := range m[b] {
			if x == y {
				return true
			}
		}
	}
	return false
}
