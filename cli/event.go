package cli

import "time"

// EventSchema is the version of the JSON events. Fields and events may be
// added within a version; docs/json-events.md is the contract.
const EventSchema = 1

// eventHead begins every event.
type eventHead struct {
	Event string    `json:"event"`
	Time  time.Time `json:"time"`
}

// eventProcess follows in every event about a process.
type eventProcess struct {
	PID     int    `json:"pid"`
	Process string `json:"process"`
}

type startEvent struct {
	eventHead
	Schema      int      `json:"schema"`
	Version     string   `json:"version"`
	CommandLine []string `json:"commandLine"`
}

type launchedEvent struct {
	eventHead
	eventProcess
	Arguments []string `json:"arguments"`
}

type triggerEvent struct {
	eventHead
	eventProcess
	Reason string `json:"reason"`
}

type watchingEvent struct {
	eventHead
	eventProcess
}

type observedEvent struct {
	eventHead
	eventProcess
	Text string `json:"text"`
}

type exitedEvent struct {
	eventHead
	eventProcess
	Status string `json:"status"`
}

type spaceEvent struct {
	eventHead
	eventProcess
	Dump           int    `json:"dump"`
	Folder         string `json:"folder"`
	AvailableBytes int64  `json:"availableBytes"`
}

type initiatedEvent struct {
	eventHead
	eventProcess
	Dump       int    `json:"dump"`
	Path       string `json:"path"`
	Kind       string `json:"kind"`
	Format     string `json:"format"`
	Compressed bool   `json:"compressed"`
}

type estimateEvent struct {
	eventHead
	eventProcess
	Dump  int    `json:"dump"`
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
}

type progressEvent struct {
	eventHead
	eventProcess
	Dump           int    `json:"dump"`
	Path           string `json:"path"`
	DoneBytes      int64  `json:"doneBytes"`
	TotalBytes     int64  `json:"totalBytes"`
	BytesPerSecond int64  `json:"bytesPerSecond"`
}

type completeEvent struct {
	eventHead
	eventProcess
	Dump          int      `json:"dump"`
	Path          string   `json:"path"`
	Kind          string   `json:"kind"`
	Format        string   `json:"format"`
	Compressed    bool     `json:"compressed"`
	SizeBytes     int64    `json:"sizeBytes"`
	DiskBytes     int64    `json:"diskBytes"`
	ElapsedMicros int64    `json:"elapsedMicros"`
	PauseMicros   int64    `json:"pauseMicros"`
	Method        string   `json:"method"`
	Rounds        int      `json:"rounds,omitempty"`
	KernelPath    string   `json:"kernelPath"`
	KernelDump    string   `json:"kernelDumpPath"`
	Open          []string `json:"open"`
}

type reportEvent struct {
	eventHead
	eventProcess
	Dump     int    `json:"dump"`
	Path     string `json:"path"`
	Reason   string `json:"reason"`
	TextPath string `json:"textPath"`
	HTMLPath string `json:"htmlPath"`
}

type failedEvent struct {
	eventHead
	eventProcess
	Dump    int    `json:"dump"`
	Path    string `json:"path"`
	Message string `json:"message"`
}

// messageEvent is an error or a warning; PID and Process are there if it is
// about one process.
type messageEvent struct {
	eventHead
	PID     int    `json:"pid,omitempty"`
	Process string `json:"process,omitempty"`
	Message string `json:"message"`
}

type noteEvent struct {
	eventHead
	Message string `json:"message"`
}

type candidatesEvent struct {
	eventHead
	Target    string      `json:"target"`
	Processes []Candidate `json:"processes"`
}

// Candidate is a process that an ambiguous target may mean.
type Candidate struct {
	PID         int       `json:"pid"`
	Process     string    `json:"process"`
	Started     time.Time `json:"started,omitzero"`
	CPUMicros   int64     `json:"cpuMicros"`
	MemoryBytes uint64    `json:"memoryBytes"`
	User        string    `json:"user"`
	Arguments   []string  `json:"arguments"`
}

type endEvent struct {
	eventHead
	Reached  bool `json:"reached"`
	Dumps    int  `json:"dumps"`
	ExitCode int  `json:"exitCode"`
}

type countersEvent struct {
	eventHead
	PID      int            `json:"pid,omitempty"`
	Counters []counterValue `json:"counters"`
}

// counterValue is a performance counter; Value is there unless Error is.
type counterValue struct {
	Name    string   `json:"name"`
	Value   *float64 `json:"value,omitempty"`
	Unit    string   `json:"unit"`
	Meaning string   `json:"meaning"`
	Error   string   `json:"error,omitempty"`
}
