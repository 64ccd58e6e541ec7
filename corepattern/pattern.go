package corepattern

import (
	"fmt"
	"path/filepath"
	"strings"
)

// maxPattern is CORENAME_MAX_SIZE without the final zero (fs/coredump.c).
const maxPattern = 127

// pipeLimit is PID_MAX_LIMIT (include/linux/threads.h): there are never more
// processes, so that the kernel skips none, and it is not 0, so that it waits.
const pipeLimit = "4194304"

// patternFor returns the core_pattern that starts a handler.
func patternFor(executable string) (string, error) {
	if strings.ContainsAny(executable, " \t\n%") {
		return "", fmt.Errorf("install crash handler: the path %q has a blank or %%, which the kernel takes for its own: install procdump to /usr/local/bin first (make install)", executable)
	}
	p := "|" + executable + " " + Switch + " " + specifiers
	if len(p) > maxPattern {
		return "", fmt.Errorf("install crash handler: the path %q is too long: the kernel takes %d bytes and this needs %d; install procdump to /usr/local/bin first (make install)", executable, maxPattern, len(p))
	}
	return p, nil
}

// handlers are crash handlers that people know by another name than that of
// their program.
var handlers = map[string]string{
	"systemd-coredump": "systemd-coredump", "apport": "Ubuntu's apport", "abrt-hook-ccpp": "abrt", "drkonqi-coredump-processor": "KDE's drkonqi",
	"sentry-crash": "sentry", "core_collector": "core_collector", "coredumper": "coredumper",
}

// foreign names the tool that a core_pattern hands crashes to; "" if it is a
// file's name.
func foreign(pattern string) string {
	switch {
	case strings.HasPrefix(pattern, "@"): // a socket, Linux 6.16
		return "the server of socket " + strings.TrimLeft(pattern, "@")
	case !strings.HasPrefix(pattern, "|"):
		return ""
	}
	words := strings.Fields(pattern[1:])
	if len(words) == 0 {
		return ""
	}
	name := filepath.Base(words[0])
	if known := handlers[name]; known != "" {
		return known
	}
	if strings.HasPrefix(name, "python") || name == "sh" || name == "bash" {
		return strings.Join(words[:min(2, len(words))], " ")
	}
	return name
}
