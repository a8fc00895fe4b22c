// Line 24: aio_suspend is a cancellation point, and lio_listio(LIO_WAIT) may be one.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include "harness.h"
#include "hostile.h"

static int ends[2];
static struct aiocb cb;
static char byte;
static volatile int cleaned, returned, entered;

static void fresh_request(void)
{
    if (ends[1] == 0)
        SETUP(pipe(ends) == 0);
    cb = request(ends[0], &byte, 1, 0);
    cb.aio_lio_opcode = LIO_READ;
    CHECK_EQ(aio_read(&cb), 0);
}
static void finish(void) { SETUP(write(ends[1], "x", 1) == 1); }

static void clean(void *argument)
{
    (void)argument;
    cleaned++;
}

static void *wait_for_it(void *limit)
{
    const struct aiocb *list[] = {&cb};
    pthread_cleanup_push(clean, NULL);
    entered = 1;
    CHECK_EQ(aio_suspend(list, 1, limit), 0);
    __atomic_add_fetch(&returned, 1, __ATOMIC_RELAXED);
    pthread_cleanup_pop(0);
    return NULL;
}

CASE(24, cleanup_runs_and_the_request_goes_on, GLIBC_OK, 10)
{
    for (int round = 0; round < 20; round++) {
        struct timespec limit = {60, 0};
        fresh_request();
        cleaned = returned = entered = 0;
        pthread_t victim = start_thread(wait_for_it, round % 2 ? &limit : NULL);
        WAIT_FOR(entered);
        if (round % 3)
            sleep_ms(5);
        SETUP(pthread_cancel(victim) == 0);
        CHECK(join_thread(victim) == PTHREAD_CANCELED, "round %d", round);
        CHECK_EQ(cleaned, 1);
        CHECK_EQ(returned, 0);
        CHECK_EQ(aio_error(&cb), EINPROGRESS);
        finish();
        CHECK_DONE(&cb, 1);
    }
}

CASE(24, all_other_waiters_wake, GLIBC_OK, 20)
{
    enum { THREADS = 12 };
    for (int round = 0; round < 10; round++) {
        pthread_t running[THREADS];
        fresh_request();
        cleaned = returned = 0;
        for (int i = 0; i < THREADS; i++)
            running[i] = start_thread(wait_for_it, NULL);
        sleep_ms(10);
        for (int i = round % 3; i < THREADS; i += 3) {
            pthread_cancel(running[i]);
            CHECK(join_thread(running[i]) == PTHREAD_CANCELED);
        }
        finish();
        for (int i = 0; i < THREADS; i++)
            if (i % 3 != round % 3)
                CHECK(join_thread(running[i]) == NULL);
        CHECK_EQ(returned, 8);
        CHECK_EQ(cleaned, 4);
        CHECK_DONE(&cb, 1);
    }
}

/* Both at the same moment: the thread ends either way, and nothing of it is touched later. */
CASE(24, cancel_against_completion, GLIBC_RACY, 30)
{
    for (int round = 0; round < 1000; round++) {
        fresh_request();
        pthread_t victim = start_thread(wait_for_it, NULL);
        for (volatile int pause = 0; pause < round % 50 * 1000; pause++) { }
        if (round % 2) {
            finish();
            pthread_cancel(victim);
        } else {
            pthread_cancel(victim);
            finish();
        }
        void *result = join_thread(victim);
        CHECK(result == NULL || result == PTHREAD_CANCELED);
        CHECK_DONE(&cb, 1);
    }
}

static void *wait_uncancelled(void *argument)
{
    (void)argument;
    int old;
    const struct aiocb *list[] = {&cb};
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    entered = 1;
    while (aio_suspend(list, 1, NULL) != 0)
        CHECK(errno == EINTR);
    returned++;
    pthread_setcancelstate(old, NULL);
    pthread_testcancel();
    return NULL;
}
CASE(24, disabled_cancellation_waits_on, GLIBC_OK, 10)
{
    fresh_request();
    pthread_t victim = start_thread(wait_uncancelled, NULL);
    WAIT_FOR(entered);
    sleep_ms(10);
    pthread_cancel(victim);
    sleep_ms(30);
    CHECK_EQ(returned, 0);
    finish();
    CHECK(join_thread(victim) == PTHREAD_CANCELED);
    CHECK_EQ(returned, 1);
}

/* Cancelled before it gets there. */
static void *wait_with_pending_cancel(void *argument)
{
    (void)argument;
    const struct aiocb *list[] = {&cb};
    int old;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    entered = 1;
    while (!cleaned) { }
    pthread_setcancelstate(old, NULL);
    aio_suspend(list, 1, NULL);
    returned++;
    return NULL;
}
CASE(24, pending_cancellation_acts, GLIBC_OK, 10)
{
    fresh_request();
    pthread_t victim = start_thread(wait_with_pending_cancel, NULL);
    WAIT_FOR(entered);
    pthread_cancel(victim);
    cleaned = 1;
    CHECK(join_thread(victim) == PTHREAD_CANCELED);
    CHECK_EQ(returned, 0);
    finish();
    CHECK_DONE(&cb, 1);
}

/* The cancelled thread's stack is gone when the list ends. */
static struct aiocb element;
static void *wait_for_list(void *argument)
{
    struct aiocb *list[] = {&element};
    (void)argument;
    entered = 1;
    lio_listio(LIO_WAIT, list, 1, NULL);
    return NULL;
}
CASE(31, cancelled_in_a_waiting_list, GLIBC_RACY, 20)
{
    for (int round = 0; round < 20; round++) {
        SETUP(pipe(ends) == 0);
        element = request(ends[0], &byte, 1, 0);
        element.aio_lio_opcode = LIO_READ;
        entered = 0;
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        void *stack = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        SETUP(stack != MAP_FAILED && pthread_attr_setstack(&attributes, stack, 1 << 20) == 0);
        pthread_t victim;
        SETUP(pthread_create(&victim, &attributes, wait_for_list, NULL) == 0);
        WAIT_FOR(entered && aio_error(&element) == EINPROGRESS);
        sleep_ms(5);
        pthread_cancel(victim);
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 50000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        bool gone = pthread_timedjoin_np(victim, NULL, &until) == 0;
        if (gone)
            munmap(stack, 1 << 20);
        finish();
        if (!gone) {
            join_thread(victim);
            munmap(stack, 1 << 20);
        }
        CHECK_DONE(&element, 1);
        close(ends[0]);
        close(ends[1]);
    }
}

/* Of the other calls none is one: what was accepted goes its way, also when the caller has been cancelled before. */
enum call { READ, WRITE, SYNC, LIST, WAITED_LIST, CANCEL, STATUS, CALLS };
static const char *const call_name[] = {"aio_read", "aio_write",  "aio_fsync", "lio_listio",
                                        "LIO_WAIT", "aio_cancel", "aio_error"};
static int file;
static struct aiocb other;
static void *call_when_cancelled(void *argument)
{
    struct aiocb *list[] = {&cb, &other};
    pthread_cancel(pthread_self());
    switch ((enum call)(intptr_t)argument) {
    case READ:
        CHECK_EQ(aio_read(&cb), 0);
        break;
    case WRITE:
        CHECK_EQ(aio_write(&other), 0);
        break;
    case SYNC:
        CHECK_EQ(aio_fsync(O_SYNC, &other), 0);
        break;
    case LIST:
        CHECK_EQ(lio_listio(LIO_NOWAIT, list, 2, NULL), 0);
        break;
    case WAITED_LIST:
        CHECK_EQ(lio_listio(LIO_WAIT, list + 1, 1, NULL), 0);
        break;
    case CANCEL:
        CHECK_EQ(aio_cancel(ends[0], &cb), AIO_CANCELED);
        break;
    default:
        CHECK_EQ(aio_error(&cb), 0);
        CHECK_EQ(aio_return(&cb), 1);
        break;
    }
    returned++;
    pthread_testcancel();
    return NULL;
}
static void cancelled_caller(enum call call)
{
    bool reads = call == READ || call == LIST || call == CANCEL || call == STATUS, writes = !reads || call == LIST;
    SETUP(pipe(ends) == 0);
    cb = request(ends[0], &byte, 1, 0);
    other = request(file, "x", 1, 0);
    cb.aio_lio_opcode = LIO_READ;
    other.aio_lio_opcode = LIO_WRITE;
    if (call == CANCEL || call == STATUS)
        CHECK_EQ(aio_read(&cb), 0);
    if (call == STATUS) {
        finish();
        CHECK_EQ(wait_done(&cb), 0);
    }
    returned = 0;
    pthread_t caller = start_thread(call_when_cancelled, (void *)(intptr_t)call);
    CHECK(join_thread(caller) == PTHREAD_CANCELED && returned == 1, "%s did not return", call_name[call]);
    if (writes)
        CHECK_DONE(&other, call == SYNC ? 0 : 1);
    if (call == CANCEL)
        CHECK_ENDS(&cb, ECANCELED);
    if (call == READ || call == LIST) {
        finish();
        CHECK_DONE(&cb, 1);
    }
    close(ends[0]);
    close(ends[1]);
}
CASE(24, no_other_call_is_a_cancellation_point, GLIBC_RACY, 60)
{
    file = temp_file(ON_DISK, 4096, 0, 0);
    /* As the first call of a process, which starts the library's threads, and later. */
    for (enum call call = READ; call < CALLS; call++) {
        pid_t child = fork();
        SETUP(child >= 0);
        if (child == 0) {
            cancelled_caller(call);
            _exit(0);
        }
        wait_child(child, call_name[call]);
    }
    for (int round = 0; round < 20; round++)
        for (enum call call = READ; call < CALLS; call++)
            cancelled_caller(call);
}
