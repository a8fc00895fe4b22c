/* clock.c - time limits in a process whose clocks another preloaded library has shifted (ctests/fault/clock.c, as
 * libfaketime does). The kernel does not know of that: the limits are those of its own clock.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "harness.h"
#include <sys/syscall.h>

static int64_t kernel_now_ns(void)
{
    struct timespec now;
    SETUP(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now) == 0);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void with_shift(const char *seconds)
{
    with_environment("CLOCK_SHIFT", seconds);
    with_fault("clock");
    int64_t shifted = now_ns() - kernel_now_ns();
    SETUP(llabs(shifted) > 99000000000LL, "the clock is shifted by %lld ns only", (long long)shifted);
}

/* Some of a second's length; longer only because of load, and not by the shift. */
static void lasted(const char *what, int64_t started, int64_t limit)
{
    int64_t took = kernel_now_ns() - started;
    CHECK(took >= limit && took < limit + 5000000000, "%s: %lld ns instead of %lld", what, (long long)took, (long long)limit);
}

static struct aiocb waiting_read(int ends[2])
{
    static char byte;
    SETUP(pipe(ends) == 0);
    struct aiocb cb = request(ends[0], &byte, 1, 0);
    return cb;
}

static const struct timespec third = {0, 300000000};

static void suspend(const char *seconds)
{
    with_shift(seconds);
    int ends[2];
    struct aiocb cb = waiting_read(ends);
    const struct aiocb *list[] = {&cb};
    CHECK_EQ(aio_read(&cb), 0);
    int64_t started = kernel_now_ns();
    CHECK_FAILS(aio_suspend(list, 1, &third), EAGAIN);
    lasted("aio_suspend", started, third.tv_nsec);
    SETUP(write(ends[1], "x", 1) == 1);
    CHECK_DONE(&cb, 1);
}
CASE(22, suspend_when_clocks_are_late, GLIBC_OK, 20) { suspend("-100"); }
CASE(22, suspend_when_clocks_are_early, GLIBC_OK, 20) { suspend("100"); }

static void collect(const char *seconds)
{
    with_shift(seconds);
    ssize_t (*waitcomplete)(struct aiocb **, struct timespec *) =
        (ssize_t (*)(struct aiocb **, struct timespec *))extension("aio_waitcomplete");
    int (*waitn)(struct aiocb *[], unsigned, unsigned *, const struct timespec *) =
        (int (*)(struct aiocb *[], unsigned, unsigned *, const struct timespec *))extension("aio_waitn");
    CHECK(waitcomplete && waitn);
    int ends[2];
    unsigned count = 1;
    struct aiocb cb = waiting_read(ends), *done;
    struct timespec limit = third;
    CHECK_EQ(aio_read(&cb), 0);
    int64_t started = kernel_now_ns();
    CHECK_FAILS(waitcomplete(&done, &limit), EAGAIN);
    lasted("aio_waitcomplete", started, third.tv_nsec);
    started = kernel_now_ns();
    CHECK_FAILS(waitn(&done, 1, &count, &third), ETIME);
    lasted("aio_waitn", started, third.tv_nsec);
    SETUP(write(ends[1], "x", 1) == 1);
    CHECK_DONE(&cb, 1);
}
CASE(39, collecting_when_clocks_are_late, SHIM_ONLY, 20) { collect("-100"); }
CASE(39, collecting_when_clocks_are_early, SHIM_ONLY, 20) { collect("100"); }
