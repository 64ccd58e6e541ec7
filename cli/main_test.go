package cli

import (
	"flag"
	"os"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files and the manual page")

func TestMain(m *testing.M) {
	time.Local = time.UTC          // console lines print local time
	os.Unsetenv("DEBUGINFOD_URLS") // reports need no network
	os.Exit(m.Run())
}

// golden compares got with a file, or writes the file if -update is given.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update writes it); got:\n%s", path, got)
	}
}
