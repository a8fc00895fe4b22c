/* notify_fault.c - the kernel and libc refuse what the notifier asks of them, for a time: nothing is lost, the counters
 * agree. ctests/fault/fault.c makes the calls fail. SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"

#include <aio_shim.h>

enum { MOST = 2000 };
static struct aiocb cb[MOST];
static unsigned char data[MOST];
static _Atomic unsigned char taken[MOST];
static atomic_int runs;
static int file;

static void fault(const char *rules)
{
    int (*set)(const char *) = (int (*)(const char *))extension("aio_fault_set");
    SETUP(set != NULL && set(rules) == 0, "%s", rules);
}
static unsigned long hits(const char *call)
{
    unsigned long (*ask)(const char *) = (unsigned long (*)(const char *))extension("aio_fault_hits");
    SETUP(ask != NULL);
    return ask(call);
}
static struct aio_shim_overflow overflow(void)
{
    int (*ask)(struct aio_shim_overflow *, size_t) = (int (*)(struct aio_shim_overflow *, size_t))extension("aio_shim_overflow");
    struct aio_shim_overflow now;
    CHECK(ask != NULL && ask(&now, sizeof now) == 0);
    return now;
}

static void note(union sigval value)
{
    int i = value.sival_int;
    CHECK(i >= 0 && i < MOST && aio_error(&cb[i]) == 0 && atomic_fetch_add(&taken[i], 1) == 0, "request %d", i);
    atomic_fetch_add(&runs, 1);
}
static void handle(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)context;
    int saved = errno;
    CHECK(info->si_code == SI_ASYNCIO && info->si_pid == getpid(), "code %d", info->si_code);
    note(info->si_value);
    errno = saved;
}

static void complete(int count, int signo)
{
    file = temp_file(ON_TMPFS, MOST, 2, 0);
    for (int i = 0; i < count; i++) {
        cb[i] = request(file, &data[i], 1, i);
        if (signo)
            notify_by_signal(&cb[i], signo, NULL);
        else
            notify_by_thread(&cb[i], note, NULL);
        cb[i].aio_sigevent.sigev_value.sival_int = i;
        CHECK(aio_read(&cb[i]) == 0, "request %d: errno %d", i, errno);
    }
    for (int i = 0; i < count; i++)
        CHECK_DONE(&cb[i], 1);
}
static void all_came(int count)
{
    int before = -1;
    while (runs < count) {
        WAIT_FOR(runs > before || runs == count, "stopped at %d of %d", before, count);
        before = runs;
    }
    settle();
    CHECK_EQ(runs, count);
    for (int i = 0; i < count; i++)
        CHECK(taken[i] == 1, "request %d: %d times", i, taken[i]);
    WAIT_FOR(overflow().waiting == 0 && overflow().sent == (uint64_t)count, "%llu wait, %llu sent",
             (unsigned long long)overflow().waiting, (unsigned long long)overflow().sent);
    CHECK_EQ(overflow().deferred, overflow().late); /* whatever waited was delivered */
    CHECK_EQ(overflow().merged, 0);
}

static void refused_signals(int signo, int count, const char *rules)
{
    with_fault("fault");
    on_signal(signo, handle, SA_RESTART);
    fault(rules);
    complete(count, signo);
    all_came(count);
    CHECK(hits("rt_sigqueueinfo") > 0, "nothing was refused");
    if (signo >= SIGRTMIN)
        CHECK(overflow().episodes >= 1 && overflow().deferred >= 1);
}
CASE(36, the_first_hundred_real_time_signals_are_refused, SHIM_ONLY, 60)
{
    refused_signals(SIGRTMIN + 1, MOST, "rt_sigqueueinfo:EAGAIN:count=100:from=aio_shim");
}
CASE(36, every_third_real_time_signal_is_refused, SHIM_ONLY, 60)
{
    refused_signals(SIGRTMIN + 1, MOST, "rt_sigqueueinfo:EAGAIN:every=3:from=aio_shim");
}
CASE(36, real_time_signals_are_refused_for_a_while, SHIM_ONLY, 60)
{
    refused_signals(SIGRTMIN + 1, MOST, "rt_sigqueueinfo:EAGAIN:after=20:ms=400:from=aio_shim");
}
CASE(36, every_third_standard_signal_is_refused, SHIM_ONLY, 60)
{
    refused_signals(SIGUSR1, 500, "rt_sigqueueinfo:EAGAIN:every=3:from=aio_shim");
}
CASE(36, standard_signals_are_refused_for_a_while, SHIM_ONLY, 60)
{
    refused_signals(SIGUSR1, 500, "rt_sigqueueinfo:EAGAIN:after=5:ms=400:from=aio_shim");
}
/* The probe that asks for room in the queue, and signals to one thread. */
CASE(36, signals_to_a_thread_are_refused_for_a_while, SHIM_ONLY, 60)
{
    with_fault("fault");
    on_signal(SIGUSR1, handle, SA_RESTART);
    fault("rt_tgsigqueueinfo:EAGAIN:ms=300:from=aio_shim");
    complete(500, SIGUSR1);
    all_came(500);
    for (int i = 0; i < 500; i++)
        taken[i] = 0;
    runs = 0;
    on_signal(SIGRTMIN + 1, handle, SA_RESTART);
    fault("rt_tgsigqueueinfo:EAGAIN:every=2:from=aio_shim");
    for (int i = 0; i < 500; i++) {
        cb[i] = request(file, &data[i], 1, i);
        cb[i].aio_sigevent.sigev_notify = SIGEV_THREAD_ID;
        cb[i].aio_sigevent.sigev_signo = SIGRTMIN + 1;
        cb[i].aio_sigevent.sigev_value.sival_int = i;
        cb[i].aio_sigevent._sigev_un._tid = thread_id();
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    WAIT_FOR(runs == 500, "%d of 500", runs);
    CHECK(hits("rt_tgsigqueueinfo") > 0, "nothing was refused");
}

/* ---- threads ---------------------------------------------------------------------------------------------------- */

/* Either the request is refused with EAGAIN, or its function is called. */
static void refused_threads(const char *rules)
{
    with_fault("fault");
    int accepted = 0, refused = 0;
    static bool is_accepted[MOST];
    file = temp_file(ON_TMPFS, MOST, 2, 0);
    fault(rules);
    for (int i = 0; i < 500; i++) {
        cb[i] = request(file, &data[i], 1, i);
        notify_by_thread(&cb[i], note, NULL);
        cb[i].aio_sigevent.sigev_value.sival_int = i;
        is_accepted[i] = aio_read(&cb[i]) == 0;
        CHECK(is_accepted[i] || errno == EAGAIN, "request %d: errno %d", i, errno);
        accepted += is_accepted[i];
        refused += !is_accepted[i];
        if (i % 10 == 0)
            sleep_ms(1);
    }
    CHECK(hits("pthread_create") > 0, "nothing was refused");
    int before = -1;
    while (runs < accepted) {
        WAIT_FOR(runs > before || runs == accepted, "stopped at %d of %d calls", before, accepted);
        before = runs;
    }
    settle();
    CHECK_EQ(runs, accepted);
    for (int i = 0; i < 500; i++) {
        CHECK(taken[i] == is_accepted[i], "request %d: accepted %d, called %d", i, is_accepted[i], taken[i]);
        if (is_accepted[i])
            CHECK_DONE(&cb[i], 1);
        else
            CHECK(aio_error(&cb[i]) != EINPROGRESS);
    }
    fprintf(stderr, "%d accepted, %d refused\n", accepted, refused);
}
CASE(38, every_second_thread_is_refused, SHIM_ONLY, 60) { refused_threads("pthread_create:EAGAIN:every=2:from=aio_shim"); }
CASE(38, threads_are_refused_for_a_while, SHIM_ONLY, 60) { refused_threads("pthread_create:EAGAIN:ms=300:from=aio_shim"); }
CASE(38, threads_are_refused_after_the_first_one, SHIM_ONLY, 60) { refused_threads("pthread_create:EAGAIN:after=1:ms=500:from=aio_shim"); }

/* Functions that ask for attributes need a thread of their own each. */
CASE(38, threads_with_attributes_are_refused_for_a_while, SHIM_ONLY, 60)
{
    with_fault("fault");
    pthread_attr_t attr;
    SETUP(pthread_attr_init(&attr) == 0 && pthread_attr_setstacksize(&attr, 256 << 10) == 0);
    file = temp_file(ON_TMPFS, MOST, 2, 0);
    int accepted = 0;
    fault("pthread_create:EAGAIN:after=5:ms=400:from=aio_shim");
    for (int i = 0; i < 100; i++) {
        cb[accepted] = request(file, &data[accepted], 1, accepted);
        notify_by_thread(&cb[accepted], note, NULL);
        cb[accepted].aio_sigevent.sigev_value.sival_int = accepted;
        cb[accepted].aio_sigevent.sigev_notify_attributes = &attr;
        if (aio_read(&cb[accepted]) == 0)
            accepted++;
        else
            CHECK_EQ(errno, EAGAIN);
    }
    WAIT_FOR(runs == accepted, "%d of %d calls", runs, accepted);
    CHECK(hits("pthread_create") > 0 || accepted == 0, "nothing was refused");
}

/* No notifier thread, no worker, no engine: for a time all of them fail. What is accepted is done. */
CASE(44, no_thread_of_the_library_can_be_had_for_a_while, SHIM_ONLY, 60)
{
    with_fault("fault");
    on_signal(SIGRTMIN + 1, handle, SA_RESTART);
    file = temp_file(ON_DISK, MOST, 2, 0);
    fault("pthread_create:EAGAIN:ms=300:from=aio_shim");
    int accepted = 0, refused = 0;
    while (accepted < 300) {
        cb[accepted] = request(file, &data[accepted], 1, accepted);
        notify_by_signal(&cb[accepted], SIGRTMIN + 1, NULL);
        cb[accepted].aio_sigevent.sigev_value.sival_int = accepted;
        if ((accepted % 2 ? aio_write(&cb[accepted]) : aio_read(&cb[accepted])) == 0) {
            accepted++;
        } else {
            CHECK_EQ(errno, EAGAIN);
            refused++;
            sleep_ms(1);
        }
    }
    for (int i = 0; i < accepted; i++)
        CHECK_DONE(&cb[i], 1);
    WAIT_FOR(runs == accepted, "%d of %d", runs, accepted);
    CHECK(hits("pthread_create") > 0, "nothing was refused");
}

/* ---- the ring --------------------------------------------------------------------------------------------------------- */

/* Entering the ring fails now and then, as under memory pressure, and is tried again. */
static void ring_trouble(const char *rules)
{
    with_fault("fault");
    file = temp_file(ON_DISK, MOST, 2, 0);
    struct ends ends = open_stream(PIPE);
    fault(rules);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 100; i++) {
            cb[i] = request(i % 2 ? file : ends.reader, &data[i], 1, i);
            notify_by_signal(&cb[i], SIGUSR2, NULL);
            cb[i].aio_sigevent.sigev_notify = SIGEV_NONE;
            CHECK_EQ(i % 4 == 3 ? aio_write(&cb[i]) : aio_read(&cb[i]), 0);
        }
        feed(ends.writer, 50, 0, 1);
        for (int i = 0; i < 100; i++)
            CHECK_DONE(&cb[i], 1);
    }
    CHECK(hits("io_uring_enter") > 0, "nothing was refused");
}
CASE(44, entering_the_ring_fails_now_and_then, SHIM_ONLY | NEEDS_RING, 60)
{
    ring_trouble("io_uring_enter:EAGAIN:every=7:from=aio_shim,io_uring_enter:EINTR:every=5:from=aio_shim");
}
CASE(44, entering_the_ring_fails_for_a_while, SHIM_ONLY | NEEDS_RING, 60)
{
    ring_trouble("io_uring_enter:EBUSY:after=3:ms=200:from=aio_shim");
}
