package bpf

import "time"

// Limits of what is taken of one write.
const (
	// PieceBytes is the most that one Piece carries.
	PieceBytes = 4096
	// maxPieces is how many pieces of one write are taken: 128 KiB.
	maxPieces = 32
)

// Limits of what is taken of a process's standard output, of its standard error
// and of its log messages, of each by itself. A write counts as one unit, and as
// one more for each UnitBytes that it has.
const (
	UnitBytes = 128
	// UnitsPerSecond is how many may go on and on.
	UnitsPerSecond = 50_000
	// BurstUnits is how many may come at once after a pause.
	BurstUnits = 20_000
	// SkippedPerUnit is how many writes that are not taken cost one that might
	// be: whoever writes far more than is taken is slowed down by nothing else.
	SkippedPerUnit = 32
)

// Piece is a part of what a thread wrote by one system call. The pieces of one
// call come in order, those of several threads may come mixed.
type Piece struct {
	PID, TID int
	// FD is 1 or 2 for a write to the file that is the process's standard
	// output or standard error, by whatever descriptor; 0 for a message to an
	// AF_UNIX socket that may be one to a log daemon.
	FD int
	// At is when the system call had done its work.
	At time.Time
	// First is set on the first piece of a write.
	First bool
	// Rest is how many bytes of the write follow after this piece, all told;
	// when Cut is set they do not come.
	Rest uint64
	// Data is what was written. It is valid until the next call of Read.
	Data []byte
	// Addr and Size say where the data is in the process's memory. Size
	// bigger than len(Data) means that the page was not in memory when the
	// program looked.
	Addr uint64
	Size int
	// Cut says that Rest bytes of the write were left out.
	Cut bool
}
