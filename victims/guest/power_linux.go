package guest

import (
	"strings"
	"time"

	"procdump/victims/guest/wire"
)

// Boots tells how often the guest's init has come up.
func (g *Guest) Boots() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.boots
}

// patchOops is what the kernel says when one processor executes what another
// is just patching. QEMU's TCG lets that happen to a right kernel now and then,
// mostly while it boots.
const patchOops = "Oops: int3"

// bootTries is how often a guest is booted that QEMU lets down.
const bootTries = 4

// firstBoot waits until the guest's init has come up for the first time. It
// resets a guest whose kernel QEMU has let down before.
func (g *Guest) firstBoot() {
	g.t.Helper()
	deadline := time.Now().Add(g.options.Limit)
	for try, seen := 1, 0; try < bootTries; {
		if g.await(100*time.Millisecond, func() bool { return g.boots > 0 || g.lost != nil }) || time.Now().After(deadline) {
			break
		}
		if n := strings.Count(g.Console(), patchOops); n > seen {
			// It may say so more than once, and let itself be heard out.
			time.Sleep(3 * time.Second)
			if seen = strings.Count(g.Console(), patchOops); g.Boots() == 0 {
				g.t.Logf("QEMU's translator has broken the kernel's boot; it is booted again (%d)", try)
				g.Monitor("system_reset", nil)
				g.Monitor("cont", nil)
			}
			try++
			deadline = time.Now().Add(g.options.Limit)
		}
	}
	g.AwaitBoot(1)
}

// AwaitBoot waits until the guest's init has come up for the nth time, from 1.
func (g *Guest) AwaitBoot(n int) {
	g.t.Helper()
	limit := g.options.Limit
	ok := g.await(limit, func() bool { return g.boots >= n || g.lost != nil })
	switch {
	case !ok:
		g.t.Fatalf("the guest has not booted %d times within %v", n, limit)
	case g.Boots() < n:
		g.t.Fatalf("the guest has not booted %d times: %v", n, g.lost)
	}
}

// Crash makes the guest's kernel crash by sysrq(8) and does not wait. Without a
// crash kernel the guest boots again.
func (g *Guest) Crash() {
	g.t.Helper()
	g.Shell("echo 1 >/proc/sys/kernel/sysrq")
	g.request(wire.Request{Op: wire.OpStart, Args: []string{"sh", "-c", "echo c >/proc/sysrq-trigger"}, Dir: "/"})
}

// AwaitConsole waits until the text has been written to the guest's console.
func (g *Guest) AwaitConsole(text string) {
	g.t.Helper()
	for deadline := time.Now().Add(g.options.Limit); !strings.Contains(g.Console(), text); time.Sleep(20 * time.Millisecond) {
		select {
		case <-g.ended:
			if !strings.Contains(g.Console(), text) {
				g.t.Fatalf("the guest is off and has not written %q to its console", text)
			}
			return
		default:
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("the guest has not written %q to its console within %v", text, g.options.Limit)
		}
	}
}

// AwaitOff waits until the guest has switched itself off.
func (g *Guest) AwaitOff() {
	g.t.Helper()
	select {
	case <-g.ended:
	case <-time.After(g.options.Limit):
		g.t.Fatalf("the guest is not off within %v", g.options.Limit)
	}
}

// Reset is the guest's reset button. Use AwaitBoot after it.
func (g *Guest) Reset() { g.t.Helper(); g.Monitor("system_reset", nil) }

// DumpMemory has QEMU write the guest's physical memory, as it is at this
// moment, to a file of the host: an ELF core with one segment for each range.
func (g *Guest) DumpMemory(file string) {
	g.t.Helper()
	g.Monitor("dump-guest-memory", map[string]any{"paging": false, "protocol": "file:" + file})
}

// Monitor carries out a command of QEMU's monitor protocol (QMP) and returns
// its answer, JSON.
func (g *Guest) Monitor(command string, arguments map[string]any) []byte {
	g.t.Helper()
	answer, err := g.monitor.do(command, arguments, g.options.Limit)
	if err != nil {
		g.t.Fatal(err)
	}
	return answer
}
