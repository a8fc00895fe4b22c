/* notify_thread.c - SIGEV_THREAD: one call for each completion, in a thread as good as new, that may do what it likes.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"

enum { MOST = 5000 };
static struct aiocb cb[MOST];
static unsigned char data[MOST];
static atomic_int called[MOST], calls;
static int file;

static void submit_one(int i, void (*function)(union sigval))
{
    cb[i] = request(file, &data[i], 1, i);
    notify_by_thread(&cb[i], function, NULL);
    cb[i].aio_sigevent.sigev_value.sival_int = i;
    CHECK(aio_read(&cb[i]) == 0, "request %d: errno %d", i, errno);
}
static void submit(int count, void (*function)(union sigval))
{
    file = temp_file(ON_DISK, MOST, 6, 0);
    for (int i = 0; i < count; i++)
        submit_one(i, function);
}
static void all_called(int count)
{
    int seen = -1;
    while (calls < count) {
        WAIT_FOR(calls > seen, "stopped at %d of %d calls", seen, count);
        seen = calls;
    }
    settle();
    CHECK_EQ(calls, count);
    for (int i = 0; i < count; i++) {
        CHECK(called[i] == 1, "request %d: %d calls", i, called[i]);
        CHECK_DONE(&cb[i], 1);
    }
}
static void note(union sigval value)
{
    int i = value.sival_int;
    CHECK(i >= 0 && i < MOST, "value %d", i);
    CHECK(aio_error(&cb[i]) == 0, "request %d: error %d in its function", i, aio_error(&cb[i]));
    CHECK_EQ(data[i], pattern_byte((size_t)i, 6));
    atomic_fetch_add(&called[i], 1);
    atomic_fetch_add(&calls, 1);
}

CASE(38, five_thousand_calls, GLIBC_OK, 60)
{
    submit(5000, note);
    all_called(5000);
}

/* None of the first two hundred returns before the next has been called. */
static atomic_bool let_go;
static void block_and_note(union sigval value)
{
    note(value);
    while (!let_go)
        sleep_ms(1);
}
CASE(38, two_hundred_blocked_calls_hold_up_no_other, GLIBC_OK, 60)
{
    submit(201, block_and_note);
    int seen = -1;
    while (calls < 201) {
        WAIT_FOR(calls > seen, "stopped at %d of 201 calls", seen);
        seen = calls;
    }
    let_go = true;
    all_called(201);
    WAIT_FOR(threads() <= 2 || !on_glibc());
}

static void note_and_exit(union sigval value)
{
    note(value);
    pthread_exit(NULL);
}
CASE(38, calls_may_end_by_pthread_exit, GLIBC_OK, 60)
{
    submit(2000, note_and_exit);
    all_called(2000);
}

/* Whatever a call leaves behind in its thread, the next one finds no trace of it in what POSIX says about it. */
static void *no_body(void *unused) { return unused; }
static void note_and_mess_up(union sigval value)
{
    sigset_t mask;
    int state, type;
    SETUP(pthread_sigmask(SIG_SETMASK, NULL, &mask) == 0);
    for (int i = 1; i < 65; i++)
        CHECK(i == 32 || i == 33 || !sigismember(&mask, i), "signal %d is blocked in the call", i);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
    CHECK(state == PTHREAD_CANCEL_ENABLE && type == PTHREAD_CANCEL_DEFERRED, "cancel state %d, type %d", state, type);
    pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL);
    sigfillset(&mask);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    pthread_t other;
    if (value.sival_int % 50 == 0 && pthread_create(&other, NULL, no_body, NULL) == 0)
        pthread_join(other, NULL);
    note(value);
}
CASE(38, calls_have_no_signal_blocked, GLIBC_OK, 60)
{
    sigset_t all;
    sigfillset(&all);
    SETUP(pthread_sigmask(SIG_SETMASK, &all, NULL) == 0); /* nor do they inherit the caller's */
    submit(1000, note_and_mess_up);
    all_called(1000);
}

/* A call that is cancelled, or ends its own thread so, is a call like others. */
static void note_and_be_cancelled(union sigval value)
{
    note(value);
    pthread_cancel(pthread_self());
    pthread_testcancel();
    CHECK(false, "it goes on");
}
CASE(38, calls_may_be_cancelled, GLIBC_OK, 60)
{
    submit(500, note_and_be_cancelled);
    all_called(500);
}

/* ---- attributes --------------------------------------------------------------------------------------------- */

static size_t wanted_stack;
static void note_attributes(union sigval value)
{
    pthread_attr_t mine;
    size_t stack, guard;
    int detached;
    SETUP(pthread_getattr_np(pthread_self(), &mine) == 0);
    SETUP(pthread_attr_getstacksize(&mine, &stack) == 0 && pthread_attr_getguardsize(&mine, &guard) == 0);
    SETUP(pthread_attr_getdetachstate(&mine, &detached) == 0);
    CHECK(stack == wanted_stack && guard == 65536, "stack %zu, guard %zu", stack, guard);
    CHECK_EQ(detached, PTHREAD_CREATE_DETACHED);
    cpu_set_t cpus;
    SETUP(sched_getaffinity(0, sizeof cpus, &cpus) == 0);
    CHECK(CPU_COUNT(&cpus) == 1, "%d processors", CPU_COUNT(&cpus));
    pthread_attr_destroy(&mine);
    note(value);
}
static void with_attributes(int detach)
{
    pthread_attr_t attr, copy;
    cpu_set_t cpus, one;
    SETUP(sched_getaffinity(0, sizeof cpus, &cpus) == 0);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &cpus))
            CPU_SET(i, &one);
    wanted_stack = 384 << 10;
    SETUP(pthread_attr_init(&attr) == 0 && pthread_attr_setstacksize(&attr, wanted_stack) == 0);
    SETUP(pthread_attr_setguardsize(&attr, 65536) == 0 && pthread_attr_setdetachstate(&attr, detach) == 0);
    SETUP(pthread_attr_setaffinity_np(&attr, sizeof one, &one) == 0);
    memcpy(&copy, &attr, sizeof attr);
    file = temp_file(ON_DISK, MOST, 6, 0);
    for (int i = 0; i < 200; i++) {
        cb[i] = request(file, &data[i], 1, i);
        notify_by_thread(&cb[i], note_attributes, NULL);
        cb[i].aio_sigevent.sigev_value.sival_int = i;
        cb[i].aio_sigevent.sigev_notify_attributes = &attr;
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    all_called(200);
    CHECK(memcmp(&copy, &attr, sizeof attr) == 0, "the caller's attributes were changed");
}
CASE(38, attributes_are_honoured, GLIBC_OK, 60) { with_attributes(PTHREAD_CREATE_DETACHED); }
CASE(38, joinable_attributes_are_treated_as_detached, GLIBC_DEFECT, 60) { with_attributes(PTHREAD_CREATE_JOINABLE); }

static void note_scheduling(union sigval value)
{
    struct sched_param parameter;
    int policy;
    SETUP(pthread_getschedparam(pthread_self(), &policy, &parameter) == 0);
    CHECK(policy == SCHED_RR && parameter.sched_priority == 3, "policy %d, priority %d", policy, parameter.sched_priority);
    note(value);
}
CASE(38, scheduling_attributes_are_honoured, GLIBC_OK | NEEDS_ROOT, 60)
{
    pthread_attr_t attr;
    pthread_t probe;
    struct sched_param parameter = {.sched_priority = 3};
    SETUP(pthread_attr_init(&attr) == 0 && pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED) == 0);
    SETUP(pthread_attr_setschedpolicy(&attr, SCHED_RR) == 0 && pthread_attr_setschedparam(&attr, &parameter) == 0);
    if (pthread_create(&probe, &attr, no_body, NULL) != 0)
        SKIP("no real-time scheduling here");
    pthread_join(probe, NULL);
    SETUP(pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED) == 0);
    file = temp_file(ON_DISK, MOST, 6, 0);
    for (int i = 0; i < 50; i++) {
        cb[i] = request(file, &data[i], 1, i);
        notify_by_thread(&cb[i], note_scheduling, NULL);
        cb[i].aio_sigevent.sigev_value.sival_int = i;
        cb[i].aio_sigevent.sigev_notify_attributes = &attr;
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    all_called(50);
}

/* ---- what calls do ------------------------------------------------------------------------------------------- */

/* The next request from the call of the one before, ten chains beside each other. */
static void note_and_go_on(union sigval value)
{
    int i = value.sival_int;
    note(value);
    if (i + 10 < MOST)
        submit_one(i + 10, note_and_go_on);
}
CASE(40, calls_submit_the_next_request, GLIBC_OK, 60)
{
    submit(10, note_and_go_on);
    all_called(MOST);
}

/* The aiocb and its buffer are freed by the call. */
static void free_all(union sigval value)
{
    struct aiocb *mine = value.sival_ptr;
    CHECK_EQ(aio_error(mine), 0);
    CHECK_EQ(aio_return(mine), 16);
    memset((void *)mine->aio_buf, 0xdd, 16);
    free((void *)mine->aio_buf);
    memset(mine, 0xdd, sizeof *mine);
    free(mine);
    atomic_fetch_add(&calls, 1);
}
CASE(38, calls_free_their_request, GLIBC_OK, 60)
{
    file = temp_file(ON_DISK, MOST, 6, 0);
    for (int i = 0; i < 3000; i++) {
        struct aiocb *mine = malloc(sizeof *mine);
        *mine = request(file, malloc(16), 16, i);
        notify_by_thread(mine, free_all, mine);
        CHECK_EQ(aio_read(mine), 0);
    }
    WAIT_FOR(calls == 3000, "%d of 3000 calls", calls);
}

/* Calls that wait for requests of their own, by every way there is. */
static void note_and_wait(union sigval value)
{
    unsigned char bytes[8];
    struct aiocb inner = request(file, bytes, sizeof bytes, value.sival_int), *list[1] = {&inner};
    const struct aiocb *const awaited[1] = {&inner};
    if (value.sival_int % 2) {
        CHECK_EQ(aio_read(&inner), 0);
        CHECK_EQ(aio_suspend(awaited, 1, NULL), 0);
    } else {
        inner.aio_lio_opcode = LIO_READ;
        CHECK_EQ(lio_listio(LIO_WAIT, list, 1, NULL), 0);
    }
    CHECK_EQ(pattern_wrong(bytes, sizeof bytes, (size_t)value.sival_int, 6), -1);
    note(value);
}
CASE(38, calls_may_wait_for_requests, GLIBC_OK, 60)
{
    submit(500, note_and_wait);
    all_called(500);
}

/* For a list. */
static void note_list(union sigval value)
{
    for (int k = 0; k < 5; k++)
        CHECK_EQ(aio_error(&cb[value.sival_int * 5 + k]), 0);
    atomic_fetch_add(&called[value.sival_int], 1);
    atomic_fetch_add(&calls, 1);
}
CASE(38, lists_call_once, GLIBC_OK, 60)
{
    static struct aiocb *list[300][5];
    file = temp_file(ON_DISK, MOST, 6, 0);
    for (int i = 0; i < 300; i++) {
        struct sigevent when;
        memset(&when, 0, sizeof when);
        when.sigev_notify = SIGEV_THREAD, when.sigev_notify_function = note_list, when.sigev_value.sival_int = i;
        for (int k = 0; k < 5; k++) {
            cb[i * 5 + k] = request(file, &data[i * 5 + k], 1, i * 5 + k);
            cb[i * 5 + k].aio_lio_opcode = LIO_READ;
            list[i][k] = &cb[i * 5 + k];
        }
        CHECK_EQ(lio_listio(LIO_NOWAIT, list[i], 5, &when), 0);
    }
    WAIT_FOR(calls == 300, "%d of 300 calls", calls);
    settle();
    for (int i = 0; i < 300; i++)
        CHECK(called[i] == 1, "list %d: %d calls", i, called[i]);
}

/* Idle threads go. */
CASE(38, idle_call_threads_end, GLIBC_OK, 30)
{
    let_go = true;
    submit(100, block_and_note);
    all_called(100);
    WAIT_FOR(threads() == 1, "%d threads", threads());
    for (int i = 0; i < MOST; i++)
        called[i] = 0;
    calls = 0;
    submit(100, note);
    all_called(100);
}

/* ---- when threads cannot be had ---------------------------------------------------------------------------------- */

/* The user has no thread left while requests complete: what was accepted is called once there are threads again. */
CASE(38, calls_wait_for_a_thread, GLIBC_DEFECT | NEEDS_ROOT, 60)
{
    enum { REQUESTS = 300 };
    struct ends ends = open_stream(PIPE);
    struct rlimit before;
    become_own_user();
    SETUP(getrlimit(RLIMIT_NPROC, &before) == 0);
    file = ends.reader;
    int accepted = 0;
    for (int i = 0; i < REQUESTS; i++) {
        cb[i] = request(ends.reader, &data[i], 1, i);
        notify_by_thread(&cb[i], block_and_note, NULL);
        cb[i].aio_sigevent.sigev_value.sival_int = i;
        if (i == 10)
            set_limit(RLIMIT_NPROC, 1); /* the first ten were accepted with threads for the asking */
        if (aio_read(&cb[i]) != 0) {
            CHECK_EQ(errno, EAGAIN);
            break;
        }
        accepted++;
    }
    CHECK(accepted >= 10, "%d", accepted);
    feed(ends.writer, (size_t)accepted, 0, 6);
    for (int i = 0; i < accepted; i++)
        CHECK_DONE(&cb[i], 1);
    sleep_ms(300);
    CHECK(calls < accepted, "%d calls block beside each other without threads", calls);
    set_limit(RLIMIT_NPROC, before.rlim_cur);
    int seen = -1;
    while (calls < accepted) {
        WAIT_FOR(calls > seen, "stopped at %d of %d calls", seen, accepted);
        seen = calls;
    }
    let_go = true;
    all_called(accepted);
}
/* The limit stays: one thread after the other, all are called. */
CASE(38, calls_share_the_thread_there_is, GLIBC_RACY | NEEDS_ROOT, 60)
{
    become_own_user();
    file = temp_file(ON_TMPFS, MOST, 6, 0);
    submit_one(0, note);
    WAIT_FOR(calls == 1);
    set_limit(RLIMIT_NPROC, 1);
    int accepted = 1;
    for (int i = 1; i < 500; i++) {
        cb[i] = request(file, &data[i], 1, i);
        notify_by_thread(&cb[i], note, NULL);
        cb[i].aio_sigevent.sigev_value.sival_int = i;
        if (aio_read(&cb[i]) != 0) {
            CHECK_EQ(errno, EAGAIN);
            break;
        }
        accepted++;
    }
    CHECK(accepted > 1, "nothing was accepted though a thread is there");
    all_called(accepted);
}
