package windump

import (
	"regexp"
	"strings"
	"testing"
)

func TestBugCheckTable(t *testing.T) {
	name := regexp.MustCompile(`^[A-Z][A-Z0-9_]+$`)
	lines := 0
	for line := range strings.Lines(bugCheckTable) {
		if !strings.HasPrefix(line, "#") {
			lines++
		}
	}
	all := bugChecks()
	if len(all) != lines || len(all) < 400 {
		t.Errorf("%d codes from %d lines", len(all), lines)
	}
	for code, b := range all {
		if !name.MatchString(b.Name) || !strings.HasSuffix(b.Meaning, ".") || strings.Contains(b.Meaning, "|") {
			t.Errorf("%#x: %+v", code, b)
		}
	}
}

func TestLookupBugCheck(t *testing.T) {
	for _, c := range []struct {
		code        uint32
		name, param string
	}{
		{0xa, "IRQL_NOT_LESS_OR_EQUAL", "virtual address accessed"},
		{0x9f, "DRIVER_POWER_STATE_FAILURE", "kind: 3 an IRP took too long, 4 a state change with Plug and Play"},
		{0x1000007e, "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED_M", "exception code"},
		{0xc000021a, "WINLOGON_FATAL_ERROR", "text"},
		{0xdeaddead, "MANUALLY_INITIATED_CRASH1", ""},
	} {
		if b, ok := LookupBugCheck(c.code); !ok || b.Name != c.name || b.Params[0] != c.param || b.Code != c.code {
			t.Errorf("%#x: %+v, %v", c.code, b, ok)
		}
	}
	if b, ok := LookupBugCheck(0x7777); ok || b.Name != "" || b.Code != 0x7777 {
		t.Errorf("unknown code: %+v", b)
	}
	if s := (BugCheck{}).String(); s != "no bug check" {
		t.Errorf("code 0: %q", s)
	}
	if s := (BugCheck{BugCheckInfo: BugCheckInfo{Code: 0x7777}}).String(); s != "0x00007777 undocumented bug check (0x0, 0x0, 0x0, 0x0)" {
		t.Errorf("unknown code: %q", s)
	}
}
