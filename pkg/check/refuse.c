/* A preloaded library: io_uring_setup made through syscall(3) fails with the
 * errno in REFUSE. For refusals that need no seccomp filter, such as the sysctl. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>

long syscall(long number, ...)
{
	static long (*next)(long, ...);
	const char *refuse = getenv("REFUSE");
	__builtin_va_list list;
	long a[6];

	if (number == SYS_io_uring_setup && refuse) {
		errno = atoi(refuse);
		return -1;
	}
	if (!next)
		next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	__builtin_va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = __builtin_va_arg(list, long);
	__builtin_va_end(list);
	return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
