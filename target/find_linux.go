package target

import (
	"fmt"
	"path/filepath"
	"slices"
	"syscall"

	"procdump/internal/sys/fsys"
)

// Find gives the processes that a selector means, by ascending PID, at least
// one; the error is a *NotFoundError if there is none. Only a PID finds
// procdump itself, kernel threads, and zombies while a living process matches.
func Find(sel Selector) ([]Process, error) { return Proc.Find(sel) }

// Find finds processes of fs.
func (fs FS) Find(sel Selector) ([]Process, error) {
	if len(sel.terms) == 0 {
		return nil, &NotFoundError{Selector: "an empty target"}
	}
	if pid, ok := sel.PID(); ok {
		p, err := fs.Get(pid)
		if err != nil {
			return nil, err
		}
		return []Process{p}, nil
	}
	r := newReader(fs)
	all, err := r.all()
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	found, hidden, err := r.match(sel.terms, all)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, &NotFoundError{Selector: sel.text, Hidden: hidden, Remedy: "ps -e shows what runs"}
	}
	for i := range found {
		r.fill(&found[i])
	}
	return found, nil
}

// all reads every process there is.
func (r *reader) all() ([]Process, error) {
	pids, err := numbers(string(r.fs))
	if err != nil {
		return nil, err
	}
	slices.Sort(pids)
	var all []Process
	for _, pid := range pids {
		p, err := r.read(pid)
		switch {
		case err == nil:
			all = append(all, p)
		case fsys.IsExhausted(err):
			return nil, err // the list would lack any of them
		}
	}
	return all, nil
}

// match gives the processes for which every term holds. Of a name only the
// best matches count, among those for which the other terms hold. hidden counts
// the processes of which a term could not be examined.
func (r *reader) match(terms []term, all []Process) (found []Process, hidden int, err error) {
	tests := make([]func(*Process) verdict, 0, len(terms))
	var names []string
	explicit := false
	for _, t := range terms {
		if t.key == keyName {
			names = append(names, t.text)
			continue
		}
		explicit = explicit || t.key == keyPID
		test, err := r.test(t, all)
		if err != nil {
			return nil, 0, err
		}
		tests = append(tests, test)
	}
	for i := range all {
		p := &all[i]
		if (p.PID == r.self || p.Kernel) && !explicit {
			continue
		}
		switch holds(p, tests) {
		case yes:
			found = append(found, *p)
		case unknown:
			hidden++
		}
	}
	for _, name := range names {
		found = bestNames(name, found)
	}
	return living(found), hidden, nil
}

// verdict is the outcome of a test of one process.
type verdict int

const (
	no verdict = iota
	yes
	unknown // the kernel did not let us look
)

func verdictOf(b bool) verdict {
	if b {
		return yes
	}
	return no
}

func holds(p *Process, tests []func(*Process) verdict) verdict {
	result := yes
	for _, test := range tests {
		switch test(p) {
		case no:
			return no
		case unknown:
			result = unknown
		}
	}
	return result
}

func bestNames(name string, all []Process) []Process {
	best := noMatch
	var found []Process
	for i := range all {
		switch r := nameRank(name, &all[i]); {
		case r < best:
			best, found = r, []Process{all[i]}
		case r == best && r != noMatch:
			found = append(found, all[i])
		}
	}
	return found
}

// living drops the zombies unless there is nothing else.
func living(all []Process) []Process {
	var alive []Process
	for _, p := range all {
		if !p.Zombie {
			alive = append(alive, p)
		}
	}
	if len(alive) == 0 {
		return all
	}
	return alive
}

// test gives the function that examines t; all is every process there is.
func (r *reader) test(t term, all []Process) (func(*Process) verdict, error) {
	switch t.key {
	case keyPID:
		return func(p *Process) verdict { return verdictOf(p.PID == t.number) }, nil
	case keyPGID:
		return func(p *Process) verdict { return verdictOf(p.PGID == t.number) }, nil
	case keyCmd:
		return func(p *Process) verdict {
			return verdictOf(len(p.Args) > 0 && t.regexp.MatchString(p.CommandLine()))
		}, nil
	case keyExe:
		return exeTest(t.text), nil
	case keyUser:
		return func(p *Process) verdict {
			s, ok := r.fs.status(p.PID)
			return verdictOf(ok && s.uid[1] == uint32(t.number))
		}, nil
	case keyTree:
		return r.treeTest(t.number, all)
	case keyUnit:
		return func(p *Process) verdict { return verdictOf(inUnit(r.fs.cgroups(p.PID), t.text)) }, nil
	case keyCgroup:
		return func(p *Process) verdict { return verdictOf(inCgroup(r.fs.cgroups(p.PID), t.text)) }, nil
	case keyContainer:
		return func(p *Process) verdict { return verdictOf(r.fs.inContainer(p.PID, t.text)) }, nil
	case keyPort:
		return r.portTest(t.number), nil
	}
	return nil, badSelector(t.text, fmt.Sprintf("selector %s is not known", t.key), "there are "+usage())
}

// exeTest compares image paths: as typed, and with its links resolved.
func exeTest(path string) func(*Process) verdict {
	wanted := []string{path}
	if abs, err := filepath.Abs(path); err == nil {
		wanted = append(wanted, abs)
		if real, err := filepath.EvalSymlinks(abs); err == nil {
			wanted = append(wanted, real)
		}
	}
	return func(p *Process) verdict {
		if p.Exe == "" && !p.Zombie {
			return unknown
		}
		return verdictOf(slices.Contains(wanted, p.Exe))
	}
}

// treeTest holds for a process and all that descend from it.
func (r *reader) treeTest(root int, all []Process) (func(*Process) verdict, error) {
	children := map[int][]int{}
	exists := false
	for i := range all {
		children[all[i].PPID] = append(children[all[i].PPID], all[i].PID)
		exists = exists || all[i].PID == root
	}
	if !exists {
		return nil, r.notFound(root)
	}
	in := map[int]bool{}
	for todo := []int{root}; len(todo) > 0; todo = todo[1:] {
		// A PID used again while the list was read could close a circle.
		if pid := todo[0]; !in[pid] {
			in[pid] = true
			todo = append(todo, children[pid]...)
		}
	}
	return func(p *Process) verdict { return verdictOf(in[p.PID]) }, nil
}

// notFound explains the lack of a PID.
func (r *reader) notFound(pid int) error {
	e := &NotFoundError{Selector: fmt.Sprintf("PID %d", pid)}
	if s, ok := r.fs.status(pid); ok && s.tgid != pid && s.tgid != 0 {
		if p, ok := r.base(s.tgid); ok {
			e.Leader = p
			return e
		}
	}
	e.Inside = r.inside(pid)
	if r.fs == Proc && len(e.Inside) == 0 && syscall.Kill(pid, 0) == syscall.EPERM {
		e.Remedy = "it exists, but /proc is mounted with hidepid and shows only your own processes: run procdump as root"
	}
	return e
}

// inside finds the processes whose PID in their own PID namespace is pid.
func (r *reader) inside(pid int) []Process {
	pids, _ := numbers(string(r.fs))
	slices.Sort(pids)
	var found []Process
	for _, other := range pids {
		s, ok := r.fs.status(other)
		if !ok || len(s.nspid) < 2 || s.nspid[len(s.nspid)-1] != pid {
			continue
		}
		if p, ok := r.base(other); ok {
			r.fill(&p)
			found = append(found, p)
		}
	}
	return found
}
