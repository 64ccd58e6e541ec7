// Writes in every way that the tests ask for. It waits for a line on its
// standard input before each command, so that the watching has begun:
//
//	line TEXT            write(1)
//	printf TEXT          stdio
//	err TEXT             write(2)
//	pwrite TEXT          pwrite(1)
//	pieces N             N letters and a newline in one writev of 7-byte buffers
//	long N               N letters and a newline in one write
//	dup TEXT             through a duplicate of 1
//	reopen TEXT          through another opening of the file of 1
//	other TEXT           to a file that is neither
//	swap TEXT            through 1 after another file took its place, then to the old file
//	const                a constant that nobody has touched
//	prompt TEXT          without a newline
//	raw                  bytes that are not text
//	threads N            4 threads, N lines each
//	time N               N lines of 80 bytes to 1, then nanoseconds of CPU time for each to 2
//	printtime N          the same by printf, after some work for each line
//	idletime N           the same for N calls of getppid
//	many N               N lines "line I" by write(1)
//	varied N             N lines of 0 to 299 letters by write(1)
//	send TEXT            send(1), when it is a socket
//	closeall TEXT        write to 1 after closing 2
//
// and those that take two words:
//
//	writev A B           one writev of "A", "B" and a newline to 1
//	syslog PATH TEXT     "<14>TEXT" by sendto to a datagram socket
//	sendmsg PATH TEXT    the same by sendmsg in two buffers
//	connected PATH TEXT  the same by connect and write
//	unixother PATH TEXT  TEXT without a priority
//	journal PATH TEXT    systemd-journald's native format
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static void check(long r, const char *what) {
	if (r < 0) {
		perror(what);
		exit(1);
	}
}

static void put(int fd, const char *text) {
	char b[70000];
	int n = snprintf(b, sizeof b, "%s\n", text);
	check(write(fd, b, n), "write");
}

static int lines;

static void *thread(void *arg) {
	for (int i = 0; i < lines; i++) {
		char b[64];
		snprintf(b, sizeof b, "thread %ld line %d", (long)arg, i);
		put(1, b);
	}
	return NULL;
}

static struct sockaddr_un at(const char *path) {
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	strncpy(a.sun_path, path, sizeof a.sun_path - 1);
	return a;
}

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static int log_socket(void) {
	int s = socket(AF_UNIX, SOCK_DGRAM, 0);
	check(s, "socket");
	return s;
}

// far lies on pages of its own, which nothing but the write looks at.
static const char far[8192] __attribute__((aligned(4096))) = {[4096] = 'c', 'o', 'n', 's', 't', 'a', 'n', 't', '\n'};

int main(int argc, char **argv) {
	char in[70000];
	(void)argc, (void)argv;
	while (fgets(in, sizeof in, stdin)) {
		in[strcspn(in, "\n")] = 0;
		char *cmd = strtok(in, " "), *rest = strtok(NULL, "");
		char *path = rest, *text = rest;
		if (!rest)
			rest = text = "";
		if (strchr("wscuj", *cmd) && strcmp(cmd, "send") && strcmp(cmd, "swap") && strcmp(cmd, "closeall") && strchr(rest, ' ')) {
			text = strchr(rest, ' ');
			*text++ = 0;
		}
		struct sockaddr_un to = at(path ? path : "");
		char message[70000];
		int n = snprintf(message, sizeof message, "<14>%s", text);
		if (!strcmp(cmd, "line"))
			put(1, rest);
		else if (!strcmp(cmd, "printf")) {
			printf("%s\n", rest);
			fflush(stdout);
		} else if (!strcmp(cmd, "err"))
			put(2, rest);
		else if (!strcmp(cmd, "writev")) {
			struct iovec v[] = {{rest, strlen(rest)}, {"", 0}, {text, strlen(text)}, {"\n", 1}};
			check(writev(1, v, 4), "writev");
		} else if (!strcmp(cmd, "pwrite")) {
			char b[256];
			int m = snprintf(b, sizeof b, "%s\n", rest);
			check(pwrite(1, b, m, 0), "pwrite");
		} else if (!strcmp(cmd, "pieces") || !strcmp(cmd, "long")) {
			int m = atoi(rest);
			char *b = malloc(m + 1);
			for (int i = 0; i < m; i++)
				b[i] = 'a' + i % 26;
			b[m] = '\n';
			if (*cmd == 'l')
				check(write(1, b, m + 1), "write");
			else {
				struct iovec v[1024];
				int k = 0;
				for (int i = 0; i < m + 1; i += 7)
					v[k++] = (struct iovec){b + i, m + 1 - i < 7 ? m + 1 - i : 7};
				check(writev(1, v, k), "writev");
			}
			free(b);
		} else if (!strcmp(cmd, "dup")) {
			int fd = fcntl(1, F_DUPFD, 100);
			put(fd, rest);
			close(fd);
		} else if (!strcmp(cmd, "reopen")) {
			int fd = open("/proc/self/fd/1", O_WRONLY | O_APPEND);
			check(fd, "open");
			put(fd, rest);
			close(fd);
		} else if (!strcmp(cmd, "swap")) {
			int old = dup(1), null = open("/dev/null", O_WRONLY);
			check(dup2(null, 1), "dup2");
			put(1, rest);
			put(old, "to the old file");
			check(dup2(old, 1), "dup2");
			close(old);
			close(null);
		} else if (!strcmp(cmd, "other")) {
			int fd = open("/dev/zero", O_WRONLY);
			check(fd, "open");
			put(fd, rest);
			close(fd);
		} else if (!strcmp(cmd, "const"))
			check(write(1, far + 4096, 9), "write");
		else if (!strcmp(cmd, "prompt"))
			check(write(1, rest, strlen(rest)), "write");
		else if (!strcmp(cmd, "raw"))
			check(write(1, "a\x1b[1mb\xff\xc3\xa9\t\r\n", 12), "write");
		else if (!strcmp(cmd, "threads")) {
			pthread_t t[4];
			lines = atoi(rest);
			for (long i = 0; i < 4; i++)
				pthread_create(&t[i], NULL, thread, (void *)i);
			for (int i = 0; i < 4; i++)
				pthread_join(t[i], NULL);
		} else if (!strcmp(cmd, "syslog"))
			check(sendto(log_socket(), message, n, 0, (void *)&to, sizeof to), "sendto");
		else if (!strcmp(cmd, "sendmsg")) {
			struct iovec v[] = {{"<14>", 4}, {text, strlen(text)}};
			struct msghdr m = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = v, .msg_iovlen = 2};
			check(sendmsg(log_socket(), &m, 0), "sendmsg");
		} else if (!strcmp(cmd, "connected")) {
			int s = log_socket();
			check(connect(s, (void *)&to, sizeof to), "connect");
			check(write(s, message, n), "write");
		} else if (!strcmp(cmd, "unixother"))
			check(sendto(log_socket(), text, strlen(text), 0, (void *)&to, sizeof to), "sendto");
		else if (!strcmp(cmd, "journal")) {
			n = snprintf(message, sizeof message, "PRIORITY=6\nMESSAGE=%s\nX=1\n", text);
			check(sendto(log_socket(), message, n, 0, (void *)&to, sizeof to), "sendto");
		} else if (!strcmp(cmd, "varied")) {
			char b[300];
			for (int i = 0, m = atoi(rest); i < m; i++) {
				int k = i * 7919 % 300;
				for (int j = 0; j < k; j++)
					b[j] = 'a' + (i + j) % 26;
				b[k] = '\n';
				check(write(1, b, k + 1), "write");
			}
		} else if (!strcmp(cmd, "many")) {
			long long m = atoll(rest);
			for (long long i = 0; i < m; i++) {
				char b[64];
				check(write(1, b, snprintf(b, sizeof b, "line %lld\n", i)), "write");
			}
		} else if (strstr(cmd, "time")) {
			int m = atoi(rest);
			char b[128];
			memset(b, 'x', 80);
			b[79] = '\n';
			setlinebuf(stdout);
			double t = now();
			for (int i = 0; i < m; i++)
				if (*cmd == 'i')
					getppid();
				else if (*cmd == 't')
					check(write(1, b, 80), "write");
				else
					printf("%.6f INFO request %d of client %s took %d us\n", i * 1e-3, i, "10.1.2.3", i % 977);
			snprintf(b, sizeof b, "%.1f", (now() - t) / m);
			put(2, b);
		} else if (!strcmp(cmd, "send"))
			check(send(1, rest, strlen(rest), 0) + send(1, "\n", 1, 0), "send");
		else if (!strcmp(cmd, "closeall")) {
			close(2);
			put(1, rest);
		}
	}
	return 0;
}
