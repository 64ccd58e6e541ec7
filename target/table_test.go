package target

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestWriteTable(t *testing.T) {
	start := time.Date(2026, 7, 1, 12, 3, 4, 0, time.Local)
	ps := []Process{
		{PID: 4711, Start: start, CPU: 62500 * time.Millisecond, RSS: 12 << 20, User: "root", Args: []string{"python3", "/srv/a\x1b[2J.py"}},
		{PID: 9, CPU: 3*time.Hour + 5*time.Second, RSS: 20 << 30, User: "a-very-long-user-name", Args: []string{strings.Repeat("ä", 300)}},
		{PID: 10, RSS: 4096, User: "x", Name: "gone"},
	}
	var b strings.Builder
	if err := writeTable(&b, ps, "it's me", 100); err != nil {
		t.Fatal(err)
	}
	want := ` PID              STARTED      CPU  MEMORY              USER  COMMAND
4711  2026-07-01 12:03:04   1:02.5   12 MB              root  python3 /srv/a?[2J.py
   9                    -  3:00:05   20 GB  a-very-long-use…  ` + strings.Repeat("ä", 37) + `…
  10                    -   0:00.0    4 KB                 x  [gone]

All of them:  procdump -all 'it'\''s me'
One of them:  procdump 4711
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	for _, width := range []int{0, 80, 132} {
		b.Reset()
		writeTable(&b, ps, "", width)
		for _, line := range strings.Split(b.String(), "\n") {
			if n := utf8.RuneCountInString(line); n > max(width, 80) {
				t.Errorf("width %d: line of %d: %s", width, n, line)
			}
		}
		if strings.Contains(b.String(), "-all") {
			t.Error("advice without a target")
		}
	}
}
