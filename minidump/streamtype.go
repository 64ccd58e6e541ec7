package minidump

import (
	"fmt"
	"slices"

	"procdump/snapshot"
)

// StreamType says what a stream holds.
type StreamType uint32

// Stream types of Microsoft (MINIDUMP_STREAM_TYPE).
const (
	UnusedStream              StreamType = 0
	ThreadListStream          StreamType = 3
	ModuleListStream          StreamType = 4
	MemoryListStream          StreamType = 5
	ExceptionStream           StreamType = 6
	SystemInfoStream          StreamType = 7
	ThreadExListStream        StreamType = 8
	Memory64ListStream        StreamType = 9
	CommentStreamA            StreamType = 10
	CommentStreamW            StreamType = 11
	HandleDataStream          StreamType = 12
	FunctionTableStream       StreamType = 13
	UnloadedModuleListStream  StreamType = 14
	MiscInfoStream            StreamType = 15
	MemoryInfoListStream      StreamType = 16
	ThreadInfoListStream      StreamType = 17
	HandleOperationListStream StreamType = 18
	TokenStream               StreamType = 19
	JavaScriptDataStream      StreamType = 20
	SystemMemoryInfoStream    StreamType = 21
	ProcessVmCountersStream   StreamType = 22
	IptTraceStream            StreamType = 23
	ThreadNamesStream         StreamType = 24
)

// Stream types of Breakpad (minidump_format.h), LLDB, Crashpad and Mozilla.
const (
	BreakpadInfoStream    StreamType = 0x47670001
	AssertionInfoStream   StreamType = 0x47670002
	LinuxCPUInfoStream    StreamType = 0x47670003
	LinuxProcStatusStream StreamType = 0x47670004
	LinuxLSBReleaseStream StreamType = 0x47670005
	LinuxCmdLineStream    StreamType = 0x47670006
	LinuxEnvironStream    StreamType = 0x47670007
	LinuxAuxvStream       StreamType = 0x47670008
	LinuxMapsStream       StreamType = 0x47670009
	LinuxDSODebugStream   StreamType = 0x4767000A
	LinuxProcStatStream   StreamType = 0x4767000B
	LinuxProcUptimeStream StreamType = 0x4767000C
	LinuxProcFDStream     StreamType = 0x4767000D
	CrashpadInfoStream    StreamType = 0x43500001
	MozLinuxLimitsStream  StreamType = 0x4d7a0003
	MozSoftErrorsStream   StreamType = 0x4d7a0004
)

// Stream types of our own.
const (
	// InfoStream holds the JSON document of snapshot.WriteNote.
	InfoStream StreamType = snapshot.InfoStream
	// NotesStream holds Notes.
	NotesStream StreamType = 0x50440002
)

var streamNames = map[StreamType]string{
	UnusedStream: "Unused", ThreadListStream: "ThreadList", ModuleListStream: "ModuleList",
	MemoryListStream: "MemoryList", ExceptionStream: "Exception", SystemInfoStream: "SystemInfo",
	ThreadExListStream: "ThreadExList", Memory64ListStream: "Memory64List", CommentStreamA: "CommentA",
	CommentStreamW: "CommentW", HandleDataStream: "HandleData", FunctionTableStream: "FunctionTable",
	UnloadedModuleListStream: "UnloadedModuleList", MiscInfoStream: "MiscInfo",
	MemoryInfoListStream: "MemoryInfoList", ThreadInfoListStream: "ThreadInfoList",
	HandleOperationListStream: "HandleOperationList", TokenStream: "Token",
	JavaScriptDataStream: "JavaScriptData", SystemMemoryInfoStream: "SystemMemoryInfo",
	ProcessVmCountersStream: "ProcessVmCounters", IptTraceStream: "IptTrace", ThreadNamesStream: "ThreadNames",
	BreakpadInfoStream: "BreakpadInfo", AssertionInfoStream: "AssertionInfo", LinuxCPUInfoStream: "LinuxCPUInfo",
	LinuxProcStatusStream: "LinuxProcStatus", LinuxLSBReleaseStream: "LinuxLSBRelease",
	LinuxCmdLineStream: "LinuxCmdLine", LinuxEnvironStream: "LinuxEnviron", LinuxAuxvStream: "LinuxAuxv",
	LinuxMapsStream: "LinuxMaps", LinuxDSODebugStream: "LinuxDSODebug", LinuxProcStatStream: "LinuxProcStat",
	LinuxProcUptimeStream: "LinuxProcUptime", LinuxProcFDStream: "LinuxProcFD", CrashpadInfoStream: "CrashpadInfo",
	MozLinuxLimitsStream: "MozLinuxLimits", MozSoftErrorsStream: "MozSoftErrors",
	InfoStream: "ProcdumpInfo", NotesStream: "ProcdumpNotes",
}

// modelled are the streams that Reader.Process reads.
var modelled = map[StreamType]bool{
	ThreadListStream: true, ModuleListStream: true, MemoryListStream: true, ExceptionStream: true, SystemInfoStream: true,
	Memory64ListStream: true, CommentStreamA: true, CommentStreamW: true, HandleDataStream: true, MiscInfoStream: true,
	MemoryInfoListStream: true, ThreadInfoListStream: true, ThreadNamesStream: true, BreakpadInfoStream: true,
	LinuxCPUInfoStream: true, LinuxProcStatusStream: true, LinuxLSBReleaseStream: true, LinuxCmdLineStream: true,
	LinuxEnvironStream: true, LinuxAuxvStream: true, LinuxMapsStream: true, LinuxDSODebugStream: true,
	LinuxProcStatStream: true, LinuxProcUptimeStream: true, MozLinuxLimitsStream: true, InfoStream: true, NotesStream: true,
	LinuxProcFDStream: true, // HandleData says the same
}

// Unread lists the streams of the dump that Process does not read: a snapshot
// has no place for what they say.
func (r *Reader) Unread() []StreamType {
	var out []StreamType
	for _, d := range r.dir {
		empty := d.Type == UnloadedModuleListStream && d.Size <= 12
		if !modelled[d.Type] && !empty && !slices.Contains(out, d.Type) {
			out = append(out, d.Type)
		}
	}
	return out
}

// String returns the type's name without "Stream", or its number.
func (t StreamType) String() string {
	if s, ok := streamNames[t]; ok {
		return s
	}
	return fmt.Sprintf("StreamType(%#x)", uint32(t))
}
