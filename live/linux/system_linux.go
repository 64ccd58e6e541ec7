package linux

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"procdump/arch"
	"procdump/snapshot"
)

// readSystem describes the machine from /proc and /etc/os-release.
func readSystem() snapshot.System {
	s := snapshot.System{
		OS: "linux", CPUs: runtime.NumCPU(), PageSize: os.Getpagesize(),
		Release: readText("/proc/sys/kernel/osrelease"), Version: readText("/proc/sys/kernel/version"),
	}
	s.Host, _ = os.Hostname()
	for line := range strings.Lines(readText("/etc/os-release")) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			s.Distro = strings.Trim(v, `"`)
		}
	}
	for line := range strings.Lines(readText("/proc/stat")) {
		if v, ok := strings.CutPrefix(line, "btime "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			s.BootTime = time.Unix(n, 0)
		}
	}
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		s.Memory = kilobytes([]byte(statusField(b, "MemTotal")))
	}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		cpuFacts(&s, b)
	}
	return s
}

// cpuFacts fills the processor's identity from /proc/cpuinfo's first entry.
func cpuFacts(s *snapshot.System, info []byte) {
	first, _, _ := bytes.Cut(info, []byte("\n\n"))
	field := func(name string) string {
		for line := range bytes.Lines(first) {
			if k, v, ok := bytes.Cut(line, []byte(":")); ok && string(bytes.TrimSpace(k)) == name {
				return string(bytes.TrimSpace(v))
			}
		}
		return ""
	}
	num := func(name string) int { n, _ := strconv.ParseInt(field(name), 0, 64); return int(n) }
	if n := bytes.Count(info, []byte("processor\t")); n > 0 {
		s.CPUs = n
	}
	s.CPUVendor, s.CPUName = field("vendor_id"), field("model name")
	s.CPUFamily, s.CPUModel, s.CPUStepping = num("cpu family"), num("model"), num("stepping")
	s.CPUSignature = cpuSignature(s.CPUFamily, s.CPUModel, s.CPUStepping)
	s.CPUFeatures = cpuFeatures(field("flags"))
	if s.CPUVendor == "" { // arm64
		s.CPUModel, s.CPUStepping = num("CPU part"), num("CPU revision")
	}
}

// cpuSignature makes CPUID leaf 1's EAX from what the kernel printed of it
// (Intel SDM vol. 2A, CPUID: extended family and model).
func cpuSignature(family, model, stepping int) uint32 {
	base, ext := family, 0
	if family > 15 {
		base, ext = 15, family-15
	}
	return uint32(stepping&15 | model&15<<4 | base<<8 | model>>4&15<<16 | ext<<20)
}

// featureBits are the names of CPUID leaf 1's EDX bits in /proc/cpuinfo.
var featureBits = [32]string{"fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", "apic", "", "sep", "mtrr", "pge",
	"mca", "cmov", "pat", "pse36", "pn", "clflush", "", "dts", "acpi", "mmx", "fxsr", "sse", "sse2", "ss", "ht", "tm", "ia64", "pbe"}

func cpuFeatures(flags string) uint32 {
	have := map[string]bool{}
	for _, f := range strings.Fields(flags) {
		have[f] = true
	}
	var bits uint32
	for i, name := range featureBits {
		if name != "" && have[name] {
			bits |= 1 << i
		}
	}
	return bits
}

// hostMachine is the machine of the kernel.
func hostMachine() arch.Machine {
	switch runtime.GOARCH {
	case "amd64":
		return arch.AMD64
	case "arm64":
		return arch.ARM64
	}
	return arch.Unknown
}
