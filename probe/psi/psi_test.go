package psi

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const memory = "some avg10=0.34 avg60=1.32 avg300=5.47 total=2917466231\nfull avg10=0.01 avg60=0.02 avg300=0.03 total=17\n"

func TestParse(t *testing.T) {
	some := Line{Avg10: 0.34, Avg60: 1.32, Avg300: 5.47, Total: 2917466231 * time.Microsecond}
	for _, c := range []struct {
		name, text string
		want       Pressure
		ok         bool
	}{
		{"both lines", memory, Pressure{Some: some, Full: Line{0.01, 0.02, 0.03, 17 * time.Microsecond}, HasSome: true, HasFull: true}, true},
		{"no full line", "some avg10=0.34 avg60=1.32 avg300=5.47 total=2917466231\n", Pressure{Some: some, HasSome: true}, true},
		{"no newline at the end", "full avg10=100.00 avg60=0 avg300=0 total=0", Pressure{Full: Line{Avg10: 100}, HasFull: true}, true},
		{"new fields and lines", "new x\nsome avg10=0.34 avg60=1.32 avg300=5.47 avg900=1 total=2917466231\n", Pressure{Some: some, HasSome: true}, true},
		{"empty", "", Pressure{}, false},
		{"cut off", "some avg10=0.34 avg60=1.3", Pressure{}, false},
		{"not a number", "some avg10=x avg60=1.32 avg300=5.47 total=1\n", Pressure{}, false},
		{"NaN", "some avg10=NaN avg60=1.32 avg300=5.47 total=1\n", Pressure{}, false},
		{"too long a time", "some avg10=0 avg60=1.32 avg300=5.47 total=18446744073709551615\n", Pressure{}, false},
		{"no field", "some avg10 avg60=1.32 avg300=5.47 total=1\n", Pressure{}, false},
		{"another file", "MemTotal: 1 kB\n", Pressure{}, false},
	} {
		got, err := Parse([]byte(c.text))
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", c.name, err)
		}
		if got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestValues(t *testing.T) {
	p, err := Parse([]byte(memory))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		kind, name string
		want       float64
		ok         bool
	}{
		{"some", "avg10", 0.34, true}, {"some", "avg60", 1.32, true}, {"full", "avg300", 0.03, true},
		{"some", "total", 2917466231, true}, {"some", "avg900", 0, false}, {"most", "avg10", 0, false},
	} {
		l, ok := p.Line(c.kind)
		v, found := l.Value(c.name)
		if ok = ok && found; ok != c.ok || v != c.want {
			t.Errorf("%s.%s = %v %v, want %v %v", c.kind, c.name, v, ok, c.want, c.ok)
		}
	}
}

func TestFileIsReadAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "memory")
	if err := os.WriteFile(path, []byte(memory), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.WriteFile(path, []byte(strings.Replace(memory, "0.34", "7.50", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if p, err := f.Read(); err != nil || p.Some.Avg10 != 7.5 {
		t.Errorf("second read: %+v, %v, want 7.5", p, err)
	}
	if n := testing.AllocsPerRun(100, func() { f.Read() }); n > 0 {
		t.Errorf("a read allocates %v times", n)
	}
}

func TestAbsent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pressure", "memory")
	_, err := Open(path)
	if !errors.Is(err, ErrOff) || !errors.Is(err, errors.ErrUnsupported) {
		t.Fatalf("a kernel without pressure files: %v, want ErrOff", err)
	}
	for _, want := range []string{"psi=1", "CONFIG_PSI", path} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
}

// TestNoInterrupts: irq.pressure may be all that is missing.
func TestNoInterrupts(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "cpu"), []byte(memory), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(dir, "irq")); !errors.Is(err, ErrOff) || !strings.Contains(err.Error(), "CONFIG_IRQ_TIME_ACCOUNTING") {
		t.Errorf("got %v", err)
	}
}

// TestSwitchedOff explains the error that read(2) gives on a kernel booted
// without psi=1, where the files exist.
func TestSwitchedOff(t *testing.T) {
	err := explain("/proc/pressure/cpu", &fs.PathError{Op: "read", Path: "/proc/pressure/cpu", Err: syscall.EOPNOTSUPP})
	if !errors.Is(err, ErrOff) || !strings.Contains(err.Error(), "psi=1") {
		t.Errorf("got %v, want ErrOff with the remedy", err)
	}
	if err := explain("x", syscall.EACCES); errors.Is(err, ErrOff) || !errors.Is(err, syscall.EACCES) {
		t.Errorf("no permission became %v", err)
	}
}

// TestKernel reads this machine's files, or finds that it has none.
func TestKernel(t *testing.T) {
	for _, name := range []string{"cpu", "memory", "io"} {
		path := "/proc/pressure/" + name
		f, err := Open(path)
		if errors.Is(err, ErrOff) {
			if b, readErr := os.ReadFile(path); readErr == nil {
				t.Errorf("said %v, but the file holds %q", err, b)
			}
			t.Logf("%v", err)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		p, err := f.Read()
		if err != nil || !p.HasSome || p.Some.Avg10 > 100 || p.Some.Total < p.Full.Total {
			t.Errorf("%s: %+v, %v", path, p, err)
		}
		f.Close()
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(memory))
	f.Add([]byte("some avg10="))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if (err != nil) != (p == Pressure{}) {
			t.Errorf("%+v with error %v", p, err)
		}
	})
}
