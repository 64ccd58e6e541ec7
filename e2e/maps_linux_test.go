package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// mapping is a line of /proc/PID/maps.
type mapping struct {
	start, end uint64
	perm       string
	inode      uint64
	path       string
}

func mappings(t testing.TB, pid int) []mapping {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	var all []mapping
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		var m mapping
		var off uint64
		var dev string
		if _, err := fmt.Sscanf(line, "%x-%x %s %x %s %d", &m.start, &m.end, &m.perm, &off, &dev, &m.inode); err != nil {
			t.Fatalf("maps line %q: %v", line, err)
		}
		if i := strings.IndexAny(line, "/["); i >= 0 {
			m.path = line[i:]
		}
		all = append(all, m)
	}
	return all
}
