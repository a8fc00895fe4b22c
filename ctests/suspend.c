// Lines 21 to 25: aio_suspend.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include "harness.h"
#include <sys/syscall.h>
#include <sys/time.h>

static int ends[2], disk;
static char bytes[64];

/* A read that waits until finish() is called. */
static struct aiocb waiting_read(void)
{
    static int next;
    if (ends[1] == 0)
        SETUP(pipe(ends) == 0);
    return request(ends[0], &bytes[next++ % 64], 1, 0);
}
static void finish(int count)
{
    for (int i = 0; i < count; i++)
        SETUP(write(ends[1], "x", 1) == 1);
}
static struct aiocb finished_read(void)
{
    static char page[16];
    if (disk == 0)
        disk = temp_file(ON_DISK, 100, 1, 0);
    struct aiocb cb = request(disk, page, 10, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 10);
    return cb; /* a copy of an ended request reads as ended */
}
static void *finish_soon(void *milliseconds)
{
    sleep_ms((long)(intptr_t)milliseconds);
    finish(1);
    return NULL;
}

/* ---- line 21 ---- */

CASE(21, ended_or_never_submitted_returns_at_once, GLIBC_OK, 10)
{
    struct aiocb waiting = waiting_read(), ended = finished_read(), never;
    memset(&never, 0, sizeof never);
    CHECK_EQ(aio_read(&waiting), 0);
    const struct aiocb *lists[][3] = {{&ended, NULL, NULL}, {&never, NULL, NULL}, {&waiting, &ended, NULL},
                                      {&ended, &waiting, NULL}, {NULL, &waiting, &never}, {&waiting, &waiting, &ended}};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        CHECK(aio_suspend(lists[i], 3, NULL) == 0, "list %zu", i);
        CHECK(aio_suspend(lists[i], 3, &(struct timespec){0, 0}) == 0, "list %zu", i);
        CHECK(aio_suspend(lists[i], 3, &(struct timespec){100, 0}) == 0, "list %zu", i);
    }
    CHECK_EQ(aio_error(&waiting), EINPROGRESS);
    finish(1);
    CHECK_DONE(&waiting, 1);
}

CASE(21, failed_and_cancelled_count_as_ended, GLIBC_OK, 10)
{
    char byte;
    struct aiocb cb = request(-1, &byte, 1, 0);
    const struct aiocb *list[] = {&cb};
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_EQ(aio_suspend(list, 1, NULL), 0);
    CHECK_EQ(aio_error(&cb), EBADF);
}

CASE(21, empty_lists, GLIBC_OK, 10)
{
    const struct aiocb *nothing[8] = {NULL};
    CHECK_EQ(aio_suspend(nothing, 0, NULL), 0);
    CHECK_EQ(aio_suspend(nothing, 8, NULL), 0);
    CHECK_EQ(aio_suspend(nothing, 8, &(struct timespec){100, 0}), 0);
    CHECK_EQ(aio_suspend(nothing, 0, &(struct timespec){100, 0}), 0);
    CHECK_EQ(aio_suspend(nothing, 0, &(struct timespec){0, 0}), 0);
}

CASE(21, negative_count, GLIBC_OK, 10)
{
    struct aiocb ended = finished_read();
    const struct aiocb *list[] = {&ended};
    CHECK_FAILS(aio_suspend(list, -1, NULL), EINVAL);
    CHECK_FAILS(aio_suspend(list, INT_MIN, &(struct timespec){0, 0}), EINVAL);
}

CASE(21, wakes_when_one_of_many_ends, GLIBC_OK, 20)
{
    enum { COUNT = 64 };
    static int pipes[COUNT][2];
    static struct aiocb cbs[COUNT];
    static char got[COUNT];
    const struct aiocb *list[COUNT];
    for (int i = 0; i < COUNT; i++)
        SETUP(pipe(pipes[i]) == 0);
    for (int round = 0; round < COUNT; round++) {
        for (int i = 0; i < COUNT; i++) {
            if (round == 0 || i == round - 1) {
                cbs[i] = request(pipes[i][0], &got[i], 1, 0);
                CHECK_EQ(aio_read(&cbs[i]), 0);
            }
            list[i] = &cbs[i];
        }
        ends[1] = pipes[round][1];
        pthread_t feeder = start_thread(finish_soon, (void *)(intptr_t)(round % 4));
        CHECK_EQ(aio_suspend(list, COUNT, &(struct timespec){10, 0}), 0);
        CHECK_EQ(aio_error(&cbs[round]), 0);
        for (int i = 0; i < COUNT; i++)
            CHECK(i == round || aio_error(&cbs[i]) == EINPROGRESS);
        join_thread(feeder);
    }
}

/* Other threads work on the list while one waits (ACE does so). */
static const struct aiocb *volatile changing[16];
static volatile int enough;
static void *change_list(void *argument)
{
    struct aiocb *const *cbs = argument;
    for (unsigned i = 0; !enough; i++) {
        changing[i % 8] = i % 3 ? NULL : cbs[i % 8];
        changing[(i + 3) % 8] = cbs[(i + 3) % 8];
    }
    for (int i = 0; i < 8; i++)
        changing[i] = NULL;
    finish(1);
    return NULL;
}
CASE(21, list_changes_meanwhile, GLIBC_RACY, 20)
{
    static struct aiocb cbs[9];
    struct aiocb *which[9];
    for (int i = 0; i < 9; i++) {
        cbs[i] = waiting_read();
        which[i] = &cbs[i];
    }
    CHECK_EQ(aio_read(&cbs[8]), 0); /* the first in line: the byte will be its */
    for (int i = 0; i < 8; i++) {
        CHECK_EQ(aio_read(&cbs[i]), 0);
        changing[i] = which[i];
    }
    changing[8] = which[8];
    pthread_t other = start_thread(change_list, which);
    int64_t until = now_ns() + 200000000;
    while (now_ns() < until)
        CHECK_FAILS(aio_suspend((const struct aiocb *const *)changing, 9, &(struct timespec){0, 300000}), EAGAIN);
    enough = 1;
    CHECK_EQ(aio_suspend((const struct aiocb *const *)changing, 9, NULL), 0);
    join_thread(other);
    finish(8);
    for (int i = 0; i < 8; i++)
        CHECK_DONE(&cbs[i], 1);
}

static void enormous_list(int distinct)
{
    enum { COUNT = 400000 };
    struct aiocb *cbs = pages(sizeof *cbs * (size_t)distinct);
    const struct aiocb **list = pages(sizeof *list * COUNT);
    int other[2];
    char byte;
    SETUP(pipe(other) == 0);
    struct aiocb last = request(other[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&last), 0);
    for (int i = 0; i < distinct; i++) {
        cbs[i] = waiting_read();
        CHECK_EQ(aio_read(&cbs[i]), 0);
    }
    for (int i = 0; i < COUNT; i++)
        list[i] = &cbs[i % distinct];
    list[COUNT - 1] = &last;
    CHECK_FAILS(aio_suspend(list, COUNT, &(struct timespec){0, 1000000}), EAGAIN);
    ends[1] = other[1];
    pthread_t feeder = start_thread(finish_soon, (void *)20);
    CHECK_EQ(aio_suspend(list, COUNT, NULL), 0);
    CHECK_DONE(&last, 1);
    join_thread(feeder);
}
CASE(21, four_hundred_thousand_entries, GLIBC_DEFECT, 20) { enormous_list(1000); }
CASE(21, four_hundred_thousand_times_the_same, GLIBC_DEFECT, 20) { enormous_list(1); }

/* ---- line 22 ---- */

CASE(22, timeout, GLIBC_OK, 10)
{
    struct aiocb cb = waiting_read();
    const struct aiocb *list[] = {&cb};
    CHECK_EQ(aio_read(&cb), 0);
    static const long milliseconds[] = {0, 1, 10, 100};
    for (int i = 0; i < 4; i++) {
        struct timespec limit = {0, milliseconds[i] * 1000000};
        int64_t started = now_ns();
        CHECK_FAILS(aio_suspend(list, 1, &limit), EAGAIN);
        int64_t took = now_ns() - started;
        CHECK(took >= limit.tv_nsec, "%lld ns instead of %ld", (long long)took, limit.tv_nsec);
        CHECK(took < limit.tv_nsec + 3000000000, "%lld ns instead of %ld", (long long)took, limit.tv_nsec);
        CHECK_EQ(limit.tv_nsec, milliseconds[i] * 1000000);
    }
    finish(1);
    CHECK_DONE(&cb, 1);
    CHECK_EQ(aio_suspend(list, 1, &(struct timespec){0, 0}), 0);
}

static void invalid_timeout(struct timespec limit)
{
    struct aiocb cb = waiting_read();
    const struct aiocb *list[] = {&cb};
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_FAILS(aio_suspend(list, 1, &limit), EINVAL);
    finish(1);
    CHECK_DONE(&cb, 1);
}
CASE(22, nanoseconds_of_two_seconds, GLIBC_DEFECT, 10) { invalid_timeout((struct timespec){0, 2000000000}); }
CASE(22, nanoseconds_of_one_second, GLIBC_DEFECT, 10) { invalid_timeout((struct timespec){0, 1000000000}); }
CASE(22, negative_nanoseconds, GLIBC_DEFECT, 10) { invalid_timeout((struct timespec){1, -1}); }
CASE(22, most_nanoseconds, GLIBC_DEFECT, 10) { invalid_timeout((struct timespec){5, LONG_MAX}); }

CASE(22, negative_seconds_do_not_wait, GLIBC_RACY, 10)
{
    struct aiocb cb = waiting_read();
    const struct aiocb *list[] = {&cb};
    CHECK_EQ(aio_read(&cb), 0);
    CHECK(aio_suspend(list, 1, &(struct timespec){-1, 0}) == -1 && (errno == EAGAIN || errno == EINVAL));
    CHECK(aio_suspend(list, 1, &(struct timespec){LONG_MIN, 0}) == -1 && (errno == EAGAIN || errno == EINVAL));
    finish(1);
    CHECK_DONE(&cb, 1);
}

/* glibc: signed overflow in the sum with the present time, then an assertion or an endless or no wait. */
CASE(22, huge_timeouts_wait, GLIBC_DEFECT, 20)
{
    static const struct timespec limits[] = {{LONG_MAX, 999999999}, {LONG_MAX, 0}, {LONG_MAX / 2, 5}, {(long)1 << 34, 0}};
    for (int i = 0; i < 4; i++) {
        struct aiocb cb = waiting_read();
        const struct aiocb *list[] = {&cb};
        CHECK_EQ(aio_read(&cb), 0);
        pthread_t feeder = start_thread(finish_soon, (void *)30);
        CHECK_EQ(aio_suspend(list, 1, &limits[i]), 0);
        CHECK_DONE(&cb, 1);
        join_thread(feeder);
    }
}

/* Requests that are not in the list end meanwhile: that is no reason to return. */
static void *other_work(void *argument)
{
    char buffer[10];
    int fd = *(int *)argument;
    int64_t until = now_ns() + 200000000;
    while (now_ns() < until) {
        struct aiocb cb = request(fd, buffer, 10, 0);
        const struct aiocb *list[] = {&cb};
        CHECK_EQ(aio_read(&cb), 0);
        CHECK_EQ(aio_suspend(list, 1, NULL), 0);
        CHECK_DONE(&cb, 10);
    }
    return NULL;
}
CASE(22, other_requests_do_not_end_the_wait, GLIBC_OK, 20)
{
    int fd = temp_file(ON_DISK, 100, 1, 0);
    struct aiocb cb = waiting_read();
    const struct aiocb *list[] = {&cb};
    CHECK_EQ(aio_read(&cb), 0);
    pthread_t one = start_thread(other_work, &fd), two = start_thread(other_work, &fd);
    int64_t started = now_ns();
    CHECK_FAILS(aio_suspend(list, 1, &(struct timespec){0, 300000000}), EAGAIN);
    CHECK(now_ns() - started >= 300000000);
    join_thread(one);
    join_thread(two);
}

/* ---- line 23 ---- */

static volatile sig_atomic_t handled;
static void handler(int signo) { (void)signo; handled++; }
static void handle(int signo, int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    SETUP(sigaction(signo, &action, NULL) == 0);
}
static pthread_t main_thread;
static void *signal_soon(void *argument)
{
    sleep_ms(50);
    pthread_kill(main_thread, (int)(intptr_t)argument);
    return NULL;
}

CASE(23, interrupted_by_a_signal, GLIBC_OK, 10)
{
    struct aiocb cb = waiting_read();
    const struct aiocb *list[] = {&cb};
    main_thread = pthread_self();
    handle(SIGUSR1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    for (int limited = 0; limited < 2; limited++) {
        pthread_t other = start_thread(signal_soon, (void *)SIGUSR1);
        CHECK_FAILS(aio_suspend(list, 1, limited ? &(struct timespec){60, 0} : NULL), EINTR);
        CHECK_EQ(handled, limited + 1);
        join_thread(other);
        CHECK_EQ(aio_error(&cb), EINPROGRESS);
    }
    pthread_t feeder = start_thread(finish_soon, (void *)20);
    CHECK_EQ(aio_suspend(list, 1, NULL), 0);
    CHECK_DONE(&cb, 1);
    join_thread(feeder);
}

/* The signal of the awaited request interrupts too; or the end is seen first. Both are right, a hang is not. */
CASE(23, interrupted_by_the_requests_own_signal, GLIBC_OK, 20)
{
    handle(SIGRTMIN, 0);
    for (int i = 0; i < 100; i++) {
        struct aiocb cb = waiting_read();
        const struct aiocb *list[] = {&cb};
        cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
        cb.aio_sigevent.sigev_signo = SIGRTMIN;
        CHECK_EQ(aio_read(&cb), 0);
        pthread_t feeder = start_thread(finish_soon, (void *)(intptr_t)(i % 3));
        if (aio_suspend(list, 1, NULL) == -1) {
            CHECK(errno == EINTR);
            CHECK_EQ(aio_error(&cb), 0);
        }
        CHECK_DONE(&cb, 1);
        WAIT_FOR(handled == i + 1);
        join_thread(feeder);
    }
}

static void *signals_then_finish(void *argument)
{
    (void)argument;
    for (int i = 0; i < 20; i++) {
        pthread_kill(main_thread, SIGUSR1);
        while (handled <= i) /* or two of them would merge */
            sleep_ms(1);
    }
    finish(1);
    return NULL;
}
CASE(23, restarting_handlers_lose_nothing, GLIBC_OK, 10)
{
    struct aiocb cb = waiting_read();
    const struct aiocb *list[] = {&cb};
    main_thread = pthread_self();
    handle(SIGUSR1, SA_RESTART);
    CHECK_EQ(aio_read(&cb), 0);
    pthread_t other = start_thread(signals_then_finish, NULL);
    while (aio_suspend(list, 1, NULL) != 0)
        CHECK(errno == EINTR);
    CHECK_DONE(&cb, 1);
    join_thread(other);
    CHECK_EQ(handled, 20);
}

/* A storm of timer signals while work is done by waiting: nothing is lost, nothing hangs. */
CASE(23, storm_of_signals, GLIBC_OK, 20)
{
    int fd = temp_file(DIRECT, 1 << 16, 1, 0);
    char *buffer = pages(4096);
    handle(SIGALRM, 0);
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 200}, {0, 200}}, NULL);
    int64_t until = now_ns() + 1000000000;
    for (int i = 0; now_ns() < until; i++) {
        struct aiocb cb = request(fd, buffer, 4096, i % 16 * 4096);
        const struct aiocb *list[] = {&cb};
        CHECK_EQ(aio_read(&cb), 0);
        while (aio_suspend(list, 1, NULL) != 0)
            CHECK(errno == EINTR);
        CHECK_EQ(aio_error(&cb), 0);
        CHECK_EQ(aio_return(&cb), 4096);
    }
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
    CHECK(handled > 50, "%d", (int)handled);
}

/* ---- line 25 ---- */

CASE(25, fsync_wakes, GLIBC_OK, 20)
{
    int fd = temp_file(ON_DISK, 0, 0, 0);
    char buffer[4096] = {1};
    for (int i = 0; i < 20; i++) {
        SETUP(pwrite(fd, buffer, sizeof buffer, i * 4096) == sizeof buffer);
        struct aiocb cb = request(fd, NULL, 0, 0);
        const struct aiocb *list[] = {&cb};
        CHECK_EQ(aio_fsync(i % 2 ? O_SYNC : O_DSYNC, &cb), 0);
        CHECK_EQ(aio_suspend(list, 1, NULL), 0);
        CHECK_EQ(aio_error(&cb), 0);
        CHECK_EQ(aio_return(&cb), 0);
    }
}

static struct aiocb shared[4];
static void *wait_for_shared(void *argument)
{
    intptr_t number = (intptr_t)argument;
    const struct aiocb *list[] = {&shared[number % 3 + 1], &shared[0], number % 2 ? NULL : &shared[0]};
    CHECK_EQ(aio_suspend(list, 3, number % 5 ? NULL : &(struct timespec){60, 0}), 0);
    CHECK_EQ(aio_error(&shared[0]), 0);
    return NULL;
}
CASE(25, many_threads_wait_for_one, GLIBC_OK, 20)
{
    enum { THREADS = 64 };
    pthread_t running[THREADS];
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 4; i++) {
            shared[i] = waiting_read();
            CHECK_EQ(aio_read(&shared[i]), 0);
        }
        for (int i = 0; i < THREADS; i++)
            running[i] = start_thread(wait_for_shared, (void *)(intptr_t)i);
        sleep_ms(round * 10);
        finish(1);
        for (int i = 0; i < THREADS; i++)
            join_thread(running[i]);
        finish(3);
        for (int i = 1; i < 4; i++)
            CHECK_DONE(&shared[i], 1);
    }
}

/* Whoever waited when the request ended is woken, even if it runs again before the waiter looked. */
static struct aiocb recycled;
static volatile int waiter_is_back;
static volatile pid_t waiter;
static bool sleeps_on_a_futex(pid_t thread)
{
    char path[64], text[64] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", thread);
    int fd = open(path, O_RDONLY);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    close(fd);
    long call = got > 0 && text[0] != 'r' ? atol(text) : -1; /* or "running" */
    return call == SYS_futex || call == 449; /* futex_waitv */
}
static void *wait_once(void *argument)
{
    (void)argument;
    waiter = gettid();
    const struct aiocb *list[] = {&recycled};
    CHECK_EQ(aio_suspend(list, 1, NULL), 0);
    waiter_is_back = 1;
    return NULL;
}
CASE(25, submitted_again_at_once_still_wakes, GLIBC_OK, 20)
{
    for (int round = 0; round < 30; round++) {
        waiter_is_back = waiter = 0;
        recycled = waiting_read();
        CHECK_EQ(aio_read(&recycled), 0);
        pthread_t thread = start_thread(wait_once, NULL);
        WAIT_FOR(waiter && sleeps_on_a_futex(waiter));
        finish(1);
        while (aio_error(&recycled) == EINPROGRESS) { }
        CHECK_EQ(aio_read(&recycled), 0); /* and runs again */
        WAIT_FOR(waiter_is_back, "round %d", round);
        join_thread(thread);
        finish(1);
        CHECK_DONE(&recycled, 1);
    }
}

/* A handler that interrupts aio_suspend calls it itself. */
static struct aiocb inner;
static void suspend_inside(int signo)
{
    (void)signo;
    const struct aiocb *list[] = {&inner};
    for (int i = 0; i < 3; i++)
        if (aio_suspend(list, 1, &(struct timespec){0, 1000000}) != -1)
            _exit(1);
    finish(1);
    while (aio_suspend(list, 1, NULL) != 0) { }
    handled++;
}
CASE(25, suspend_inside_suspend, GLIBC_RACY, 10)
{
    struct sigaction action = {.sa_handler = suspend_inside};
    sigaction(SIGUSR1, &action, NULL);
    main_thread = pthread_self();
    inner = waiting_read();
    CHECK_EQ(aio_read(&inner), 0);
    struct aiocb outer = waiting_read();
    const struct aiocb *list[] = {&outer};
    CHECK_EQ(aio_read(&outer), 0);
    pthread_t other = start_thread(signal_soon, (void *)SIGUSR1);
    CHECK_FAILS(aio_suspend(list, 1, NULL), EINTR);
    CHECK_EQ(handled, 1);
    CHECK_DONE(&inner, 1);
    join_thread(other);
    finish(1);
    CHECK_DONE(&outer, 1);
}
