package counter

import (
	"os"
	"testing"
	"time"

	"procdump/probe/cgroup"
)

// BenchmarkRead is the cost of a sample.
func BenchmarkRead(b *testing.B) {
	for _, name := range []string{`\Process\Thread Count`, `\Process\% Processor Time`, `\Process\Private Bytes`, `\Process\Handle Count`,
		`\Process\IO Data Bytes/sec`, `\Processor(_Total)\% Processor Time`, `\Memory\Available MBytes`, `\Memory\Page Faults/sec`,
		`\System\Processes`, `\PhysicalDisk(_Total)\Disk Bytes/sec`, `\Network Interface(_Total)\Bytes Total/sec`, "psi:cpu.some.avg10", "cgroup:memory.current"} {
		b.Run(name, func(b *testing.B) {
			c, err := Parse(name)
			if err != nil {
				b.Fatal(err)
			}
			r, err := c.Open(Env{Cgroup: cgroup.Root("").Value}, os.Getpid())
			if err != nil {
				b.Skip(err)
			}
			defer r.Close()
			for b.Loop() {
				if _, _, err := r.Read(time.Now()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
