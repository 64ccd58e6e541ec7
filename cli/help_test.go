package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"
)

const manPath = "../docs/procdump.1"

func TestHelp(t *testing.T) {
	help := Help()
	for i, line := range strings.Split(help, "\n") {
		if utf8.RuneCountInString(line) > helpWidth {
			t.Errorf("line %d is wider than %d columns: %s", i+1, helpWidth, line)
		}
		if strings.TrimRight(line, " ") != line {
			t.Errorf("line %d ends in spaces", i+1)
		}
	}
	working, later, _ := strings.Cut(help, "Not available yet:")
	for i := range switches {
		s := &switches[i]
		if s.section == secHidden && !s.later {
			continue
		}
		if s.later && !strings.Contains(strings.ReplaceAll(later, "\n", " "), " "+s.typed()+" ") {
			t.Errorf("%s is not said to be unavailable", s.typed())
		}
		if listed := strings.Contains(working, "\n  "+s.typed()+" "); listed == s.later {
			t.Errorf("%s: listed as working: %v", s.typed(), listed)
		}
	}
	if runtime.GOOS != "windows" {
		golden(t, "testdata/help.golden", help)
	}
}

// TestExamples parses the commands that the help shows.
func TestExamples(t *testing.T) {
	for _, e := range examples {
		words := strings.Fields(strings.ReplaceAll(e.name, "java .*", "java.*"))
		if _, err := Parse(words[1:]); err != nil {
			t.Errorf("%s: %v", e.name, err)
		}
	}
}

// TestManUpToDate holds the committed manual page against the switch table.
func TestManUpToDate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the page is that of Linux")
	}
	golden(t, manPath, Man())
}

func TestManLint(t *testing.T) {
	mandoc, err := exec.LookPath("mandoc")
	if err != nil {
		t.Skip("mandoc is not installed")
	}
	page := filepath.Join(t.TempDir(), "procdump.1")
	if err := os.WriteFile(page, []byte(Man()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mandoc, "-Tlint", page).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("mandoc -Tlint: %v\n%s", err, out)
	}
}

// TestManEscapes has what roff would take for its own.
func TestManEscapes(t *testing.T) {
	m := new(manPage)
	m.text(`.core is a\b 'x' -1`)
	if got, want := m.b.String(), `\&.core is a\eb \(aqx\(aq \-1`+"\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	m = new(manPage)
	m.text(strings.Repeat("x", manWidth) + " .dmp")
	if !strings.Contains(m.b.String(), "\n\\&.dmp\n") {
		t.Errorf("a wrapped line begins with a dot: %s", m.b.String())
	}
}
