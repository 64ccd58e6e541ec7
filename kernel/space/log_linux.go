package space

import (
	"fmt"
	"io"
	"log/syslog"
	"os"
	"time"
)

// systemLog writes to the system's log or, where none listens yet, to the
// kernel's. A log server that does not read holds up nobody.
func systemLog(level Level, text string) {
	priority := syslog.LOG_DAEMON | syslog.LOG_NOTICE
	if level == Warning {
		priority = syslog.LOG_DAEMON | syslog.LOG_WARNING
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		writeLog(priority, text)
	}()
	select {
	case <-done:
	case <-time.After(time.Second):
	}
}

func writeLog(priority syslog.Priority, text string) {
	if w, err := syslog.New(priority, "procdump"); err == nil {
		defer w.Close()
		if _, err := io.WriteString(w, text); err == nil {
			return
		}
	}
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer f.Close()
	const most = 900 // bytes in a line of the kernel's log
	io.WriteString(f, fmt.Sprintf("<%d>procdump: %s\n", priority, text[:min(len(text), most)]))
}
