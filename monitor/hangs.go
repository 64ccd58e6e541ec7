package monitor

import (
	"errors"
	"fmt"
	"time"

	"procdump/probe/hang"
	"procdump/target"
)

// hangs are the checks of a process, or of a server in it, that it still
// answers.
type hangs struct {
	list []hang.Checker
	warn func(error)
}

func (m *monitor) openHangs(p target.Process) (h hangs, err error) {
	h.warn = func(err error) { m.Observer.Warning(&p, err.Error()) }
	if m.Rules.Window {
		d, err := hang.OpenDState("", p.PID)
		if err != nil {
			return h, err
		}
		h.list = append(h.list, d)
		x, err := hang.OpenX11(p.PID, m.Scope.Wait || m.Scope.Child != nil)
		switch {
		case err == nil:
			h.list = append(h.list, x)
		case errors.Is(err, hang.ErrNoDisplay), errors.Is(err, hang.ErrNoWindow):
			m.Observer.Warning(&p, fmt.Sprintf("-h looks for threads in uninterruptible sleep only: %v", err))
		default:
			h.close()
			return h, err
		}
	}
	for _, url := range m.Rules.Endpoints {
		e, err := hang.URL(url, p.PID)
		if err != nil {
			h.close()
			return h, err
		}
		h.list = append(h.list, e)
	}
	return h, nil
}

// reason tells why the process hangs, or "".
func (h *hangs) reason(now time.Time) string {
	for _, c := range h.list {
		state, reason, err := c.Check(now)
		if state == hang.Hung {
			return "Hung: " + reason
		}
		if err != nil && !errors.Is(err, hang.ErrGone) && h.warn != nil {
			h.warn(fmt.Errorf("check whether it hangs: %w", err))
			h.warn = nil // once
		}
	}
	return ""
}

// forget begins the time of every check anew.
func (h *hangs) forget() {
	for _, c := range h.list {
		c.Forget()
	}
}

func (h *hangs) close() {
	for _, c := range h.list {
		_ = c.Close()
	}
}
