/*
 * What makes a file a kernel module. It is built without the kernel's headers:
 * NAME, INIT and SIZE are the offsets of these members of struct module, and
 * its size, as the kernel's type data has them. START is called when the module
 * is loaded, unless it is 0.
 */
#define MODULE(MODULE_NAME, START) \
	static const char info[] __attribute__((used, section(".modinfo"))) = "license=GPL\0name=" MODULE_NAME; \
	struct { \
		char before[NAME]; \
		char name[56]; \
		char between[INIT - NAME - 56]; \
		int (*init)(void); \
		char after[SIZE - INIT - 8]; \
	} __this_module __attribute__((used, section(".gnu.linkonce.this_module"))) = { \
		.name = MODULE_NAME, \
		.init = START, \
	}
