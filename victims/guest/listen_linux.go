package guest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"procdump/victims/guest/wire"
)

var errRebooted = errors.New("the guest has crashed or booted again")

// listen takes what the guest's init tells, until QEMU ends.
func (m *machine) listen() {
	r := bufio.NewReaderSize(m.port, 1<<16)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			<-m.ended
			m.update(func() {
				m.lost = fmt.Errorf("the guest is off (QEMU: %v)", m.cmd.ProcessState)
				m.abandon(m.lost)
			})
			return
		}
		var e wire.Event
		// A crash may leave part of a line.
		if json.Unmarshal(line, &e) != nil {
			continue
		}
		m.update(func() { m.take(e) })
	}
}

// update changes what waits look at.
func (m *machine) update(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
	close(m.change)
	m.change = make(chan struct{})
}

// abandon ends all programs, whose fate nobody knows.
func (m *machine) abandon(why error) {
	for id, p := range m.programs {
		if !p.done {
			p.done, p.err = true, why
		}
		delete(m.programs, id)
	}
}

func (m *machine) take(e wire.Event) {
	if e.Kind == wire.EventHello {
		m.boots++
		m.abandon(errRebooted)
		return
	}
	p := m.programs[e.ID]
	if p == nil {
		return
	}
	switch e.Kind {
	case wire.EventStarted:
		p.PID, p.started = e.PID, true
	case wire.EventStdout:
		p.stdout = append(p.stdout, e.Data...)
	case wire.EventStderr:
		p.stderr = append(p.stderr, e.Data...)
	case wire.EventExit:
		p.code, p.signal, p.done = e.Code, e.Signal, true
	case wire.EventDone:
		p.done = true
	case wire.EventError:
		p.done, p.err = true, errors.New(e.Text)
	}
}

// await waits until done, called with the machine's lock held, says so. It
// tells whether it did within the limit.
func (m *machine) await(limit time.Duration, done func() bool) bool {
	timeout := time.After(limit)
	for {
		m.mu.Lock()
		ok, change := done(), m.change
		m.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-change:
		case <-timeout:
			return false
		}
	}
}

// request sends a request, to be followed in the Process.
func (m *machine) request(q wire.Request) *Process {
	m.mu.Lock()
	m.lastID++
	q.ID = m.lastID
	p := &Process{machine: m, id: q.ID, args: q.Args}
	if m.lost != nil {
		p.done, p.err = true, m.lost
	} else {
		m.programs[q.ID] = p
	}
	m.mu.Unlock()
	b, err := json.Marshal(q)
	if err == nil {
		_, err = m.port.Write(append(b, '\n'))
	}
	if err != nil {
		m.update(func() { p.done, p.err = true, err })
	}
	return p
}

// order carries out a request that has no program of its own.
func (m *machine) order(q wire.Request) error {
	p := m.request(q)
	if !m.await(m.options.Limit, func() bool { return p.done }) {
		return fmt.Errorf("%s: no answer within %v", q.Op, m.options.Limit)
	}
	return p.err
}
