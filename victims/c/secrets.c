// secrets SECRET: holds SECRET in its command line, in the environment variable
// TOKEN (given by who starts it), on the heap, in static memory, in the stack
// buffers of main and of a thread, and in registers' reach of all of them.
#include "victim.h"

static char in_static[256];
static const char *volatile reach[4];

CALL static void hold(const char *secret, int thread) {
	char buffer[512];
	memset(buffer, 'x', sizeof buffer);
	// Also at odd places, so that no alignment hides it.
	strcpy(buffer, secret);
	strcpy(buffer + 133, secret);
	strcpy(buffer + 301, secret);
	reach[thread] = buffer;
	if (thread) {
		say("ready");
		for (;;) pause();
	}
	serve();
}

CALL static void *thread(void *secret) {
	hold(secret, 1);
	return NULL;
}

int main(int argc, char **argv) {
	if (argc < 2 || !getenv("TOKEN")) return 2;
	char *heap = strdup(argv[1]);
	reach[2] = heap;
	reach[3] = strcpy(in_static, argv[1]);
	pthread_t p;
	if (pthread_create(&p, NULL, thread, heap)) die("pthread_create");
	hold(argv[1], 0);
}
