package signals

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"procdump/victims/need"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		text string
		want int
	}{
		{"11", 11}, {"SIGSEGV", 11}, {"SEGV", 11}, {"segv", 11}, {" SigAbrt ", 6}, {"IOT", 6}, {"SIGPOLL", 29},
		{"SIGRTMIN", 34}, {"SIGRTMIN+3", 37}, {"rtmax-2", 62}, {"RTMAX", 64}, {"RTMIN+30", 64}, {"SIG33", 33}, {"64", 64},
	} {
		if got, err := Parse(c.text); err != nil || got != c.want {
			t.Errorf("Parse(%q) = %d, %v, want %d", c.text, got, err, c.want)
		}
	}
	for _, bad := range []string{"", "0", "65", "-11", "SIG", "SIGFOO", "RTMIN+31", "RTMIN-1", "RTMAX+1", "RTMIN3", "RTMIN+", "SEG", "999999999999"} {
		if got, err := Parse(bad); err == nil {
			t.Errorf("Parse(%q) = %d, want an error", bad, got)
		}
	}
}

// TestNamesAreThoseOfTheShell compares every name with what bash says.
func TestNamesAreThoseOfTheShell(t *testing.T) {
	bash := need.Tool(t, "bash")
	for sig := 1; sig <= Max; sig++ {
		if back, err := Parse(Name(sig)); err != nil || back != sig {
			t.Errorf("Parse(%q) = %d, %v, want %d", Name(sig), back, err, sig)
		}
		out, err := exec.Command(bash, "-c", "kill -l "+strconv.Itoa(sig)).Output()
		want := strings.TrimSpace(string(out))
		if err != nil || want == "" || want == strconv.Itoa(sig) {
			continue // 32 and 33
		}
		if got := strings.TrimPrefix(Name(sig), "SIG"); got != want {
			t.Errorf("Name(%d) = %s, bash says %s", sig, got, want)
		}
	}
	if got := Name(99); got != "signal 99" {
		t.Errorf("Name(99) = %q", got)
	}
}

// TestCodesAreThoseOfTheHeaders compiles the names against the C library's.
func TestCodesAreThoseOfTheHeaders(t *testing.T) {
	gcc := need.Tool(t, "gcc")
	var src strings.Builder
	src.WriteString("#include <signal.h>\n#define CHECK(name, value) _Static_assert((name) == (value), #name);\n")
	check := func(name string, value int) {
		// Those that only some kernels or machines name.
		src.WriteString("#ifdef " + name + "\nCHECK(" + name + ", " + strconv.Itoa(value) + ")\n#endif\n")
	}
	for _, list := range codes {
		for i, name := range list {
			check(name, i+1)
			if strings.HasPrefix(name, "SEGV_M") && i == 0 || name == "ILL_ILLOPC" || name == "BUS_MCEERR_AO" || name == "TRAP_HWBKPT" {
				// The C library's names are an enumeration.
				src.WriteString("CHECK(" + name + ", " + strconv.Itoa(i+1) + ")\n")
			}
		}
	}
	for value, name := range anySignal {
		if name != "SI_DETHREAD" { // the kernel's own
			src.WriteString("CHECK(" + name + ", " + strconv.Itoa(int(value)) + ")\n")
		}
	}
	for sig, name := range names {
		if name != "" {
			src.WriteString("CHECK(SIG" + name + ", " + strconv.Itoa(sig) + ")\n")
		}
	}
	cmd := exec.Command(gcc, "-D_GNU_SOURCE", "-fsyntax-only", "-x", "c", "-")
	cmd.Stdin = strings.NewReader(src.String())
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, msg)
	}
}

func TestTerminates(t *testing.T) {
	for _, sig := range []int{1, 9, SEGV, ABRT, 15, 13, 34, 64, 29, 30} {
		if !Terminates(sig) {
			t.Errorf("%s does not terminate", Name(sig))
		}
	}
	for _, sig := range []int{0, 17, 18, 19, 20, 21, 22, 23, 28, 65, -1} {
		if Terminates(sig) {
			t.Errorf("%s terminates", Name(sig))
		}
	}
}

func TestExceptionText(t *testing.T) {
	for _, c := range []struct {
		sig  int
		code int32
		addr uint64
		want string
	}{
		{SEGV, 1, 0x10, "SIGSEGV.SEGV_MAPERR at 0x10"},
		{SEGV, 2, 0x7ffe0000, "SIGSEGV.SEGV_ACCERR at 0x7ffe0000"},
		{SEGV, 0x80, 0, "SIGSEGV.SI_KERNEL"},
		{SEGV, 0, 0x10, "SIGSEGV.SI_USER"},
		{ABRT, -6, 0x10, "SIGABRT.SI_TKILL"},
		{FPE, 1, 0x401000, "SIGFPE.FPE_INTDIV at 0x401000"},
		{SYS, 1, 0x10, "SIGSYS.SYS_SECCOMP"},
		{BUS, 77, 0x10, "SIGBUS.77 at 0x10"},
	} {
		if got := ExceptionText(c.sig, c.code, c.addr); got != c.want {
			t.Errorf("ExceptionText(%d, %d, %#x) = %q, want %q", c.sig, c.code, c.addr, got, c.want)
		}
	}
}
