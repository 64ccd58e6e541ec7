package capture

import (
	"path"
	"slices"
	"strings"

	"procdump/snapshot"
)

// shortID is how many characters of a container's ID its tools show.
const shortID = 12

// Place fills in where the process runs: its container and its control group.
func (v *Vars) Place(p *snapshot.Process) {
	text, known := p.Texts["cgroup"]
	if !known {
		v.Container, v.Cgroup = "unknown", "unknown"
		return
	}
	v.Container = p.Info.Container[:min(len(p.Info.Container), shortID)]
	v.Cgroup = cgroupName(string(text))
}

// cgroupName is the last folder of a control group's path, "" of the root. Text
// is /proc/PID/cgroup (cgroups(7)): "0::/PATH" of version 2, and a line for each
// controller of version 1, "4:memory:/PATH". Where several hierarchies are in
// use, that in which systemd or a container's runtime places processes counts.
func cgroupName(text string) string {
	name, best := "", 0
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		folder := path.Base(path.Clean("/" + strings.TrimSuffix(f[2], " (deleted)")))
		if rank := hierarchyRank(f[1]); folder != "/" && rank > best {
			name, best = folder, rank
		}
	}
	return name
}

// hierarchyRank orders hierarchies by what their paths tell.
func hierarchyRank(controllers string) int {
	switch {
	case controllers == "": // version 2
		return 4
	case controllers == "name=systemd":
		return 3
	case slices.Contains(strings.Split(controllers, ","), "memory"):
		return 2
	}
	return 1
}

// HasWords tells whether a file name has words that each dump replaces.
func HasWords(name string) bool {
	stem, _, _, _ := splitExt(name)
	return slices.ContainsFunc(parsePieces(stem), func(p piece) bool { return p.word != literal })
}
