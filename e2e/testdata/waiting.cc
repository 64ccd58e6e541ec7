// A program whose threads wait for each other and for other things, for reports.
// It prints what waits for what, by thread and address, and then "ready".
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER, second = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t inherits, robust, held = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_rwlock_t is_read;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_mutex_t of_cond = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t both;
static sem_t semaphore, spoken;
static int pipes[2];

static void say(const char *name, const void *addr)
{
	printf("%s %ld %#lx\n", name, (long)syscall(SYS_gettid), (unsigned long)(uintptr_t)addr);
	fflush(stdout);
	sem_post(&spoken);
}

static void *one(void *)
{
	pthread_mutex_lock(&first);
	pthread_barrier_wait(&both);
	say("circle", &second);
	pthread_mutex_lock(&second);
	return nullptr;
}

static void *two(void *)
{
	pthread_mutex_lock(&second);
	pthread_barrier_wait(&both);
	say("circle", &first);
	pthread_mutex_lock(&first);
	return nullptr;
}

static void *self(void *)
{
	static std::mutex m;
	m.lock();
	say("self", &m);
	m.lock();
	return nullptr;
}

static void *of_main(void *m) { say("main", m); pthread_mutex_lock((pthread_mutex_t *)m); return nullptr; }
static void *reads(void *) { say("rwlock", &rwlock); pthread_rwlock_rdlock(&rwlock); return nullptr; }
static void *writes(void *) { say("rwlock", &rwlock); pthread_rwlock_wrlock(&rwlock); return nullptr; }
static void *writes_next(void *) { say("readers", &is_read); pthread_rwlock_wrlock(&is_read); return nullptr; }

static void *reads_after(void *)
{
	// The first word says that a writer waits: the lock lets no more readers in.
	while (!(__atomic_load_n((unsigned *)&is_read, __ATOMIC_ACQUIRE) & 2))
		usleep(1000);
	say("readers", &is_read);
	pthread_rwlock_rdlock(&is_read);
	return nullptr;
}

static void *waits(void *) { say("semaphore", &semaphore); sem_wait(&semaphore); return nullptr; }

static void *signalled(void *)
{
	pthread_mutex_lock(&of_cond);
	say("condition", &cond);
	pthread_cond_wait(&cond, &of_cond);
	return nullptr;
}

static void *joins(void *t) { say("join", nullptr); pthread_join((pthread_t)t, nullptr); return nullptr; }
static void *from_pipe(void *) { char c; say("read", nullptr); return read(pipes[0], &c, 1) < 0 ? &first : nullptr; }

static void *polls(void *)
{
	struct pollfd p = {pipes[0], POLLIN, 0};
	say("poll", nullptr);
	poll(&p, 1, 3600000);
	return nullptr;
}

static void *sleeps(void *)
{
	say("sleep", nullptr);
	sleep(3600);
	return nullptr;
}

int main()
{
	pthread_mutexattr_t a;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
	pthread_mutex_init(&inherits, &a);
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&robust, &a);
	pthread_rwlockattr_t r;
	pthread_rwlockattr_init(&r);
	pthread_rwlockattr_setpshared(&r, PTHREAD_PROCESS_SHARED);
	pthread_rwlockattr_setkind_np(&r, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&is_read, &r);
	sem_init(&semaphore, 0, 0);
	sem_init(&spoken, 0, 0);
	pthread_barrier_init(&both, nullptr, 2);
	if (pipe(pipes) != 0)
		return 1;
	pthread_mutex_lock(&inherits);
	pthread_mutex_lock(&robust);
	pthread_mutex_lock(&held);
	pthread_rwlock_wrlock(&rwlock);
	pthread_rwlock_rdlock(&is_read);
	pthread_t first_thread = 0;
	struct { void *(*f)(void *); void *arg; } all[] = {
		{one, nullptr}, {two, nullptr}, {self, nullptr}, {of_main, &inherits}, {of_main, &robust}, {of_main, &held}, {reads, nullptr},
		{writes, nullptr}, {waits, nullptr}, {signalled, nullptr}, {joins, nullptr}, {from_pipe, nullptr}, {polls, nullptr}, {sleeps, nullptr},
		{writes_next, nullptr}, {writes_next, nullptr}, {reads_after, nullptr},
	};
	int n = 0;
	for (auto &t : all) {
		pthread_t thread;
		pthread_create(&thread, nullptr, t.f, t.f == joins ? (void *)first_thread : t.arg);
		if (n == 0)
			first_thread = thread;
		// The first two hold their mutexes before they speak.
		if (n++ > 0)
			sem_wait(&spoken);
		if (n == 2)
			sem_wait(&spoken);
	}
	printf("ready %d %d\n", getpid(), pipes[0]);
	fflush(stdout);
	for (;;)
		pause();
}
