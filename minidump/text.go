package minidump

import (
	"bytes"
	"strings"

	"procdump/snapshot"
)

// textStream is a stream that holds a file of /proc or /etc verbatim.
type textStream struct {
	typ  StreamType
	data []byte
}

// textNames are the streams of snapshot.Process.Texts.
var textNames = []struct {
	typ  StreamType
	name string
}{
	{LinuxCPUInfoStream, "cpuinfo"},
	{LinuxProcStatusStream, "status"},
	{LinuxLSBReleaseStream, "lsb-release"},
	{LinuxMapsStream, "maps"},
	{LinuxProcStatStream, "stat"},
	{LinuxProcUptimeStream, "uptime"},
	{MozLinuxLimitsStream, "limits"},
}

// texts returns the texts that the process has.
func texts(p *snapshot.Process) []textStream {
	var out []textStream
	add := func(typ StreamType, b []byte) {
		if len(b) > 0 {
			out = append(out, textStream{typ, b})
		}
	}
	for _, t := range textNames {
		text := p.Texts[t.name]
		if t.typ == LinuxMapsStream && text == nil {
			text = mapsText(p.Regions) // lldb takes the modules' files from it
		}
		add(t.typ, text)
	}
	add(LinuxCmdLineStream, joinNUL(p.Args))
	add(LinuxEnvironStream, joinNUL(p.Environ))
	add(LinuxAuxvStream, p.Auxv)
	return out
}

// joinNUL writes strings as /proc/PID/cmdline has them.
func joinNUL(list []string) []byte {
	var b []byte
	for _, s := range list {
		b = append(append(b, s...), 0)
	}
	return b
}

// splitNUL reads what joinNUL writes.
func splitNUL(b []byte) []string {
	if len(b) == 0 {
		return nil
	}
	return strings.Split(string(bytes.TrimSuffix(b, []byte{0})), "\x00")
}
