package windump

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"procdump/arch"
)

// BugCheckInfo is what is documented about a bug check code.
type BugCheckInfo struct {
	Code    uint32
	Name    string    // "IRQL_NOT_LESS_OR_EQUAL"
	Meaning string    // a sentence
	Params  [4]string // what each parameter is; "" where it is unused or not documented
}

// bugCheckTable has a line a code: code in hexadecimal, name, meaning, and up to
// four parameters, separated by bars. Names and facts are those of Microsoft's
// bug check code reference
// (https://learn.microsoft.com/windows-hardware/drivers/debugger/bug-check-code-reference2)
// and kernel live dump code reference; 5454414D is what MoonSols' DumpIt writes.
//
//go:embed bugcheck.txt
var bugCheckTable string

var bugChecks = sync.OnceValue(func() map[uint32]BugCheckInfo {
	m := map[uint32]BugCheckInfo{}
	for line := range strings.Lines(bugCheckTable) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "|")
		code, err := strconv.ParseUint(f[0], 16, 32)
		if err != nil || len(f) < 3 {
			continue // a comment
		}
		b := BugCheckInfo{Code: uint32(code), Name: f[1], Meaning: f[2]}
		copy(b.Params[:], f[3:])
		m[b.Code] = b
	}
	return m
})

// bugCheckM is set in the codes of small dumps whose kernel was not the one that
// the symbols are for; the rest is the code itself.
const bugCheckM = 0x10000000

// LookupBugCheck returns what is documented about a bug check code. A code with
// bit 28 set has the meaning of the code without it, and "_M" behind its name.
func LookupBugCheck(code uint32) (BugCheckInfo, bool) {
	b, ok := bugChecks()[code]
	if !ok && code&bugCheckM != 0 {
		if b, ok = bugChecks()[code&^bugCheckM]; ok {
			b.Name += "_M"
		}
	}
	b.Code = code
	return b, ok
}

// BugCheck is the bug check of a dump.
type BugCheck struct {
	BugCheckInfo
	Values [4]uint64 // of the parameters
}

// BugCheck returns the bug check of the header. Name is "" for a code that is
// not documented. Code 0 is a dump that was taken without a crash.
func (r *Reader) BugCheck() BugCheck {
	b, _ := LookupBugCheck(r.Header.BugCheckCode)
	return BugCheck{b, r.Header.BugCheckParameters}
}

// String returns the bug check in one line, as the blue screen had it:
// "0x0000000a IRQL_NOT_LESS_OR_EQUAL (0x10, 0x2, 0x0, 0xfffff80012345678)".
func (b BugCheck) String() string {
	name := b.Name
	switch {
	case b.Code == 0:
		return "no bug check"
	case name == "":
		name = "undocumented bug check"
	}
	return fmt.Sprintf("%#08x %s (%#x, %#x, %#x, %#x)", b.Code, name, b.Values[0], b.Values[1], b.Values[2], b.Values[3])
}

// crashRecords says which parameters of a bug check are the addresses of the
// exception record and of the CONTEXT of the crash, counted from 1.
var crashRecords = map[uint32]struct{ exception, context int }{
	0x23: {2, 3}, 0x24: {2, 3}, 0x26: {2, 3}, 0x27: {2, 3}, 0x9b: {2, 3}, 0x108: {2, 3}, 0x12c: {2, 3}, 0x149: {2, 3},
	0x3b:  {0, 3},
	0x3d:  {1, 2},
	0x7e:  {3, 4},
	0x10f: {1, 2},
	0x135: {0, 2},
	0x139: {3, 0},
}

// BugCheckContext returns the registers at the exception that led to the bug
// check, for the codes whose parameters point to them: those in Context are of
// the call to KeBugCheckEx then.
func (r *Reader) BugCheckContext() (arch.Registers, error) {
	if i := crashRecords[r.Header.BugCheckCode&^bugCheckM].context; i != 0 && r.Header.BugCheckParameters[i-1] != 0 {
		return r.ContextAt(r.Header.BugCheckParameters[i-1])
	}
	return arch.Registers{}, fmt.Errorf("%w: no parameter of this bug check is a context", ErrNotThere)
}

// BugCheckException returns the exception that led to the bug check, as
// BugCheckContext does.
func (r *Reader) BugCheckException() (*Exception, error) {
	if i := crashRecords[r.Header.BugCheckCode&^bugCheckM].exception; i != 0 && r.Header.BugCheckParameters[i-1] != 0 {
		return r.ExceptionAt(r.Header.BugCheckParameters[i-1])
	}
	return nil, fmt.Errorf("%w: no parameter of this bug check is an exception record", ErrNotThere)
}
