package target

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// standInName is argv[0] of a stand-in. No shell starts procdump under such a
// name by accident, and unlike an environment variable it does not reach the
// program.
const standInName = "procdump: waits to execute"

// The stand-in's exit code when it cannot execute the program, as a shell's,
// and when procdump has ended.
const (
	exitNotExecuted = 127
	exitAbandoned   = 126
)

// held is the state of a Held.
type held struct {
	path string
	gate *os.File // a byte written here lets the stand-in go on
	news *os.File // 'r': it waits; then errno, or the end where execve(2) has succeeded

	opened  sync.Once
	outcome error // of Release
}

// launching keeps two launches from inheriting each other's pipes.
var launching sync.Mutex

// A stand-in is decided on before main: nothing else of procdump may run in it.
func init() { standIn() }

// standIn does not return in a process that LaunchHeld has started; in others
// it does nothing.
func standIn() {
	if len(os.Args) < 6 || os.Args[0] != standInName {
		return
	}
	gate, err1 := strconv.Atoi(os.Args[1])
	news, err2 := strconv.Atoi(os.Args[2])
	ignored, err3 := strconv.ParseUint(os.Args[3], 16, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		os.Exit(exitAbandoned)
	}
	syscall.CloseOnExec(gate)
	syscall.CloseOnExec(news)
	if !writeFull(news, []byte{'r'}) || !readByte(gate) {
		os.Exit(exitAbandoned) // procdump has ended
	}
	// The Go runtime has installed handlers, which execve(2) makes the default
	// action, also for what procdump ignores.
	for n := 1; n <= 64; n++ {
		if ignored>>(n-1)&1 != 0 {
			signal.Ignore(syscall.Signal(n))
		}
	}
	err := syscall.Exec(os.Args[4], os.Args[5:], os.Environ())
	var errno syscall.Errno
	errors.As(err, &errno)
	writeFull(news, binary.LittleEndian.AppendUint32(nil, uint32(errno)))
	os.Exit(exitNotExecuted)
}

func readByte(fd int) bool {
	var b [1]byte
	for {
		n, err := syscall.Read(fd, b[:])
		if err != syscall.EINTR {
			return n == 1
		}
	}
}

func writeFull(fd int, b []byte) bool {
	for {
		n, err := syscall.Write(fd, b)
		if err != syscall.EINTR {
			return n == len(b)
		}
	}
}

// LaunchHeld is Launch, but the program is not run before Release. The caller
// must call Release or Abandon.
func LaunchHeld(program string, args []string) (*Held, error) {
	path, err := lookUp(program)
	if err != nil {
		return nil, err
	}
	h := &Held{held: held{path: path}}
	if h.Child, err = h.start(append([]string{path, program}, args...)); err != nil {
		return nil, err
	}
	var word [1]byte
	if _, err := io.ReadFull(h.news, word[:]); err != nil {
		h.Abandon()
		<-h.Done()
		return nil, launchProblem(path+": the stand-in ended before its time", "", h.Err())
	}
	return h, nil
}

// start starts the stand-in for the program that command names.
func (h *held) start(command []string) (*Child, error) {
	launching.Lock()
	defer launching.Unlock()
	var gate, news [2]int
	if err := pipes(&gate, &news); err != nil {
		return nil, launchProblem(fmt.Sprintf("%s: no pipe: %v", h.path, err), "", err)
	}
	defer syscall.Close(gate[0])
	defer syscall.Close(news[1])
	h.gate, h.news = os.NewFile(uintptr(gate[1]), "gate"), os.NewFile(uintptr(news[0]), "news")
	// The stand-in has its ends under the numbers that are free here. Numbers
	// from 3 on, as ProcAttr.Files gives them, would hide what procdump has
	// inherited under these and what the program is to inherit.
	argv := append([]string{standInName, strconv.Itoa(gate[0]), strconv.Itoa(news[1]), ignoredSignals()}, command...)
	c, err := execute("/proc/self/exe", argv, h.path)
	if err != nil {
		h.gate.Close()
		h.news.Close()
	}
	return c, err
}

// pipes makes two pipes; a started program inherits the first one's end for
// reading and the second one's for writing.
func pipes(gate, news *[2]int) error {
	// Whoever else starts a program now must not let it inherit them.
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	if err := syscall.Pipe2(gate[:], 0); err != nil {
		return err
	}
	if err := syscall.Pipe2(news[:], 0); err != nil {
		syscall.Close(gate[0])
		syscall.Close(gate[1])
		return err
	}
	syscall.CloseOnExec(gate[1])
	syscall.CloseOnExec(news[0])
	return nil
}

// ignoredSignals is the set of signals that procdump ignores, and with it what
// it launches, in hexadecimal.
func ignoredSignals() string {
	b, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(b)) {
		if set, ok := strings.CutPrefix(line, "SigIgn:"); ok {
			return strings.TrimSpace(set)
		}
	}
	return "0"
}

// Release lets the program run. When it returns without an error the program
// has been executed. Otherwise the error is what Launch's would have been.
func (h *Held) Release() error {
	h.opened.Do(func() {
		h.outcome = h.release()
		h.gate.Close()
		h.news.Close()
	})
	return h.outcome
}

func (h *Held) release() error {
	if _, err := h.gate.Write([]byte{1}); err != nil {
		err = h.lastWord(err)
		return launchProblem(fmt.Sprintf("%s: the stand-in has ended (%v)", h.path, err), "", err)
	}
	b, err := io.ReadAll(h.news)
	switch {
	case err != nil:
		return launchProblem(h.path+": nothing is known of the stand-in", "", err)
	case len(b) == 4:
		return launchError(h.path, syscall.Errno(binary.LittleEndian.Uint32(b)))
	}
	return nil
}

// Abandon ends the stand-in; the program is never run. After Release it does
// nothing.
func (h *Held) Abandon() {
	h.opened.Do(func() {
		h.outcome = launchProblem(h.path+": given up", "", context.Canceled)
		h.gate.Close()
		h.news.Close()
	})
}

// lastWord is how the stand-in has ended, if that is known, or else err.
func (h *Held) lastWord(err error) error {
	select {
	case <-h.Done():
		return h.Err()
	case <-time.After(time.Second):
		return err
	}
}
