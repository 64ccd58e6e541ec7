package kernel

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// crashDump is a DUMP_HEADER64 of a dump of type 3, the header alone, with a
// bug check.
func crashDump(code uint32) []byte {
	b := make([]byte, 0x2000)
	for i := 0; i < len(b); i += 4 {
		copy(b[i:], "PAGE")
	}
	le := binary.LittleEndian
	copy(b[4:], "DU64")
	le.PutUint32(b[8:], 15)
	le.PutUint32(b[0xc:], 19045)
	le.PutUint32(b[0x30:], 0x8664)
	le.PutUint32(b[0x34:], 4)
	le.PutUint32(b[0x38:], code)
	for i, v := range []uint64{0x28, 2, 1, 0xfffff80512345678} {
		le.PutUint64(b[0x40+8*i:], v)
	}
	clear(b[0x348 : 0x348+3000])                     // CONTEXT
	le.PutUint32(b[0x348+0x30:], 0x10000b)           // ContextFlags: all of amd64
	le.PutUint64(b[0x348+0xf8:], 0xfffff80500001234) // Rip
	le.PutUint64(b[0x348+0x98:], 0xffffb00000001000) // Rsp
	clear(b[0xf00:0xf98])
	le.PutUint32(b[0xf98:], 3)
	le.PutUint64(b[0xfa8:], 132539423021234567)
	clear(b[0xfb0:0x1030])
	le.PutUint64(b[0x1030:], 36_000_000_000) // an hour in units of 100 ns
	le.PutUint32(b[0x1050:], 0)
	return b
}

func TestWindows(t *testing.T) {
	r := openReport(t, crashDump(0xd1))
	if r.System != "Windows" || !r.Crash || r.Release != "10.0.19045" || r.Machine != "amd64" || r.CPUs != 4 || r.UptimeSeconds != 3600 || r.Time == nil {
		t.Errorf("%+v", r)
	}
	if !strings.HasPrefix(r.Reason, "Windows stopped with bug check DRIVER_IRQL_NOT_LESS_OR_EQUAL (0xd1)") {
		t.Errorf("reason %q", r.Reason)
	}
	b := r.Windows.BugCheck
	if b == nil || b.Code != 0xd1 || len(b.Parameters) != 4 || b.Parameters[3].Value != 0xfffff80512345678 || b.Parameters[0].Meaning == "" {
		t.Errorf("bug check %+v", b)
	}
	if r.Windows.At == nil || r.Windows.At.PC != 0xfffff80500001234 || len(r.Windows.Registers) == 0 {
		t.Errorf("%+v", r.Windows)
	}
	if r := openReport(t, crashDump(0)); r.Crash || r.Incident != nil || !strings.HasPrefix(r.Reason, "The machine did not crash") {
		t.Errorf("without a bug check: %q", r.Reason)
	}
}

// TestException says how memory was accessed.
func TestException(t *testing.T) {
	for how, want := range map[uint64]string{0: "read of", 1: "write of", 8: "execution of", 5: "access to"} {
		b := crashDump(0x1e)
		le := binary.LittleEndian
		le.PutUint32(b[0xf00:], statusAccessViolation)
		le.PutUint64(b[0xf00+16:], 0xfffff80500001234) // ExceptionAddress
		le.PutUint32(b[0xf00+24:], 2)                  // NumberParameters
		le.PutUint64(b[0xf00+32:], how)
		le.PutUint64(b[0xf00+40:], 0x28)
		if r := openReport(t, b); !strings.Contains(r.Reason, ": access violation ("+want+" address 0x28)") {
			t.Errorf("%d: %s", how, r.Reason)
		}
	}
}

// TestRealWindows inspects dumps that Windows wrote, where someone has some:
// all files *.dmp in the folder PROCDUMP_WINDUMPS.
func TestRealWindows(t *testing.T) {
	folder := os.Getenv("PROCDUMP_WINDUMPS")
	if folder == "" {
		t.Skip("PROCDUMP_WINDUMPS names no folder")
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.dmp"))
	if err != nil || len(files) == 0 {
		t.Fatal("no dumps", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r := openReport(t, b)
		t.Log(filepath.Base(file), r.Reason)
		if r.System != "Windows" || r.Windows.BugCheck == nil || len(r.Modules) < 50 || len(r.Windows.Stack) < 5 || r.Windows.At.Module == "" {
			t.Errorf("%s: %+v", file, r)
		}
	}
}
