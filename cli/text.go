package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// printable escapes what would move the cursor, colour or reorder text on a
// terminal: processes choose their own names and paths.
func printable(s string) string {
	if isPlain(s) {
		return s
	}
	clean := utf8.ValidString(s)
	for _, r := range s {
		clean = clean && (unicode.IsPrint(r) || r == '\n')
	}
	if clean {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case unicode.IsPrint(r) || r == '\n':
			b.WriteRune(r)
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
		s = s[n:]
	}
	return b.String()
}

// isPlain tells whether a text has nothing but printable ASCII and ends of
// lines, as nearly all lines of output have: thousands of them come in a second.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\n' || c > '~' {
			return false
		}
	}
	return true
}

// oneLine is printable for names and paths, which are one line.
func oneLine(s string) string { return strings.ReplaceAll(printable(s), "\n", `\n`) }

// shellQuote quotes a word so that a shell reads it as it is. A word with
// characters that a terminal must not see gets bash's $'…' form.
func shellQuote(s string) string {
	if oneLine(s) != s {
		return "$'" + strings.ReplaceAll(oneLine(strings.ReplaceAll(s, `\`, `\\`)), "'", `\'`) + "'"
	}
	safe := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("/._-+=:,@%^", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !safe(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// sizeText prints a size as people say it, in units of 1,024.
func sizeText(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d bytes", n)
	}
	f, unit := float64(n)/(1<<10), "KB"
	for _, next := range []string{"MB", "GB", "TB"} {
		if f < 1023.95 { // prints as less than 1024.0
			break
		}
		f, unit = f/1024, next
	}
	return fmt.Sprintf("%.1f %s", f, unit)
}

// megabytes is ProcDump's size: whole megabytes, never none.
func megabytes(n int64) int64 {
	const mb = 1 << 20
	whole := n / mb
	if n%mb > 0 || n == 0 {
		whole++
	}
	return whole
}

// pauseText prints a pause with the digits that matter.
func pauseText(d time.Duration) string {
	switch {
	case d < 0:
		return "unknown"
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// spanText prints an estimated time.
func spanText(d time.Duration) string {
	s := int64((d + time.Second - 1) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d:%02d min", s/60, s%60)
	}
	return fmt.Sprintf("%d:%02d h", s/3600, s/60%60)
}
