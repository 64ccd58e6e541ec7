package counter

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"procdump/internal/spelling"
)

// kind says what the instances of an object are.
type kind int

const (
	whole   kind = iota // the machine: there are none
	process             // processes
	device              // processors, disks, interfaces, and _Total
)

// object is what Windows calls a counter set.
type object struct {
	name    string
	aliases []string
	kind    kind
}

var (
	processObject   = &object{"Process", []string{"Process V2"}, process}
	processorObject = &object{"Processor", []string{"Processor Information"}, device}
	memoryObject    = &object{"Memory", nil, whole}
	systemObject    = &object{"System", nil, whole}
	diskObject      = &object{"PhysicalDisk", []string{"LogicalDisk"}, device}
	networkObject   = &object{"Network Interface", []string{"Network Adapter"}, device}
)

// def is a counter under Windows' name.
type def struct {
	object *object
	name   string
	unit   string
	mode   mode
	scale  float64
	idle   bool // a ratio by nothing is 0
	open   func(e Env, instance string, pid int) (sampler, error)
	about  string
}

const percent = 100

// defs are all counters under Windows' names, in the order of List.
var defs = slices.Concat(processDefs, processorDefs, memoryDefs, systemDefs, diskDefs, networkDefs)

var processDefs = []*def{
	{processObject, "% Processor Time", "%", rate, percent / hz, false, ofProcess("stat", statFields(14, 15)),
		"processor time used; one processor all the time is 100"},
	{processObject, "% User Time", "%", rate, percent / hz, false, ofProcess("stat", statFields(14)),
		"processor time used by its own code"},
	{processObject, "% Privileged Time", "%", rate, percent / hz, false, ofProcess("stat", statFields(15)),
		"processor time used in the kernel"},
	{processObject, "Private Bytes", "bytes", gauge, 1, false, ofProcess("status", memoryLines("RssAnon", "VmSwap")),
		"memory of its own, in RAM or swapped out (RssAnon + VmSwap)"},
	{processObject, "Working Set", "bytes", gauge, 1, false, ofProcess("status", memoryLines("VmRSS")),
		"memory in RAM, shared or not (VmRSS)"},
	{processObject, "Working Set Peak", "bytes", gauge, 1, false, ofProcess("status", memoryLines("VmHWM")),
		"most memory in RAM so far (VmHWM)"},
	{processObject, "Working Set - Private", "bytes", gauge, 1, false, ofProcess("status", memoryLines("RssAnon")),
		"memory of its own in RAM (RssAnon)"},
	{processObject, "Virtual Bytes", "bytes", gauge, 1, false, ofProcess("status", memoryLines("VmSize")),
		"address space in use (VmSize)"},
	{processObject, "Virtual Bytes Peak", "bytes", gauge, 1, false, ofProcess("status", memoryLines("VmPeak")),
		"most address space so far (VmPeak)"},
	{processObject, "Page File Bytes", "bytes", gauge, 1, false, ofProcess("status", memoryLines("VmSwap")),
		"memory swapped out (VmSwap); on Windows all that is committed, which is Private Bytes here"},
	{processObject, "Page Faults/sec", "1/s", rate, 1, false, ofProcess("stat", statFields(10, 12)),
		"page faults, with and without reading from disk"},
	{processObject, "Handle Count", "", gauge, 1, false, openHandles,
		"open files: entries of /proc/PID/fd"},
	{processObject, "Thread Count", "", gauge, 1, false, ofProcess("stat", statFields(20)),
		"threads"},
	{processObject, "IO Read Bytes/sec", "bytes/s", rate, 1, false, ofProcess("io", lines("rchar")),
		"bytes of read calls, also from pipes, sockets and the cache; needs the right to trace"},
	{processObject, "IO Write Bytes/sec", "bytes/s", rate, 1, false, ofProcess("io", lines("wchar")),
		"bytes of write calls; needs the right to trace"},
	{processObject, "IO Data Bytes/sec", "bytes/s", rate, 1, false, ofProcess("io", lines("rchar", "wchar")),
		"bytes of read and write calls; needs the right to trace"},
	{processObject, "IO Read Operations/sec", "1/s", rate, 1, false, ofProcess("io", lines("syscr")),
		"read calls; needs the right to trace"},
	{processObject, "IO Write Operations/sec", "1/s", rate, 1, false, ofProcess("io", lines("syscw")),
		"write calls; needs the right to trace"},
	{processObject, "IO Data Operations/sec", "1/s", rate, 1, false, ofProcess("io", lines("syscr", "syscw")),
		"read and write calls; needs the right to trace"},
	{processObject, "Elapsed Time", "s", gauge, 1, false, openElapsed,
		"time since it was started"},
	{processObject, "ID Process", "", gauge, 1, false, openID,
		"its PID"},
	{processObject, "Creating Process ID", "", gauge, 1, false, ofProcess("stat", statFields(4)),
		"PID of its parent"},
}

var processorDefs = []*def{
	{processorObject, "% Processor Time", "%", ratio, percent, false, ofProcessor(true, cpuIdle, cpuIOWait),
		"share of time in which it was not idle; time taken by the hypervisor counts"},
	{processorObject, "% User Time", "%", ratio, percent, false, ofProcessor(false, cpuUser, cpuNice),
		"share of time in programs"},
	{processorObject, "% Privileged Time", "%", ratio, percent, false, ofProcessor(false, cpuSystem, cpuIRQ, cpuSoftIRQ),
		"share of time in the kernel, with interrupts"},
	{processorObject, "% Interrupt Time", "%", ratio, percent, false, ofProcessor(false, cpuIRQ),
		"share of time in interrupt handlers"},
	{processorObject, "% DPC Time", "%", ratio, percent, false, ofProcessor(false, cpuSoftIRQ),
		"share of time in the deferred part of interrupts (softirq)"},
	{processorObject, "% Idle Time", "%", ratio, percent, false, ofProcessor(false, cpuIdle, cpuIOWait),
		"share of time without work, or only waiting for disks"},
}

var memoryDefs = []*def{
	{memoryObject, "Available MBytes", "MB", gauge, 1.0 / (1 << 20), false, ofMachine("meminfo", lines("MemAvailable")),
		"memory that can be had without swapping (MemAvailable), in units of 1,048,576 bytes"},
	{memoryObject, "Available KBytes", "KB", gauge, 1.0 / (1 << 10), false, ofMachine("meminfo", lines("MemAvailable")),
		"the same in units of 1,024 bytes"},
	{memoryObject, "Available Bytes", "bytes", gauge, 1, false, ofMachine("meminfo", lines("MemAvailable")),
		"the same in bytes"},
	{memoryObject, "Committed Bytes", "bytes", gauge, 1, false, ofMachine("meminfo", lines("Committed_AS")),
		"memory promised to processes (Committed_AS)"},
	{memoryObject, "Commit Limit", "bytes", gauge, 1, false, ofMachine("meminfo", lines("CommitLimit")),
		"most that is promised if vm.overcommit_memory is 2 (CommitLimit)"},
	{memoryObject, "% Committed Bytes In Use", "%", gauge, percent, false, ofMachine("meminfo", committed),
		"Committed_AS by CommitLimit; above 100 is common, as Linux overcommits by default"},
	{memoryObject, "Cache Bytes", "bytes", gauge, 1, false, ofMachine("meminfo", lines("Cached", "Buffers")),
		"memory that caches files (Cached + Buffers), tmpfs included"},
	{memoryObject, "Page Faults/sec", "1/s", rate, 1, false, ofMachine("vmstat", lines("pgfault")),
		"page faults of all processes"},
	{memoryObject, "Page Reads/sec", "1/s", rate, 1, false, ofMachine("vmstat", lines("pgmajfault")),
		"page faults that had to read from disk"},
	{memoryObject, "Pages/sec", "1/s", rate, 1, false, ofMachine("vmstat", lines("pswpin", "pswpout")),
		"pages swapped in and out; pages of files are not in it"},
	{memoryObject, "Pages Input/sec", "1/s", rate, 1, false, ofMachine("vmstat", lines("pswpin")),
		"pages swapped in"},
	{memoryObject, "Pages Output/sec", "1/s", rate, 1, false, ofMachine("vmstat", lines("pswpout")),
		"pages swapped out"},
}

var systemDefs = []*def{
	{systemObject, "Processor Queue Length", "", gauge, 1, false, ofMachine("stat", queueLength),
		"threads that can run but find no processor (procs_running less processors on line)"},
	{systemObject, "Processes", "", gauge, 1, false, openProcesses,
		"processes, as far as /proc shows them"},
	{systemObject, "Threads", "", gauge, 1, false, ofMachine("loadavg", threads),
		"threads of all processes and of the kernel"},
	{systemObject, "Context Switches/sec", "1/s", rate, 1, false, ofMachine("stat", lines("ctxt")),
		"changes from one thread to another"},
	{systemObject, "Interrupts/sec", "1/s", rate, 1, false, ofMachine("stat", interrupts),
		"interrupts"},
	{systemObject, "System Up Time", "s", gauge, 1, false, ofMachine("uptime", firstNumber),
		"time since boot"},
}

func diskDef(name, unit string, m mode, scale float64, c columns, about string) *def {
	return &def{diskObject, name, unit, m, scale, len(c.den) > 0, ofDisk(c), about}
}

var diskDefs = []*def{
	diskDef("Disk Read Bytes/sec", "bytes/s", rate, sector, columns{num: []int{diskReadSectors}}, "read from the disk"),
	diskDef("Disk Write Bytes/sec", "bytes/s", rate, sector, columns{num: []int{diskWriteSectors}}, "written to the disk"),
	diskDef("Disk Bytes/sec", "bytes/s", rate, sector, columns{num: []int{diskReadSectors, diskWriteSectors}}, "read and written"),
	diskDef("Disk Reads/sec", "1/s", rate, 1, columns{num: []int{diskReads}}, "reads completed"),
	diskDef("Disk Writes/sec", "1/s", rate, 1, columns{num: []int{diskWrites}}, "writes completed"),
	diskDef("Disk Transfers/sec", "1/s", rate, 1, columns{num: []int{diskReads, diskWrites}}, "reads and writes completed"),
	diskDef("% Disk Time", "%", rate, percent/1000.0, columns{num: []int{diskTime}}, "share of time with a request under way; 100 for each disk of (_Total)"),
	diskDef("Current Disk Queue Length", "", gauge, 1, columns{num: []int{diskInFlight}}, "requests under way now"),
	diskDef("Avg. Disk Queue Length", "", rate, 1/1000.0, columns{num: []int{diskQueueTime}}, "requests under way, on average"),
	diskDef("Avg. Disk sec/Read", "s", ratio, 1/1000.0, columns{[]int{diskReadTime}, []int{diskReads}}, "time a read took, on average"),
	diskDef("Avg. Disk sec/Write", "s", ratio, 1/1000.0, columns{[]int{diskWriteTime}, []int{diskWrites}}, "time a write took, on average"),
	diskDef("Avg. Disk sec/Transfer", "s", ratio, 1/1000.0, columns{[]int{diskReadTime, diskWriteTime}, []int{diskReads, diskWrites}},
		"time a read or write took, on average"),
}

func netDef(name, unit string, m mode, about string, columnsOf ...int) *def {
	return &def{networkObject, name, unit, m, 1, false, ofNetwork(columns{num: columnsOf}), about}
}

var networkDefs = []*def{
	netDef("Bytes Total/sec", "bytes/s", rate, "received and sent", netRxBytes, netTxBytes),
	netDef("Bytes Received/sec", "bytes/s", rate, "received", netRxBytes),
	netDef("Bytes Sent/sec", "bytes/s", rate, "sent", netTxBytes),
	netDef("Packets/sec", "1/s", rate, "packets received and sent", netRxPackets, netTxPackets),
	netDef("Packets Received/sec", "1/s", rate, "packets received", netRxPackets),
	netDef("Packets Sent/sec", "1/s", rate, "packets sent", netTxPackets),
	netDef("Packets Received Errors", "", gauge, "packets received damaged since boot", netRxErrors),
	netDef("Packets Received Discarded", "", gauge, "packets received and dropped since boot", netRxDropped),
	netDef("Packets Outbound Errors", "", gauge, "packets that could not be sent since boot", netTxErrors),
	netDef("Packets Outbound Discarded", "", gauge, "packets to send that were dropped since boot", netTxDropped),
}

// plain is a name without what does not matter in it.
func plain(s string) string {
	return strings.ToLower(strings.Join(strings.Fields(s), ""))
}

// find looks a counter up by Windows' names.
func find(objectName, name string) *def {
	objectName, name = plain(objectName), plain(name)
	for _, d := range defs {
		if plain(d.name) == name && d.object.is(objectName) {
			return d
		}
	}
	return nil
}

func (o *object) is(name string) bool {
	return plain(o.name) == name || slices.ContainsFunc(o.aliases, func(a string) bool { return plain(a) == name })
}

// unknown makes the error for a name that does not exist, with those that are
// nearest to it. path is OBJECT\COUNTER as far as it could be read.
func unknown(name, path string) error {
	wanted := plain(path)
	_, last, _ := strings.Cut(wanted, `\`)
	if last == "" {
		last = wanted
	}
	type candidate struct {
		def      *def
		distance int
	}
	var all []candidate
	for _, d := range defs {
		own := plain(d.name)
		// A right name under a wrong object is nearer than the other way round.
		n := min(spelling.Distance(wanted, plain(d.object.name)+`\`+own), 1+spelling.Distance(last, own))
		all = append(all, candidate{d, n})
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(a.distance, b.distance) })
	var near []string
	for _, c := range all[:3] {
		if c.distance <= max(3, len(wanted)/3) {
			near = append(near, Counter{def: c.def, instance: c.def.object.example()}.String())
		}
	}
	hint := "want \\OBJECT(INSTANCE)\\COUNTER, psi:…, cgroup:…, proc:… or prom:…"
	if len(near) > 0 {
		hint = "nearest are " + strings.Join(near, ", ")
	}
	return fmt.Errorf("%w %q: %s; procdump -counters lists all", ErrUnknown, name, hint)
}

// example is an instance for messages.
func (o *object) example() string {
	if o.kind == device {
		return total
	}
	return ""
}
