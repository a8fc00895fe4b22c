/* around.c - a preloadable library as others have them: it stands between the program and libc for calls that
 * libaio_shim.so also wraps or makes, counts them, and forwards to the next. Tests load it in front of the library
 * and behind it. SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

static atomic_int calls;
int around_calls(void) { return atomic_load(&calls); }

/* Asked each time: dlsym is cheap enough here, and nothing needs a constructor. */
#define NEXT(type, name) ((type)(atomic_fetch_add(&calls, 1), dlsym(RTLD_NEXT, name)))

int close(int fd) { return NEXT(int (*)(int), "close")(fd); }
int dup2(int from, int to) { return NEXT(int (*)(int, int), "dup2")(from, to); }
int dup3(int from, int to, int flags) { return NEXT(int (*)(int, int, int), "dup3")(from, to, flags); }
int close_range(unsigned first, unsigned last, int flags)
{
    return NEXT(int (*)(unsigned, unsigned, int), "close_range")(first, last, flags);
}
void closefrom(int first) { NEXT(void (*)(int), "closefrom")(first); }
int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*body)(void *), void *argument)
{
    return NEXT(int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *), "pthread_create")(thread, attr, body, argument);
}
int sigaction(int signo, const struct sigaction *new_action, struct sigaction *old_action)
{
    return NEXT(int (*)(int, const struct sigaction *, struct sigaction *), "sigaction")(signo, new_action, old_action);
}
ssize_t pread(int fd, void *data, size_t bytes, off_t offset)
{
    return NEXT(ssize_t (*)(int, void *, size_t, off_t), "pread")(fd, data, bytes, offset);
}
ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
    return NEXT(ssize_t (*)(int, const void *, size_t, off_t), "pwrite")(fd, data, bytes, offset);
}
void *mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    return NEXT(void *(*)(void *, size_t, int, int, int, off_t), "mmap")(address, bytes, protection, flags, fd, offset);
}
