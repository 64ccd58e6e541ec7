package minidump

import (
	"encoding/binary"
	"fmt"
	"strings"

	"procdump/arch"
	"procdump/snapshot"
)

// Values of SystemInfo.Architecture (PROCESSOR_ARCHITECTURE_*).
const (
	ArchX86      = 0
	ArchARM      = 5
	ArchAMD64    = 9
	ArchARM64    = 12
	ArchARM64Old = 0x8003 // Breakpad's before Microsoft chose one
)

// Values of SystemInfo.Platform that matter here (VER_PLATFORM_WIN32_NT,
// Breakpad's MD_OS_LINUX and MD_OS_ANDROID).
const (
	PlatformWindows = 2
	PlatformLinux   = 0x8201
	PlatformAndroid = 0x8203
)

// SystemInfo describes the machine and the operating system (MINIDUMP_SYSTEM_INFO).
type SystemInfo struct {
	Architecture        uint16
	Level, Revision     uint16 // x86: family; model<<8 | stepping
	Processors          uint8
	ProductType         uint8
	Major, Minor, Build uint32 // of the operating system
	Platform            uint32
	CSDVersion          string // Windows: service pack; Linux: what uname says
	SuiteMask           uint16
	// CPU is 24 bytes. x86: CPUID vendor[12], u32 version, u32 features,
	// u32 AMD's extended features; otherwise u64[2] features.
	CPU [24]byte
}

// Machine returns the instruction set, arch.Unknown if it is none that we know.
func (s *SystemInfo) Machine() arch.Machine {
	switch s.Architecture {
	case ArchAMD64:
		return arch.AMD64
	case ArchX86:
		return arch.I386
	case ArchARM64, ArchARM64Old:
		return arch.ARM64
	}
	return arch.Unknown
}

// OS returns the operating system's name as snapshot.System has it, "" if it
// is neither Linux nor Windows.
func (s *SystemInfo) OS() string {
	switch s.Platform {
	case PlatformLinux, PlatformAndroid:
		return "linux"
	case PlatformWindows:
		return "windows"
	}
	return ""
}

func (h *head) systemInfo(p *snapshot.Process) {
	s := &p.System
	csd := h.str(strings.Join(strings.Fields(fmt.Sprintf("%s %s %s %s", osName(s), s.Release, s.Version, unameMachine(s.Machine))), " "))
	h.begin(SystemInfoStream)
	h.u16(architecture(s.Machine))
	h.u16(uint16(s.CPUFamily))
	h.u16(uint16(s.CPUModel<<8 | s.CPUStepping&0xff))
	h.u8(uint8(min(max(s.CPUs, 0), 255)))
	h.u8(1)
	var v [3]uint32
	// The rest of a release ("6.1.0-18-amd64") is text.
	_, _ = fmt.Sscanf(s.Release, "%d.%d.%d", &v[0], &v[1], &v[2])
	for _, x := range v {
		h.u32(x)
	}
	h.u32(PlatformLinux)
	h.u32(csd)
	h.u32(0)
	var cpu [24]byte
	if s.Machine == arch.AMD64 || s.Machine == arch.I386 {
		copy(cpu[:12], s.CPUVendor)
		binary.LittleEndian.PutUint32(cpu[12:], s.CPUSignature)
		binary.LittleEndian.PutUint32(cpu[16:], s.CPUFeatures)
	}
	h.bytes(cpu[:])
	h.end()
}

func architecture(m arch.Machine) uint16 {
	switch m {
	case arch.AMD64:
		return ArchAMD64
	case arch.I386:
		return ArchX86
	case arch.ARM64:
		return ArchARM64
	}
	return 0xffff // PROCESSOR_ARCHITECTURE_UNKNOWN
}

func osName(s *snapshot.System) string {
	if s.OS == "" || s.OS == "linux" {
		return "Linux"
	}
	return s.OS
}

func unameMachine(m arch.Machine) string {
	switch m {
	case arch.AMD64:
		return "x86_64"
	case arch.I386:
		return "i686"
	case arch.ARM64:
		return "aarch64"
	}
	return ""
}

// SystemInfo returns the SystemInfo stream.
func (r *Reader) SystemInfo() (*SystemInfo, error) {
	b, d, err := r.stream(SystemInfoStream)
	if len(b) < systemInfoSize {
		return nil, orShort(err, d, "SystemInfo")
	}
	le := binary.LittleEndian
	s := &SystemInfo{
		Architecture: le.Uint16(b), Level: le.Uint16(b[2:]), Revision: le.Uint16(b[4:]),
		Processors: b[6], ProductType: b[7],
		Major: le.Uint32(b[8:]), Minor: le.Uint32(b[12:]), Build: le.Uint32(b[16:]),
		Platform: le.Uint32(b[20:]), SuiteMask: le.Uint16(b[28:]), CPU: [24]byte(b[32:56]),
	}
	// A lost service pack name is no reason to lose the machine's type.
	s.CSDVersion, _ = r.strings().at(int64(le.Uint32(b[24:])))
	return s, nil
}

// fill puts what the stream says into a snapshot's System.
func (s *SystemInfo) fill(sys *snapshot.System) {
	sys.Machine, sys.OS = s.Machine(), s.OS()
	sys.CPUs = int(s.Processors)
	sys.CPUFamily, sys.CPUModel, sys.CPUStepping = int(s.Level), int(s.Revision>>8), int(s.Revision&0xff)
	if sys.Machine == arch.AMD64 || sys.Machine == arch.I386 {
		sys.CPUVendor = strings.TrimRight(string(s.CPU[:12]), "\x00")
		sys.CPUSignature = binary.LittleEndian.Uint32(s.CPU[12:])
		sys.CPUFeatures = binary.LittleEndian.Uint32(s.CPU[16:])
	}
	sys.Release = fmt.Sprintf("%d.%d.%d", s.Major, s.Minor, s.Build)
	sys.Version = s.CSDVersion
	// "Linux 6.1.0-18-amd64 #1 SMP … x86_64", by Breakpad as by us.
	if f := strings.Fields(s.CSDVersion); sys.OS == "linux" && len(f) > 2 && f[0] == "Linux" {
		sys.Release = f[1]
		if len(f) > 3 && !strings.HasPrefix(f[len(f)-1], "#") {
			f = f[:len(f)-1]
		}
		sys.Version = strings.Join(f[2:], " ")
	}
	sys.PageSize = 4096
}
