package hang

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// errNotAccepted means that the connection is made but nobody has taken it.
var errNotAccepted = errors.New("connection not accepted")

// awaitAccept waits until the server has accepted the connection, as far as
// this machine can see that; what it cannot see counts as accepted.
func awaitAccept(ctx context.Context, conn net.Conn, pid int) error {
	here, errHere := netip.ParseAddrPort(conn.LocalAddr().String())
	there, errThere := netip.ParseAddrPort(conn.RemoteAddr().String())
	if errHere != nil || errThere != nil {
		return nil
	}
	tables := []string{"/proc/net/tcp", "/proc/net/tcp6"}
	if pid > 0 {
		dir := "/proc/" + strconv.Itoa(pid) + "/net/"
		tables = append(tables, dir+"tcp", dir+"tcp6")
	}
	// Reading the tables of a machine with 100,000 connections takes a tenth
	// of a second, so they are read ever more seldom.
	for wait := 2 * time.Millisecond; ; wait = min(4*wait, time.Second) {
		select {
		case <-ctx.Done():
			return errNotAccepted
		case <-time.After(wait):
		}
		if !unaccepted(tables, there, here) {
			return nil
		}
	}
}

// unaccepted tells whether one of the tables shows a connection, by its two
// ends, that waits to be accepted.
func unaccepted(tables []string, local, remote netip.AddrPort) bool {
	keys := [][]byte{tableKey(local, remote, false), tableKey(local, remote, true)}
	for _, table := range tables {
		text, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for _, key := range keys {
			if i := bytes.Index(text, key); key != nil && i >= 0 {
				line, _, _ := bytes.Cut(text[i+len(key):], []byte("\n"))
				return waits(line)
			}
		}
	}
	return false
}

// waits reads the rest of a line of /proc/net/tcp after its addresses
// (proc_pid_net(5)):
//
//	st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode …
//
// A connection gets its inode when it is accepted. One that the server has
// closed has lost it again, but is in another state then.
func waits(line []byte) bool {
	const established, closeWait = "01", "08" // <net/tcp_states.h>
	fields := bytes.Fields(line)
	return len(fields) > 6 && (string(fields[0]) == established || string(fields[0]) == closeWait) && string(fields[6]) == "0"
}

// tableKey writes two addresses as /proc/net/tcp, or tcp6, does: as 32-bit
// words in the machine's byte order, so that 127.0.0.1:80 is 0100007F:0050 on
// amd64. nil if the table cannot hold them.
func tableKey(local, remote netip.AddrPort, six bool) []byte {
	l, r := tableAddress(local, six), tableAddress(remote, six)
	if l == "" || r == "" {
		return nil
	}
	return []byte(l + " " + r + " ")
}

func tableAddress(a netip.AddrPort, six bool) string {
	ip := a.Addr().Unmap().WithZone("")
	var raw []byte
	switch {
	case six:
		// A socket for both families has ::ffff:127.0.0.1.
		b := ip.As16()
		raw = b[:]
	case ip.Is4():
		b := ip.As4()
		raw = b[:]
	default:
		return ""
	}
	for i := 0; i < len(raw); i += 4 {
		binary.BigEndian.PutUint32(raw[i:], binary.NativeEndian.Uint32(raw[i:]))
	}
	port := binary.BigEndian.AppendUint16(nil, a.Port())
	return strings.ToUpper(hex.EncodeToString(raw) + ":" + hex.EncodeToString(port))
}
