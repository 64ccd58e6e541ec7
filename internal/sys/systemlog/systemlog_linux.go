package systemlog

import (
	"io"
	"log/syslog"
	"os"
	"time"

	"procdump/internal/sys/kmsg"
)

// patience is how long a log server may take for a line.
const patience = time.Second

// Write writes a line. Where neither log takes it, it is lost. A log server that
// does not read holds up nobody for longer than a second.
func Write(level Level, text string) { logs{kernel: kmsg.File}.write(level, text) }

// logs are where lines go.
type logs struct {
	network, server string // "": those of this machine
	kernel          string // the kernel's log
}

func (l logs) write(level Level, text string) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.send(level, text)
	}()
	select {
	case <-done:
	case <-time.After(patience):
	}
}

func (l logs) send(level Level, text string) {
	if w, err := syslog.Dial(l.network, l.server, syslog.Priority(level.Priority()), "procdump"); err == nil {
		defer w.Close()
		if _, err := io.WriteString(w, text); err == nil {
			return
		}
	}
	f, err := os.OpenFile(l.kernel, os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer f.Close()
	_ = kmsg.Write(f, level, text) // there is nowhere else to write to
}
