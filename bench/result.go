package main

// Names of contestants that figures refer to.
const (
	nameLimit    = "limit"
	nameEarly    = "limit, early"
	nameTwo      = "limit, two readers"
	nameGcore    = "gcore"
	nameKernel   = "kernel"
	nameProcdump = "procdump -ma"
	namePacked   = "procdump -ma -z"
	nameClone    = "procdump -ma -r"
	nameLive     = "procdump -ma -r live"
	nameFork     = "fork(2)"
	nameMini     = "procdump -mm"
	nameIdle     = "nobody (noise)"
)

// Where the dumps go.
const (
	placeTmpfs = "tmpfs"
	placeDisk  = "disk"
)

// Names of those who watch.
const (
	nameNobody    = "nobody"
	nameWatch     = "procdump -c -m"
	nameLeast     = "CPU clock only"
	nameNewcomers = "procdump -w -all -e"
	nameTrace     = "procdump -e"
	nameOutput    = "procdump -l"
	nameGDB       = "gdb"
)

// What is measured of those who watch, where a contestant has several figures.
const (
	figureSample  = "sample of a process"
	figureNoticed = "execve to watched"
	figureCPU     = "… its CPU time"
)

// Cases of watching that verdicts refer to.
const (
	caseMany      = "watch5000"
	caseExec      = "exec"
	caseSyscalls  = "syscalls"
	caseSignals   = "signals"
	caseLinesNull = "lines-null"
	caseLinesFile = "lines-file"
	caseRequests  = "requests"
	caseLogFile   = "log-file"
	caseLogPipe   = "log-pipe"
	caseLogPython = "log-python"
	caseLogJava   = "log-java"
)

// result is a case's table rows: of those who dump, of those who watch, of those
// who make dumps of kernels, or of those who read dumps.
type result struct {
	name    string
	rows    []*row
	watched []*watchRow
	kernel  []*row
	readers []*row
}

// watchedBy finds the row of who watches and of a figure, "" for any; nil if
// it did not take part.
func (r *result) watchedBy(who, figure string) *watchRow {
	if r == nil {
		return nil
	}
	for _, x := range r.watched {
		if x.who == who && (figure == "" || x.figure == figure) {
			return x
		}
	}
	return nil
}

// row finds a contestant's row, nil if it did not take part.
func (r *result) row(tool, place string) *row {
	if r == nil {
		return nil
	}
	for _, x := range r.rows {
		if x.tool == tool && x.place == place {
			return x
		}
	}
	return nil
}

// limit is the faster of the machine's limits in a place: what one of them
// leaves to the fsync the other may overlap.
func (r *result) limit(place string) *row {
	if r == nil {
		return nil
	}
	plain, early := r.row(nameLimit, place), r.row(nameEarly, place)
	if early == nil || early.err() != nil || plain != nil && plain.err() == nil && plain.median(durableOf) <= early.median(durableOf) {
		return plain
	}
	return early
}
