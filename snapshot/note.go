package snapshot

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"
)

// NoteReserve is how many bytes NoteSize leaves for facts that are known only
// after the memory has been copied (the pause, unreadable ranges).
const NoteReserve = 16 << 10

// note is the JSON document in a dump: Info, and those facts of Process that
// the dump formats have no place for.
type note struct {
	Info
	System  noteSystem   `json:"system"`
	Process noteProcess  `json:"process"`
	Threads []noteThread `json:"threads,omitempty"`
	Modules []noteModule `json:"modules,omitempty"`
	Files   []File       `json:"files,omitempty"`
	// Exception is here because dump formats must name one even where nothing
	// happened to the process.
	Exception *noteException `json:"exception,omitempty"`
	// Texts: limits, cgroup, … as in Process.Texts, without those that are
	// large and can be had from the rest of the dump.
	Texts map[string]string `json:"texts,omitempty"`
}

type noteSystem struct {
	OS        string    `json:"os,omitempty"`
	Machine   string    `json:"machine,omitempty"`
	Host      string    `json:"host,omitempty"`
	Release   string    `json:"release,omitempty"`
	Version   string    `json:"version,omitempty"`
	Distro    string    `json:"distro,omitempty"`
	CPUs      int       `json:"cpus,omitempty"`
	CPUName   string    `json:"cpuName,omitempty"`
	CPUVendor string    `json:"cpuVendor,omitempty"`
	Family    int       `json:"cpuFamily,omitempty"`
	Model     int       `json:"cpuModel,omitempty"`
	Stepping  int       `json:"cpuStepping,omitempty"`
	Signature uint32    `json:"cpuSignature,omitempty"`
	Features  uint32    `json:"cpuFeatures,omitempty"`
	PageSize  int       `json:"pageSize,omitempty"`
	BootTime  time.Time `json:"bootTime,omitzero"`
	Memory    uint64    `json:"memoryBytes,omitempty"`
}

type noteProcess struct {
	PID        int       `json:"pid"`
	PPID       int       `json:"ppid"`
	Name       string    `json:"name"`
	Exe        string    `json:"exe,omitempty"`
	ExeDeleted bool      `json:"exeDeleted,omitempty"`
	Args       []string  `json:"args,omitempty"`
	UID        uint32    `json:"uid"`
	GID        uint32    `json:"gid"`
	State      string    `json:"state,omitempty"`
	StartTime  time.Time `json:"startTime,omitzero"`
}

type noteThread struct {
	TID         int    `json:"tid"`
	Name        string `json:"name,omitempty"`
	State       string `json:"state,omitempty"`
	UserMicros  int64  `json:"userMicros,omitempty"`
	SysMicros   int64  `json:"systemMicros,omitempty"`
	KernelStack string `json:"kernelStack,omitempty"`
	WaitChannel string `json:"waitChannel,omitempty"`
	Syscall     string `json:"syscall,omitempty"`

	StartTime time.Time `json:"startTime,omitzero"`
	Nice      int       `json:"nice,omitempty"`
	Signal    int       `json:"signal,omitempty"`
	Pending   noteHex   `json:"pending,omitempty"`
	Blocked   noteHex   `json:"blocked,omitempty"`
	Stack     *Range    `json:"stack,omitempty"`
}

type noteException struct {
	TID    int       `json:"tid"`
	Signal int       `json:"signal,omitempty"`
	Code   noteHex   `json:"code"`
	Addr   noteHex   `json:"addr"`
	Params []noteHex `json:"params,omitempty"`
}

// noteHex is a number in hexadecimal: JSON numbers lose bits above 2^53.
type noteHex uint64

func (h noteHex) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%#x", uint64(h)), nil }

func (h *noteHex) UnmarshalText(b []byte) error {
	v, err := strconv.ParseUint(string(b), 0, 64)
	*h = noteHex(v)
	return err
}

type noteModule struct {
	Range   Range   `json:"range"`
	Path    string  `json:"path"`
	Deleted bool    `json:"deleted,omitempty"`
	BuildID string  `json:"buildID,omitempty"`
	SOName  string  `json:"soname,omitempty"`
	Bias    noteHex `json:"bias,omitempty"`
	Dynamic noteHex `json:"dynamic,omitempty"`
	FileID
}

// noteTexts are the Texts that go into the note.
var noteTexts = []string{"limits", "cgroup"}

// NoteSize is how many bytes a dump should keep for the process's note: as many
// as it has now, and NoteReserve.
func NoteSize(p *Process) (int, error) {
	facts, err := json.Marshal(newNote(p))
	if err != nil {
		return 0, fmt.Errorf("encode note: %w", err)
	}
	lists, err := listsSize(p)
	return len(facts) + lists + NoteReserve, err
}

// WriteNote writes the process's note, padded with white space to size bytes.
// Where the facts do not fit, lists of Info are cut and its Truncated is set;
// if they do not fit even so, it writes nothing. What there is much of is never
// in RAM as a whole: a process may have ten thousand threads.
func WriteNote(w io.Writer, p *Process, size int) error {
	lists, err := listsSize(p)
	if err != nil {
		return err
	}
	facts, err := newNote(p).fit(size - lists)
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(w, 32<<10)
	// The lists go in before the brace that ends the facts.
	b.Write(facts[:len(facts)-1])
	if err := writeLists(b, p); err != nil {
		return err
	}
	b.WriteByte('}')
	for range size - lists - len(facts) {
		b.WriteByte(' ')
	}
	if err := b.Flush(); err != nil { // the first error of all these writes
		return fmt.Errorf("write note: %w", err)
	}
	return nil
}

// fit encodes the note in at most size bytes.
func (n *note) fit(size int) ([]byte, error) {
	b, err := json.Marshal(n)
	for err == nil && len(b) > size {
		n.Truncated = true
		switch {
		case len(n.Unreadable) > 0:
			n.Unreadable = n.Unreadable[:len(n.Unreadable)/2]
		case len(n.LeftOut) > 0:
			n.LeftOut = n.LeftOut[:len(n.LeftOut)/2]
		case len(n.Warnings) > 0:
			n.Warnings = n.Warnings[:len(n.Warnings)/2]
		default:
			return nil, fmt.Errorf("encode note: %d bytes do not fit into %d", len(b), size)
		}
		b, err = json.Marshal(n)
	}
	if err != nil {
		return nil, fmt.Errorf("encode note: %w", err)
	}
	return b, nil
}

// writeLists writes the members of the note that there may be very many of,
// each after a comma.
func writeLists(w io.Writer, p *Process) error {
	var th noteThread
	err := writeList(w, "threads", len(p.Threads), func(i int) any { th = newNoteThread(&p.Threads[i]); return &th })
	if err == nil {
		err = writeList(w, "modules", len(p.Modules), func(i int) any { return newNoteModule(&p.Modules[i]) })
	}
	if err == nil {
		err = writeList(w, "files", len(p.Files), func(i int) any { return &p.Files[i] })
	}
	if err != nil {
		return fmt.Errorf("encode note: %w", err)
	}
	return nil
}

// writeList writes a member that is a list, an element a line; none if it is
// empty.
func writeList(w io.Writer, name string, n int, element func(i int) any) error {
	enc := json.NewEncoder(w)
	separator := fmt.Sprintf(",%q:[", name)
	for i := range n {
		if _, err := io.WriteString(w, separator); err != nil {
			return err
		}
		if err := enc.Encode(element(i)); err != nil {
			return err
		}
		separator = ","
	}
	if n == 0 {
		return nil
	}
	_, err := io.WriteString(w, "]")
	return err
}

// listsSize is how many bytes writeLists writes.
func listsSize(p *Process) (int, error) {
	var n byteCount
	err := writeLists(&n, p)
	return int(n), err
}

// byteCount counts what is written to it.
type byteCount int

func (n *byteCount) Write(p []byte) (int, error) {
	*n += byteCount(len(p))
	return len(p), nil
}

// newNote gathers all but what writeLists writes.
func newNote(p *Process) *note {
	s := p.System
	n := &note{
		Info: p.Info,
		System: noteSystem{s.OS, s.Machine.String(), s.Host, s.Release, s.Version, s.Distro, s.CPUs, s.CPUName,
			s.CPUVendor, s.CPUFamily, s.CPUModel, s.CPUStepping, s.CPUSignature, s.CPUFeatures, s.PageSize, jsonTime(s.BootTime), s.Memory},
		Process: noteProcess{p.PID, p.PPID, p.Name, p.Exe, p.ExeDeleted, p.Args, p.UID, p.GID, letter(p.State), jsonTime(p.StartTime)},
		Texts:   map[string]string{},
	}
	n.fillVersion()
	n.Info.Time = jsonTime(n.Info.Time)
	if e := p.Exception; e != nil {
		n.Exception = &noteException{e.TID, e.Signal, noteHex(e.Code), noteHex(e.Addr), hexes[noteHex](e.Params)}
	}
	for _, name := range noteTexts {
		if t, ok := p.Texts[name]; ok {
			n.Texts[name] = string(t)
		}
	}
	return n
}

func newNoteThread(t *Thread) noteThread {
	n := noteThread{t.TID, t.Name, letter(t.State), t.UserTime.Microseconds(),
		t.SystemTime.Microseconds(), t.KernelStack, t.WaitChannel, t.Syscall,
		jsonTime(t.StartTime), t.Nice, t.Signal, noteHex(t.Pending), noteHex(t.Blocked), nil}
	if t.Stack != (Range{}) {
		n.Stack = &t.Stack
	}
	return n
}

func newNoteModule(m *Module) *noteModule {
	id := m.ID
	id.ModTime = jsonTime(id.ModTime)
	return &noteModule{m.Range, m.Path, m.Deleted, hex.EncodeToString(m.BuildID),
		m.SOName, noteHex(m.Bias), noteHex(m.Dynamic), id}
}

// fillVersion fills the version where the caller left it out.
func (n *note) fillVersion() {
	if n.Info.Version == 0 {
		n.Info.Version = InfoVersion
	}
}

// jsonTime drops a time that JSON cannot hold: a file's time may be any.
func jsonTime(t time.Time) time.Time {
	if y := t.Year(); y < 0 || y > 9999 {
		return time.Time{}
	}
	return t
}

func letter(b byte) string {
	if b == 0 {
		return ""
	}
	return string(rune(b))
}

// DecodeNote fills p from a note that WriteNote wrote. What p already knows
// from the dump's standard parts (registers, regions) stays; its exception and
// list of modules are the note's.
func DecodeNote(p *Process, data []byte) error {
	var n note
	if err := json.Unmarshal(bytes.TrimRight(data, " \x00"), &n); err != nil {
		return fmt.Errorf("decode note: %w", err)
	}
	p.Info = n.Info
	s, m := n.System, p.System.Machine
	p.System = System{Machine: m, OS: s.OS, Host: s.Host, Release: s.Release, Version: s.Version, Distro: s.Distro,
		CPUs: s.CPUs, CPUName: s.CPUName, CPUVendor: s.CPUVendor, CPUFamily: s.Family, CPUModel: s.Model,
		CPUStepping: s.Stepping, CPUSignature: s.Signature, CPUFeatures: s.Features, PageSize: s.PageSize,
		BootTime: s.BootTime, Memory: s.Memory}
	q := n.Process
	p.PID, p.PPID, p.Name, p.Exe, p.ExeDeleted, p.Args = q.PID, q.PPID, q.Name, q.Exe, q.ExeDeleted, q.Args
	p.UID, p.GID, p.StartTime = q.UID, q.GID, q.StartTime
	if q.State != "" {
		p.State = q.State[0]
	}
	p.Files = n.Files
	p.Exception = nil
	if e := n.Exception; e != nil {
		p.Exception = &Exception{e.TID, e.Signal, uint32(e.Code), uint64(e.Addr), hexes[uint64](e.Params)}
	}
	n.decodeThreads(p)
	n.decodeModules(p)
	if p.Texts == nil {
		p.Texts = map[string][]byte{}
	}
	for k, v := range n.Texts {
		p.Texts[k] = []byte(v)
	}
	return nil
}

// decodeThreads fills the threads that p has.
func (n *note) decodeThreads(p *Process) {
	byTID := map[int]*noteThread{}
	for i := range n.Threads {
		byTID[n.Threads[i].TID] = &n.Threads[i]
	}
	for i := range p.Threads {
		t := &p.Threads[i]
		o := byTID[t.TID]
		if o == nil {
			continue
		}
		t.Name, t.KernelStack, t.WaitChannel, t.Syscall = o.Name, o.KernelStack, o.WaitChannel, o.Syscall
		t.UserTime = time.Duration(o.UserMicros) * time.Microsecond
		t.SystemTime = time.Duration(o.SysMicros) * time.Microsecond
		t.StartTime, t.Nice = o.StartTime, o.Nice
		t.Signal, t.Pending, t.Blocked = o.Signal, uint64(o.Pending), uint64(o.Blocked)
		if o.Stack != nil {
			t.Stack = *o.Stack
		}
		if o.State != "" {
			t.State = o.State[0]
		}
	}
}

// decodeModules replaces p's modules by the note's, which know more; what only
// p knows of one is kept.
func (n *note) decodeModules(p *Process) {
	if len(n.Modules) == 0 {
		return
	}
	byBase := map[uint64]Module{}
	for _, m := range p.Modules {
		byBase[m.Addr] = m
	}
	p.Modules = nil
	for _, o := range n.Modules {
		m := byBase[o.Range.Addr]
		if string([]rune(m.Path)) != o.Path { // JSON replaces bytes that are not UTF-8
			m.Path = o.Path
		}
		m.Range, m.Deleted, m.ID = o.Range, o.Deleted, o.FileID
		if id, err := hex.DecodeString(o.BuildID); err == nil && len(id) > 0 {
			m.BuildID = id
		}
		m.SOName = cmp.Or(o.SOName, m.SOName)
		m.Bias = cmp.Or(uint64(o.Bias), m.Bias)
		m.Dynamic = cmp.Or(uint64(o.Dynamic), m.Dynamic)
		p.Modules = append(p.Modules, m)
	}
}

// hexes converts numbers between their form in the model and in the note.
func hexes[To, From ~uint64](in []From) []To {
	var out []To
	for _, v := range in {
		out = append(out, To(v))
	}
	return out
}
