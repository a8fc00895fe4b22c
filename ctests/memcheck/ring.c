// Preloaded under memcheck: memcheck stops the whole program while a thread sleeps in io_uring_enter (it takes the call
// for one that does not block). So the waiting is done in poll(2) on the ring's descriptor instead.
// Only for a ring that has a descriptor and waits without a time limit: the plainest form.
// SPDX-License-Identifier: MIT OR Apache-2.0
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { GETEVENTS = 1 };

static long call(long number, long a, long b, long c, long d, long e, long f)
{
    static long (*next)(long, ...);
    if (!next)
        next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    return next(number, a, b, c, d, e, f);
}

long syscall(long number, ...)
{
    long a[6];
    va_list arguments;
    va_start(arguments, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(arguments, long);
    va_end(arguments);
    if (number != SYS_io_uring_enter || !(a[3] & GETEVENTS) || (unsigned)a[2] == 0)
        return call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (a[3] & ~(long)GETEVENTS)
        abort(); // not the plainest form after all
    long submitted = call(number, a[0], a[1], 0, GETEVENTS, 0, 0);
    struct pollfd ring = {(int)a[0], POLLIN, 0};
    while (submitted >= 0 && poll(&ring, 1, 5) == 0)
        if (call(number, a[0], 0, 0, GETEVENTS, 0, 0) < 0 && errno != EINTR)
            break; // lets the kernel finish what is done in this thread's name
    return submitted;
}
