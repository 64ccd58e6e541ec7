package target

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// Socket states of /proc/net/{tcp,udp} (<net/tcp_states.h>).
const (
	stateClose  = "07" // of UDP: bound but not connected
	stateListen = "0A"
)

// portTest holds for a process that has a file descriptor of a socket that
// listens on the port: TCP in state LISTEN, or UDP bound and not connected, in
// the network namespace of the process.
func (r *reader) portTest(port int) func(*Process) verdict {
	listeners := map[string]map[string]bool{} // by network namespace: "socket:[INODE]"
	return func(p *Process) verdict {
		if p.Zombie {
			return no
		}
		namespace, err := os.Readlink(r.fs.of(p.PID, "ns", "net"))
		if err != nil {
			// Who may not read this may not read fd either.
			return verdictFor(err)
		}
		sockets, ok := listeners[namespace]
		if !ok {
			sockets = r.fs.listeners(p.PID, port)
			listeners[namespace] = sockets
		}
		if len(sockets) == 0 {
			return no
		}
		return r.fs.hasSocket(p.PID, sockets)
	}
}

func verdictFor(err error) verdict {
	if errors.Is(err, fs.ErrPermission) {
		return unknown
	}
	return no
}

// listeners gives the sockets that listen on a port in the network namespace of pid.
func (fs FS) listeners(pid, port int) map[string]bool {
	sockets := map[string]bool{}
	for _, table := range []struct{ file, state string }{
		{"tcp", stateListen}, {"tcp6", stateListen}, {"udp", stateClose}, {"udp6", stateClose},
	} {
		eachLine(fs.of(pid, "net", table.file), func(line string) {
			if inode, ok := listenerInode(line, table.state, port); ok {
				sockets["socket:["+inode+"]"] = true
			}
		})
	}
	return sockets
}

// listenerInode reads a line (proc_pid_net(5)):
//
//	sl  local_address rem_address   st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode
//	 0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000   0       0 12345 …
func listenerInode(line, state string, port int) (string, bool) {
	fields := strings.Fields(line)
	if len(fields) < 10 || fields[3] != state {
		return "", false
	}
	_, text, ok := strings.Cut(fields[1], ":")
	n, err := strconv.ParseUint(text, 16, 16)
	if !ok || err != nil || int(n) != port || fields[9] == "0" {
		return "", false
	}
	return fields[9], true
}

func (fs FS) hasSocket(pid int, sockets map[string]bool) verdict {
	dir := fs.of(pid, "fd")
	fds, err := numbers(dir)
	if err != nil {
		return verdictFor(err)
	}
	for _, fd := range fds {
		if link, err := os.Readlink(dir + "/" + strconv.Itoa(fd)); err == nil && sockets[link] {
			return yes
		}
	}
	return no
}
