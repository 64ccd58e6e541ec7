package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// monitor speaks QEMU's monitor protocol: JSON objects, a greeting of QEMU's
// first, then one answer to each command, with events in between.
type monitor struct {
	mu     sync.Mutex // of one command and its answer
	conn   net.Conn
	decode *json.Decoder
}

func newMonitor(conn net.Conn) (*monitor, error) {
	m := &monitor{conn: conn, decode: json.NewDecoder(conn)}
	var greeting struct{ QMP json.RawMessage }
	if err := m.decode.Decode(&greeting); err != nil {
		return nil, fmt.Errorf("read QEMU's greeting: %w", err)
	}
	_, err := m.do("qmp_capabilities", nil, 30*time.Second)
	return m, err
}

func (m *monitor) do(command string, arguments map[string]any, limit time.Duration) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	q := map[string]any{"execute": command}
	if arguments != nil {
		q["arguments"] = arguments
	}
	b, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	if err := m.conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return nil, err
	}
	if _, err := m.conn.Write(b); err != nil {
		return nil, fmt.Errorf("command QEMU to %s: %w", command, err)
	}
	for {
		var a struct {
			Return json.RawMessage
			Error  *struct{ Desc string }
			Event  string
		}
		if err := m.decode.Decode(&a); err != nil {
			return nil, fmt.Errorf("read QEMU's answer to %s: %w", command, err)
		}
		switch {
		case a.Error != nil:
			return nil, fmt.Errorf("command QEMU to %s: %w", command, errors.New(a.Error.Desc))
		case a.Event == "":
			return a.Return, nil
		}
	}
}
