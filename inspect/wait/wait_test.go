package wait

import (
	"encoding/binary"
	"testing"

	"procdump/arch"
	"procdump/snapshot"
)

// memory is pieces of memory by their addresses.
type memory map[uint64][]byte

func (m memory) ReadMemory(p []byte, addr uint64) (int, error) {
	for begin, b := range m {
		if addr >= begin && addr < begin+uint64(len(b)) {
			if n := copy(p, b[addr-begin:]); n == len(p) {
				return n, nil
			} else {
				return n, snapshot.ErrNotMapped
			}
		}
	}
	return 0, snapshot.ErrNotMapped
}

const (
	code   = 0x401000
	interr = -512 & (1<<64 - 1) // ERESTARTSYS
)

// process is one of which each thread is in the system call given.
func process(calls ...[5]uint64) *snapshot.Process {
	p := &snapshot.Process{PID: 10}
	p.System.Machine = arch.AMD64
	p.Files = []snapshot.File{{FD: 5, Target: "pipe:[77]"}}
	for i, c := range calls {
		t := snapshot.Thread{TID: 10 + i, Registers: arch.Registers{Machine: arch.AMD64}}
		for k, name := range []string{"orig_rax", "rdi", "rsi", "rdx", "r10"} {
			t.Registers.SetGP(name, c[k])
		}
		t.Registers.SetGP("rip", code+7)
		t.Registers.SetGP("eflags", 2)
		t.Registers.SetGP("rax", interr)
		p.Threads = append(p.Threads, t)
	}
	return p
}

// program is the code that the threads are at: mov eax, number; syscall.
func program(number byte) memory {
	return memory{code: {0xb8, number, 0, 0, 0, 0x0f, 0x05}}
}

func TestCalls(t *testing.T) {
	m := program(0xca)
	m[0x5000] = []byte{5, 0, 0, 0, 1, 0, 0, 0, 6, 0, 0, 0, 1, 0, 0, 0}
	m[0x6000] = append(binary.LittleEndian.AppendUint64(nil, 90), make([]byte, 8)...)
	for _, c := range []struct {
		call [5]uint64
		want string
	}{
		{[5]uint64{0, 5}, "read of fd 5 (pipe:[77])"},
		{[5]uint64{0, 9}, "read of fd 9"},
		{[5]uint64{7, 0x5000, 2, 500}, "poll of fd 5 (pipe:[77]), fd 6, at most 500ms"},
		{[5]uint64{7, 0x9000, 2, 500}, "poll"},
		{[5]uint64{230, 0, 0, 0x6000}, "clock_nanosleep of 1m30s"},
		{[5]uint64{61, 1<<64 - 1}, "wait4 for a child"},
		{[5]uint64{61, 44}, "wait4 for process 44"},
		{[5]uint64{232, 5, 0, 0, 1<<32 - 1}, "epoll_wait of fd 5 (pipe:[77])"},
		{[5]uint64{399}, "system call 399"},
		{[5]uint64{1<<64 - 1, 0x7000}, "futex 0x7000"}, // by the code
		{[5]uint64{219, 0x7000}, "futex 0x7000"},       // for the second time
	} {
		w := New(process(c.call), m, 10).Of(0, nil)
		if w == nil || w.Text != c.want {
			t.Errorf("%v: %+v, want %q", c.call, w, c.want)
		}
	}
}

// TestNoCall: a thread that runs is in no call, nor is one whose call is over.
func TestNoCall(t *testing.T) {
	over := process([5]uint64{0, 5})
	over.Threads[0].Registers.SetGP("rax", 1)
	elsewhere := process([5]uint64{0, 5})
	elsewhere.Threads[0].Registers.SetGP("rip", code+5)
	arm := process([5]uint64{0, 5})
	arm.System.Machine = arch.ARM64
	for name, p := range map[string]*snapshot.Process{"over": over, "elsewhere": elsewhere, "arm64": arm} {
		if w := New(p, program(0), 10).Of(0, nil); w != nil {
			t.Errorf("%s: %+v", name, w)
		}
	}
	if w := New(over, program(0), 0).Of(0, nil); w != nil {
		t.Errorf("beyond the limit: %+v", w)
	}
}

// lockAt is a struct of 64 bytes with those 32-bit words.
func lockAt(words map[int]uint32) []byte {
	b := make([]byte, 64)
	for off, v := range words {
		binary.LittleEndian.PutUint32(b[off:], v)
	}
	return b
}

func TestLocks(t *testing.T) {
	const futex = 202
	for _, c := range []struct {
		name  string
		op    uint64
		words map[int]uint32 // of what begins at 0x5000
		at    uint64         // the futex
		in    string
		want  string
		owner int
	}{
		{"mutex", 128, map[int]uint32{0: 2, 8: 11, 12: 1}, 0x5000, "___pthread_mutex_lock", "mutex 0x5000, held by thread 11", 11},
		{"its holder is gone", 128, map[int]uint32{0: 2, 8: 99, 12: 1}, 0x5000, "pthread_mutex_lock", "mutex 0x5000, held by thread 99, which has ended", 0},
		{"not of glibc", 128, map[int]uint32{0: 7, 8: 99}, 0x5000, "pthread_mutex_lock", "mutex 0x5000", 0},
		{"robust", 0, map[int]uint32{0: 11 | 1<<31}, 0x5000, "pthread_mutex_lock", "mutex 0x5000, held by thread 11", 11},
		{"priority inheritance", 134, map[int]uint32{0: 11 | 1<<31}, 0x5000, "anything", "mutex 0x5000, held by thread 11", 11},
		{"holder died", 134, map[int]uint32{0: 11 | 1<<30}, 0x5000, "", "mutex 0x5000, held by thread 11, which has ended", 0},
		{"writer", 128, map[int]uint32{0: 3, 8: 3, 24: 11}, 0x5008, "__pthread_rwlock_rdlock_full64", "rwlock 0x5000, held by thread 11", 11},
		{"second writer", 128, map[int]uint32{0: 3, 8: 1, 12: 3, 24: 11}, 0x500c, "pthread_rwlock_wrlock", "rwlock 0x5000, held by thread 11", 11},
		{"of processes", 128, map[int]uint32{0: 3, 8: 1, 12: 3, 24: 11, 28: 1}, 0x500c, "__pthread_rwlock_timedwrlock", "rwlock 0x5000, held by thread 11", 11},
		{"held by another process", 128, map[int]uint32{0: 3, 8: 1, 12: 3, 24: 99, 28: 1}, 0x500c, "pthread_rwlock_wrlock", "a rwlock", 0},
		{"readers", 128, map[int]uint32{0: 2<<3 | 2, 8: 2}, 0x5008, "pthread_rwlock_wrlock", "rwlock 0x5000, held by 2 readers", 0},
		{"readers, and many writers", 128, map[int]uint32{0: 1<<3 | 2, 4: 40, 8: 2, 12: 3}, 0x500c, "pthread_rwlock_clockwrlock", "rwlock 0x5000, held by a reader", 0},
		{"it prefers writers", 128, map[int]uint32{0: 1<<3 | 6, 8: 2, 12: 1}, 0x5000, "__pthread_rwlock_rdlock_full64", "rwlock 0x5000, held by a reader", 0},
		{"nobody has it", 128, map[int]uint32{0: 1<<3 | 1, 8: 3}, 0x5008, "pthread_rwlock_rdlock", "a rwlock", 0},
		{"readers, for what is not known", 128, map[int]uint32{0: 1<<3 | 2, 8: 2}, 0x5008, "pthread_rwlock_", "rwlock 0x5000, held by a reader", 0},
		{"rwlock of another library", 128, map[int]uint32{0: 7, 8: 1 << 31, 12: 3, 24: 11}, 0x5008, "pthread_rwlock_rdlock", "a rwlock", 0},
		{"no rwlock", 128, map[int]uint32{0: 3, 8: 3, 16: 1, 24: 11}, 0x5008, "pthread_rwlock_wrlock", "a rwlock", 0},
		{"condition", 128 | 9, nil, 0x5028, "pthread_cond_wait", "a condition variable (futex 0x5028)", 0},
		{"semaphore", 128 | 9, nil, 0x5000, "__new_sem_wait_slow64", "semaphore 0x5000", 0},
		{"join", 9, map[int]uint32{16: 11}, 0x5010, "__pthread_clockjoin_ex", "the end of thread 11", 11},
		{"allocator", 128, map[int]uint32{0: 2}, 0x5000, "__lll_lock_wait_private", "lock of the C library 0x5000", 0},
		{"allocator, with the number of a thread behind it", 128, map[int]uint32{0: 2, 8: 11}, 0x5000, "__lll_lock_wait_private", "lock of the C library 0x5000", 0},
		{"stdio", 128, map[int]uint32{0: 2, 4: 1, 8: 0x1000, 12: 0x7f00}, 0x5000, "__lll_lock_wait_private", "lock of the C library 0x5000, held by thread 11", 11},
		{"the program's own", 128, map[int]uint32{0: 2, 8: 11, 12: 1}, 0x5000, "my_pthread_mutex_lock", "futex 0x5000", 0},
		{"once", 128, nil, 0x5000, "__GI___pthread_once_slow", "an initialisation by another thread (futex 0x5000)", 0},
		{"unknown", 128, map[int]uint32{0: 2}, 0x5000, "std::sys::sync::mutex::futex::Mutex::lock_contended", "futex 0x5000", 0},
		{"not held in the dump", 128, nil, 0x9000, "pthread_mutex_lock", "mutex 0x9000", 0},
	} {
		m := program(futex)
		m[0x5000] = lockAt(c.words)
		p := process([5]uint64{futex, c.at, c.op}, [5]uint64{34})
		p.Threads[1].Registers.SetGP("fs_base", 0x7f0000001000)
		w := New(p, m, 10).Of(0, []string{"futex_wait", c.in, "main"})
		if w == nil || w.Text != c.want || w.Owner != c.owner {
			t.Errorf("%s: %+v, want %q", c.name, w, c.want)
		}
	}
}

// TestContainer: the threads of a process in a container have numbers of their own,
// which are where glibc keeps them, and only if the main thread's is there.
func TestContainer(t *testing.T) {
	const futex, main, other = 202, 0x7000, 0x8000
	for _, c := range []struct {
		name  string
		words map[uint64]uint32 // behind the thread pointers
		owner uint32
		want  string
	}{
		{"the main thread", map[uint64]uint32{main: 1, other: 7}, 1, "mutex 0x5000, held by thread 10"},
		{"another", map[uint64]uint32{main: 1, other: 7}, 7, "mutex 0x5000, held by thread 11"},
		{"one that has ended", map[uint64]uint32{main: 1, other: 7}, 9, "mutex 0x5000, held by thread 9, which has ended"},
		{"other numbers there", map[uint64]uint32{main: 5, other: 7}, 7, "mutex 0x5000"},
		{"the main thread, with other numbers there", map[uint64]uint32{main: 5, other: 7}, 1, "mutex 0x5000, held by thread 10"},
		{"none to be had", nil, 7, "mutex 0x5000"},
		{"not by its number outside", nil, 11, "mutex 0x5000"},
	} {
		p := process([5]uint64{futex, 0x5000, 128}, [5]uint64{34})
		p.Info.NSPID = []int{10, 1}
		m := program(futex)
		m[0x5000] = lockAt(map[int]uint32{0: 2, 8: c.owner, 12: 1})
		for i, tls := range []uint64{main, other} {
			p.Threads[i].Registers.SetGP("fs_base", tls)
			if v, ok := c.words[tls]; ok {
				m[tls+0x2d0] = binary.LittleEndian.AppendUint32(nil, v)
			}
		}
		if w := New(p, m, 10).Of(0, []string{"pthread_mutex_lock"}); w == nil || w.Text != c.want {
			t.Errorf("%s: %+v, want %q", c.name, w, c.want)
		}
	}
}

// TestContainerOfMusl: that a lock of musl is held is the number 16 in it, which the
// first process of a container may have, too.
func TestContainerOfMusl(t *testing.T) {
	p := process([5]uint64{202, 0x5000, 128})
	p.Info.NSPID = []int{10, 16}
	m := program(202)
	m[0x5000] = lockAt(map[int]uint32{0: 16 | 1<<31, 4: 1})
	if w := New(p, m, 10).Of(0, []string{"__timedwait_cp", "pthread_mutex_timedlock"}); w == nil || w.Text != "mutex 0x5000" {
		t.Errorf("%+v", w)
	}
}

// TestContainerRWLock: in a container numbers of threads are small, as other words
// of a lock are: that processes share it is not who holds it.
func TestContainerRWLock(t *testing.T) {
	const futex = 202
	p := process([5]uint64{34}, [5]uint64{futex, 0x500c, 0})
	p.Info.NSPID = []int{10, 1}
	m := program(futex)
	for i, tls := range []uint64{0x7000, 0x8000} {
		p.Threads[i].Registers.SetGP("fs_base", tls)
		m[tls+0x2d0] = binary.LittleEndian.AppendUint32(nil, uint32(1+i))
	}
	for _, writers := range []uint32{0, 1, 2, 3, 8} { // that wait
		m[0x5000] = lockAt(map[int]uint32{0: 1<<3 | 2, 4: writers, 8: 2, 12: 3, 28: 1})
		w := New(p, m, 10).Of(1, []string{"__pthread_rwlock_wrlock_full64"})
		if w == nil || w.Text != "rwlock 0x5000, held by a reader" || w.Owner != 0 || w.Addr != 0x5000 {
			t.Errorf("%d writers: %+v", writers, w)
		}
	}
}

// TestMissedHolder: a thread that could not be stopped is in no dump, but has not
// ended.
func TestMissedHolder(t *testing.T) {
	p := process([5]uint64{202, 0x5000, 128})
	p.Info.MissedThreads = []snapshot.MissedThread{{TID: 99, State: "D"}}
	m := program(202)
	m[0x5000] = lockAt(map[int]uint32{0: 2, 8: 99, 12: 1})
	if w := New(p, m, 10).Of(0, []string{"pthread_mutex_lock"}); w == nil || w.Text != "mutex 0x5000" {
		t.Errorf("%+v", w)
	}
}

// TestTimedLocks: threads that wait for each other for some time only are no
// deadlock: each goes on then.
func TestTimedLocks(t *testing.T) {
	const futex = 202
	for _, timeout := range []uint64{0, 0x7000} {
		p := process([5]uint64{futex, 0x5000, 128}, [5]uint64{futex, 0x6000, 128 | 9, 2, timeout})
		m := program(futex)
		m[0x5000], m[0x6000] = lockAt(map[int]uint32{0: 2, 8: 11, 12: 1}), lockAt(map[int]uint32{0: 2, 8: 10, 12: 1})
		w := New(p, m, 10)
		waits := map[int]*Wait{}
		for i, tid := range []int{10, 11} {
			waits[tid] = w.Of(i, []string{"__pthread_mutex_clocklock"})
			if waits[tid].Owner != 21-tid {
				t.Errorf("%+v", waits[tid])
			}
		}
		if got := Deadlocks(waits); (len(got) == 1) != (timeout == 0) {
			t.Errorf("timeout at %#x: %+v", timeout, got)
		}
	}
}

func TestDeadlocks(t *testing.T) {
	waits := map[int]*Wait{
		12: {Owner: 14, Text: "mutex 0x1, held by thread 14"}, 14: {Owner: 12, Text: "mutex 0x2, held by thread 12"},
		15: {Owner: 12}, 16: {Owner: 15}, // wait for those of the circle, but nobody for them
		20: {Owner: 20, Text: "mutex 0x3, held by thread 20"},
		31: {Owner: 30}, 30: {Owner: 32}, 32: {Owner: 31},
		40: {Owner: 41}, 50: {}, 51: {Owner: 50},
	}
	got := Deadlocks(waits)
	if len(got) != 3 || len(got[2].Threads) != 3 || got[2].Threads[0] != 30 || got[2].Threads[1] != 32 ||
		got[0].Text != "threads 12 and 14 wait for each other: 12 for mutex 0x1, held by thread 14; 14 for mutex 0x2, held by thread 12" ||
		got[1].Text != "thread 20 waits for itself: mutex 0x3, held by thread 20" {
		t.Errorf("%+v", got)
	}
	long := map[int]*Wait{}
	for i := range 1000 {
		long[i+1] = &Wait{Owner: (i+1)%1000 + 1, Text: "x"}
	}
	if got := Deadlocks(long); len(got) != 1 || len(got[0].Threads) != 1000 || len(got[0].Text) > 300 {
		t.Errorf("%+v", got)
	}
}
