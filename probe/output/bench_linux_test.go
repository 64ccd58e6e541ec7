package output

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// BenchmarkSlowDown measures nanoseconds for each line with nobody watching,
// with the program attached but the writer not watched, and watched: medians
// of interleaved rounds.
func BenchmarkSlowDown(b *testing.B) {
	exe := build(b)
	for _, c := range []struct {
		name, command string
		to            func() string
	}{
		{"write80/null", "time 200000", func() string { return os.DevNull }},
		{"write80/file", "time 100000", func() string { return filepath.Join(b.TempDir(), "out") }},
		{"printf/null", "printtime 100000", func() string { return os.DevNull }},
		{"printf/file", "printtime 100000", func() string { return filepath.Join(b.TempDir(), "out") }},
		{"getppid", "idletime 500000", func() string { return os.DevNull }},
	} {
		b.Run(c.name, func(b *testing.B) {
			r, w, err := os.Pipe()
			if err != nil {
				b.Fatal(err)
			}
			v := start(b, exe, file(b, c.to()), w)
			w.Close()
			answers := bufio.NewScanner(r)
			round := func() float64 {
				v.tell(b, c.command)
				answers.Scan()
				ns, err := strconv.ParseFloat(strings.TrimSpace(answers.Text()), 64)
				if err != nil {
					b.Fatal(err)
				}
				return ns
			}
			var ns [3][]float64
			for range 9 {
				ns[0] = append(ns[0], round())
				s := open(b)
				go func() {
					for range s.Lines() {
					}
				}()
				ns[1] = append(ns[1], round())
				if err := s.Add(v.Process.Pid); err != nil {
					b.Fatal(err)
				}
				ns[2] = append(ns[2], round())
				s.Close()
			}
			for i, name := range []string{"ns/alone", "ns/attached", "ns/watched"} {
				slices.Sort(ns[i])
				b.ReportMetric(ns[i][len(ns[i])/2], name)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
