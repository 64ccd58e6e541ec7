package target

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"procdump/internal/printable"
)

// WriteTable lists processes that a target may mean: PID, start, CPU time,
// resident memory, user and command line, cut to the terminal's width (120
// columns where w is none). target is what the user typed: when it is not
// empty, what to type instead follows the table.
func WriteTable(w io.Writer, processes []Process, target string) error {
	return writeTable(w, processes, target, columns(w))
}

func writeTable(w io.Writer, processes []Process, target string, width int) error {
	var rows strings.Builder
	tw := tabwriter.NewWriter(&rows, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(tw, "PID\tSTARTED\tCPU\tMEMORY\tUSER\t\n")
	for i := range processes {
		p := &processes[i]
		fmt.Fprintf(tw, "%d\t%s\t%s\t%s\t%s\t\n", p.PID, startText(p.Start), cpuText(p.CPU), memoryText(p.RSS), cut(printable.Text(p.User), 16))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	lines := strings.Split(strings.TrimSuffix(rows.String(), "\n"), "\n")
	for i, line := range lines {
		line = strings.TrimPrefix(line, "  ") // tabwriter's gap before the first column
		command := "COMMAND"
		if i > 0 {
			command = printable.Text(processes[i-1].CommandLine())
		}
		room := max(width-utf8.RuneCountInString(line)-2, 18)
		fmt.Fprintf(out, "%s  %s\n", line, cut(command, room))
	}
	if target != "" && len(processes) > 0 {
		fmt.Fprintf(out, "\nAll of them:  procdump -all %s\n", shellQuote(target))
		fmt.Fprintf(out, "One of them:  procdump %d\n", processes[0].PID)
	}
	return out.Flush()
}

func startText(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// cpuText is hours:minutes:seconds, without leading zero hours.
func cpuText(d time.Duration) string {
	s := int64(d / time.Second)
	if s < 3600 {
		return fmt.Sprintf("%d:%02d.%d", s/60, s%60, int64(d/(100*time.Millisecond))%10)
	}
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

func memoryText(n uint64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GB", n>>30)
	case n >= 1<<20:
		return fmt.Sprintf("%d MB", n>>20)
	default:
		return fmt.Sprintf("%d KB", n>>10)
	}
}

func cut(s string, most int) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	runes := []rune(s)
	return string(runes[:most-1]) + "…"
}

// shellQuote makes one word of s for sh.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./:,@%+=", r)
	}
	for _, r := range s {
		if !plain(r) {
			return "'" + strings.ReplaceAll(printable.Text(s), "'", `'\''`) + "'"
		}
	}
	return s
}
