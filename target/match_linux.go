package target

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Matcher answers for one process at a time, as it appears, whether a selector
// means it. It keeps what does not change from one process to the next. Several
// goroutines may use it at once.
type Matcher struct {
	selector Selector
	fs       FS

	mu    sync.Mutex
	self  int
	tests []matchTest
	names []nameTest
	boot  time.Time
	users map[uint32]string
}

// matchTest is a term that is not a name.
type matchTest struct {
	term term
	test func(*Process) verdict // nil: made anew for each process
}

// nameTest is a NAME, and the best match that any process has had.
type nameTest struct {
	name string
	best rank
}

// Match tells whether s means the process, and reads it if so. A process that
// ends meanwhile is none; so are, as for Find, procdump itself and kernel
// threads unless a PID was given, and all zombies. For many processes a Matcher
// is faster.
func (s Selector) Match(pid int) (Process, bool) { return s.Matcher().Match(pid) }

// Matcher makes a Matcher for s.
func (s Selector) Matcher() *Matcher { return Proc.Matcher(s) }

// Matcher makes a Matcher for processes of fs.
func (fs FS) Matcher(s Selector) *Matcher {
	m := &Matcher{selector: s, fs: fs, self: fs.self(), users: map[uint32]string{}}
	r := m.reader()
	for _, t := range s.terms {
		switch t.key {
		case keyName:
			m.names = append(m.names, nameTest{t.text, noMatch})
		case keyTree, keyPort:
			m.tests = append(m.tests, matchTest{term: t})
		default:
			if test, err := r.test(t, nil); err == nil {
				m.tests = append(m.tests, matchTest{t, test})
			}
		}
	}
	return m
}

func (m *Matcher) reader() *reader {
	return &reader{fs: m.fs, self: m.self, boot: m.boot, users: m.users}
}

// Find gives the processes that the selector means now, as Find does, and
// remembers how well a name matched: afterwards Match takes no process whose
// name matches less well. Who waits for "web" while a program of that name runs
// does not get the script web.sh.
func (m *Matcher) Find() ([]Process, error) {
	found, err := m.fs.Find(m.selector)
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range found {
		m.remember(&found[i])
	}
	return found, err
}

func (m *Matcher) remember(p *Process) {
	for i, n := range m.names {
		m.names[i].best = min(n.best, nameRank(n.name, p))
	}
}

// Match tells whether the selector means the process, and reads it if so. Of a
// process that executes a program just now it sees the new one.
func (m *Matcher) Match(pid int) (Process, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.selector.terms) == 0 || !m.possible(pid) {
		return Process{}, false
	}
	r := m.reader()
	p, ok := r.base(pid)
	if !ok || p.Zombie || (p.Kernel || pid == m.self) && !m.explicit() || !m.namesHold(&p) {
		return Process{}, false
	}
	for _, t := range m.tests {
		if t.run(r, &p) != yes {
			return Process{}, false
		}
	}
	if m.boot.IsZero() {
		m.boot = m.fs.bootTime()
		if !m.boot.IsZero() {
			p.Start = m.boot.Add(ticks(p.ticks))
		}
	}
	r.fill(&p)
	m.remember(&p)
	return p, true
}

// Possible tells, faster than Match, whether the selector may mean the process:
// if a name is part of it, whether that fits.
func (m *Matcher) Possible(pid int) bool {
	m.mu.Lock()
	names := len(m.names) > 0
	possible := names && pid != m.self && m.possible(pid)
	m.mu.Unlock()
	if names {
		return possible
	}
	_, ok := m.Match(pid)
	return ok
}

// explicit tells whether a PID was given.
func (m *Matcher) explicit() bool {
	return slices.ContainsFunc(m.tests, func(t matchTest) bool { return t.term.key == keyPID })
}

// namesHold tells whether each name matches as well as any has so far.
func (m *Matcher) namesHold(p *Process) bool {
	for _, n := range m.names {
		if r := nameRank(n.name, p); r == noMatch || r > n.best {
			return false
		}
	}
	return true
}

// possible is Match for the most frequent answer, no, with as little reading as
// that takes: name, image and arguments, and stat of /proc/PID not at all.
func (m *Matcher) possible(pid int) bool {
	needs := len(m.names) > 0
	for _, t := range m.tests {
		switch t.term.key {
		case keyPID:
			if t.term.number != pid {
				return false
			}
		case keyExe, keyCmd:
			needs = true
		}
	}
	if !needs {
		return true
	}
	dir := string(m.fs) + "/" + strconv.Itoa(pid)
	p := Process{PID: pid}
	p.Exe, p.ExeDeleted = readExe(dir)
	if p.Exe == "" {
		// Another user's is hidden, and has other names that can be read. One
		// that has ended, or has no first thread, is for the whole look.
		if _, err := os.Readlink(dir + "/exe"); !errors.Is(err, fs.ErrPermission) {
			_, err := os.Stat(dir)
			return err == nil
		}
	}
	for _, t := range m.tests {
		if t.term.key == keyExe && t.test(&p) != yes {
			return false
		}
	}
	var buf [4096]byte
	if n, ok := readShort(dir+"/cmdline", buf[:]); ok {
		p.Args = splitArgs(string(buf[:n]))
	} else {
		p.Args = readArgs(dir)
	}
	for _, t := range m.tests {
		if t.term.key == keyCmd && t.test(&p) != yes {
			return false
		}
	}
	if len(m.names) == 0 {
		return true
	}
	n, ok := readShort(dir+"/comm", buf[:])
	if !ok {
		return true
	}
	p.comm = strings.TrimSuffix(string(buf[:n]), "\n")
	p.Name = fullName(&p)
	return m.namesHold(&p)
}

// readShort reads a file that is shorter than buf, in half the time that
// package os takes.
func readShort(path string, buf []byte) (n int, ok bool) {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return 0, false
	}
	defer syscall.Close(fd)
	n, err = syscall.Read(fd, buf)
	return n, err == nil && n < len(buf)
}

// run examines the term for one process.
func (t matchTest) run(r *reader, p *Process) verdict {
	switch {
	case t.test != nil:
		return t.test(p)
	case t.term.key == keyTree:
		return verdictOf(r.fs.descends(p, t.term.number))
	case t.term.key == keyPort:
		// Who listens changes from one look to the next.
		return r.portTest(t.term.number)(p)
	}
	return no
}

// descends tells whether p is root or has it among its ancestors.
func (fs FS) descends(p *Process, root int) bool {
	seen := map[int]bool{}
	for pid, parent := p.PID, p.PPID; ; {
		if pid == root {
			return true
		}
		// A PID used again meanwhile could close a circle.
		if parent == 0 || seen[parent] {
			return false
		}
		seen[parent] = true
		s, ok := fs.stat(parent)
		if !ok {
			return false
		}
		pid, parent = parent, s.ppid
	}
}
