package wait

// The system calls that threads wait in, by number
// (arch/x86/entry/syscalls/syscall_64.tbl and syscall_32.tbl).
var (
	namesAMD64 = map[int]string{
		0: "read", 1: "write", 2: "open", 3: "close", 7: "poll", 9: "mmap", 11: "munmap", 16: "ioctl", 17: "pread64", 18: "pwrite64",
		19: "readv", 20: "writev", 23: "select", 26: "msync", 28: "madvise", 34: "pause", 35: "nanosleep", 40: "sendfile", 42: "connect",
		43: "accept", 44: "sendto", 45: "recvfrom", 46: "sendmsg", 47: "recvmsg", 61: "wait4", 65: "semop", 69: "msgsnd", 70: "msgrcv",
		72: "fcntl", 73: "flock", 74: "fsync", 75: "fdatasync", 128: "rt_sigtimedwait", 130: "rt_sigsuspend", 202: "futex",
		208: "io_getevents", 219: restarted, 220: "semtimedop", 230: "clock_nanosleep", 232: "epoll_wait", 242: "mq_timedsend",
		243: "mq_timedreceive", 247: "waitid", 257: "openat", 270: "pselect6", 271: "ppoll", 275: "splice", 276: "tee", 281: "epoll_pwait",
		288: "accept4", 295: "preadv", 296: "pwritev", 299: "recvmmsg", 307: "sendmmsg", 318: "getrandom", 326: "copy_file_range",
		327: "preadv2", 328: "pwritev2", 426: "io_uring_enter", 441: "epoll_pwait2", 449: "futex_waitv",
	}
	namesI386 = map[int]string{
		0: restarted, 3: "read", 4: "write", 5: "open", 6: "close", 7: "waitpid", 29: "pause", 54: "ioctl", 55: "fcntl", 102: "socketcall",
		114: "wait4", 117: "ipc", 118: "fsync", 142: "select", 143: "flock", 144: "msync", 145: "readv", 146: "writev", 148: "fdatasync",
		162: "nanosleep", 168: "poll", 177: "rt_sigtimedwait", 179: "rt_sigsuspend", 180: "pread64", 181: "pwrite64", 187: "sendfile",
		192: "mmap", 219: "madvise", 221: "fcntl", 239: "sendfile", 240: "futex", 247: "io_getevents", 256: "epoll_wait",
		267: "clock_nanosleep", 284: "waitid", 295: "openat", 308: "pselect6", 309: "ppoll", 313: "splice", 319: "epoll_pwait",
		337: "recvmmsg", 345: "sendmmsg", 362: "connect", 364: "accept4", 369: "sendto", 370: "sendmsg", 371: "recvfrom", 372: "recvmsg",
		407: "clock_nanosleep_time64", 413: "pselect6_time64", 414: "ppoll_time64", 417: "recvmmsg_time64", 421: "rt_sigtimedwait_time64",
		422: "futex_time64", 426: "io_uring_enter", 441: "epoll_pwait2", 449: "futex_waitv",
	}
)

// restarted is the call that the kernel makes of one with a time limit that was
// interrupted; its arguments are those of the first (restart_syscall(2)).
const restarted = "restart_syscall"

// ofFD are those whose first argument is a file descriptor.
var ofFD = map[string]bool{
	"read": true, "write": true, "close": true, "ioctl": true, "pread64": true, "pwrite64": true, "readv": true, "writev": true,
	"sendfile": true, "connect": true, "accept": true, "accept4": true, "sendto": true, "recvfrom": true, "sendmsg": true, "recvmsg": true,
	"fcntl": true, "flock": true, "fsync": true, "fdatasync": true, "epoll_wait": true, "epoll_pwait": true, "splice": true, "tee": true,
	"preadv": true, "pwritev": true, "recvmmsg": true, "recvmmsg_time64": true, "sendmmsg": true, "preadv2": true, "pwritev2": true,
	"io_uring_enter": true, "copy_file_range": true,
}
