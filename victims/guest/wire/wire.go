// Package wire holds what a guest's init and the test that booted it say to
// each other: lines of JSON over a port of virtio-serial.
//
// The init says "hello" once it can run programs, and again after every reboot.
// Each request of the host carries a number of its own; events name the request
// that they belong to.
package wire

// Port is the name of the virtio-serial port.
const Port = "procdump.guest"

// ConfigFile is the file of the initramfs that holds the Config.
const ConfigFile = "/guest.json"

// Config says how the init sets the guest up.
type Config struct {
	Modules  []string // files of the initramfs, in the order to load them in
	HostRoot bool     // the tag "root" is the host's file system, read-only
	Share    string   // the tag "share" is this folder of the host
	Binds    []Bind
	CgroupV1 bool // controllers of cgroup v1 instead of cgroup v2
	Hostname string
}

// Bind shows a folder in another place too.
type Bind struct{ From, To string }

// The operations of requests.
const (
	OpStart  = "start"  // runs Args
	OpSignal = "signal" // sends Signal to the program that request Target started
	OpInput  = "input"  // Data to the standard input of Target; without Data: its end
	OpModule = "module" // loads the kernel module in the file Args[0] with the parameters Args[1:]
)

// Request is what the host asks for.
type Request struct {
	ID     int
	Op     string
	Args   []string `json:",omitempty"`
	Env    []string `json:",omitempty"`
	Dir    string   `json:",omitempty"`
	Target int      `json:",omitempty"`
	Signal int      `json:",omitempty"`
	Data   []byte   `json:",omitempty"`
}

// The kinds of events.
const (
	EventHello   = "hello"
	EventStarted = "started" // PID
	EventStdout  = "stdout"  // Data
	EventStderr  = "stderr"  // Data
	EventExit    = "exit"    // Code, Signal
	EventDone    = "done"    // a request without a program was carried out
	EventError   = "error"   // Text: the request was not carried out
)

// Event is what the init tells.
type Event struct {
	ID     int `json:",omitempty"`
	Kind   string
	PID    int    `json:",omitempty"`
	Code   int    `json:",omitempty"`
	Signal int    `json:",omitempty"`
	Data   []byte `json:",omitempty"`
	Text   string `json:",omitempty"`
}
