package e2e

import (
	"bytes"
	"os"
	"testing"

	"procdump/victims"
	"procdump/victims/need"
)

// TestTriageHoldsNoSecret searches triage dumps for a secret that the victim
// holds in its command line, environment, heap, static memory and stacks.
func TestTriageHoldsNoSecret(t *testing.T) {
	need.Root(t)
	// Every eight bytes of it are unlike anything else.
	const secret = "Zq7#vXpL9!mWb2@kRt5$yHn8%cJd4^gFs6&uQe3*aOi1(xTl0)"
	for _, name := range []string{"secrets", "secrets@static", "secrets@i386"} {
		t.Run(name, func(t *testing.T) {
			v := victims.StartSpec(t, victims.Spec{Name: name, Args: []string{secret}, Env: []string{"TOKEN=" + secret}})
			for _, format := range []string{"elf", "minidump"} {
				file := dump(t, v.PID, spec{"-mt", format})
				if at, piece := leak(t, file, secret); at >= 0 {
					t.Errorf("%s: %q at offset %#x", format, piece, at)
				}
			}
			// The search must be able to find it.
			if at, _ := leak(t, dump(t, v.PID, spec{"-ma", "elf"}), secret); at < 0 {
				t.Error("a full dump does not hold the secret: the search is wrong")
			}
		})
	}
}

// leak finds any five bytes in a row of the secret in a file, also as UTF-16.
func leak(t testing.TB, file, secret string) (at int, piece string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const piecewise = 5
	for i := 0; i+piecewise <= len(secret); i++ {
		piece := secret[i : i+piecewise]
		var wide []byte
		for _, c := range []byte(piece) {
			wide = append(wide, c, 0)
		}
		if at := bytes.Index(b, []byte(piece)); at >= 0 {
			return at, piece
		}
		if at := bytes.Index(b, wide); at >= 0 {
			return at, piece
		}
	}
	return -1, ""
}
