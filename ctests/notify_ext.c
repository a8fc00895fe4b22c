/* notify_ext.c - the extensions: signals to one thread, and eventfds for loops around epoll.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"

#include <aio_shim.h>
#include <sys/epoll.h>

enum { MOST = 3000 };
static struct aiocb cb[MOST];
static unsigned char data[MOST];
static int file;

static void submit(int i, int notify, int signo, pid_t thread)
{
    cb[i] = request(file, &data[i], 1, i);
    cb[i].aio_sigevent.sigev_notify = notify;
    cb[i].aio_sigevent.sigev_signo = signo;
    cb[i].aio_sigevent.sigev_value.sival_int = i;
    if (notify == SIGEV_THREAD_ID)
        cb[i].aio_sigevent._sigev_un._tid = thread;
    CHECK(aio_read(&cb[i]) == 0, "request %d: errno %d", i, errno);
}

/* ---- one thread ------------------------------------------------------------------------------------------------ */

enum { THREADS = 3, EACH = 300 };
static pid_t ids[THREADS];
static void *receive_own(void *argument)
{
    intptr_t me = (intptr_t)argument;
    char seen[EACH] = {0};
    siginfo_t info;
    block_signal(SIGRTMIN + 3);
    __atomic_store_n(&ids[me], thread_id(), __ATOMIC_SEQ_CST);
    for (int have = 0; have < EACH; have++) {
        CHECK(take_signal(SIGRTMIN + 3, &info) > 0, "thread %d: %d of %d came", (int)me, have, EACH);
        int i = info.si_value.sival_int;
        CHECK(i % THREADS == me && i / THREADS < EACH && !seen[i / THREADS], "thread %d got request %d", (int)me, i);
        CHECK(info.si_code == SI_ASYNCIO && info.si_pid == getpid(), "code %d", info.si_code);
        CHECK_EQ(aio_error(&cb[i]), 0);
        seen[i / THREADS] = 1;
    }
    return NULL;
}
static void signals_to_threads(void)
{
    pthread_t thread[THREADS];
    file = temp_file(ON_TMPFS, MOST, 1, 0);
    block_signal(SIGRTMIN + 3);
    if (geteuid() == 0) {
        become_own_user();
        set_limit(RLIMIT_SIGPENDING, 32);
    }
    for (intptr_t i = 0; i < THREADS; i++)
        thread[i] = start_thread(receive_own, (void *)i);
    for (int i = 0; i < THREADS; i++)
        WAIT_FOR(__atomic_load_n(&ids[i], __ATOMIC_SEQ_CST) != 0);
    for (int i = 0; i < THREADS * EACH; i++)
        submit(i, SIGEV_THREAD_ID, SIGRTMIN + 3, ids[i % THREADS]);
    for (int i = 0; i < THREADS; i++)
        join_thread(thread[i]);
}
CASE(39, signals_go_to_the_thread_that_is_named, SHIM_ONLY, 60) { signals_to_threads(); }

/* It is gone when the time comes: nobody gets the signal, nothing else is held up. */
static void *only_an_id(void *unused)
{
    (void)unused;
    return (void *)(intptr_t)thread_id();
}
CASE(39, signals_to_a_thread_that_is_gone_hold_up_nothing, SHIM_ONLY, 60)
{
    siginfo_t info;
    file = temp_file(ON_TMPFS, MOST, 1, 0);
    pid_t gone = (pid_t)(intptr_t)join_thread(start_thread(only_an_id, NULL));
    block_signal(SIGRTMIN + 4);
    for (int i = 0; i < 100; i++) {
        if (i % 2)
            submit(i, SIGEV_SIGNAL, SIGRTMIN + 4, 0);
        else
            submit(i, SIGEV_THREAD_ID, SIGRTMIN + 5, gone);
    }
    for (int i = 0; i < 50; i++)
        CHECK(take_signal(SIGRTMIN + 4, &info) > 0, "%d of 50 came", i);
    for (int i = 0; i < 100; i++)
        CHECK_DONE(&cb[i], 1);
}

/* ---- eventfd ------------------------------------------------------------------------------------------------------ */

static uint64_t take_events(int events, uint64_t wanted)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    uint64_t sum = 0;
    SETUP(epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, events, &event) == 0);
    int64_t until = now_ns() + patience_ns();
    while (sum < wanted) {
        uint64_t part = 0;
        int ready = epoll_wait(epoll, &event, 1, 100);
        CHECK(ready >= 0, "epoll_wait: errno %d", errno);
        if (ready == 1 && read(events, &part, sizeof part) == sizeof part)
            sum += part;
        CHECK(now_ns() < until, "%llu of %llu events came", (unsigned long long)sum, (unsigned long long)wanted);
    }
    close(epoll);
    return sum;
}
static void events_for_each(int flags)
{
    int events = eventfd(0, EFD_CLOEXEC | flags);
    file = temp_file(ON_DISK, MOST, 1, 0);
    for (int i = 0; i < MOST; i++)
        submit(i, SIGEV_AIO_SHIM_EVENTFD, events, 0);
    if (flags & EFD_SEMAPHORE) {
        CHECK_EQ(take_events(events, MOST), MOST);
    } else {
        CHECK_EQ(take_events(events, MOST), MOST);
    }
    for (int i = 0; i < MOST; i++)
        CHECK(aio_error(&cb[i]) == 0, "request %d is not done though its event is there", i);
    settle();
    struct pollfd more = {.fd = events, .events = POLLIN};
    CHECK(poll(&more, 1, 0) == 0, "an event too many");
}
CASE(39, an_eventfd_counts_each_completion, SHIM_ONLY, 60) { events_for_each(0); }
CASE(39, a_nonblocking_eventfd_counts_each_completion, SHIM_ONLY, 60) { events_for_each(EFD_NONBLOCK); }
CASE(39, a_semaphore_eventfd_counts_each_completion, SHIM_ONLY, 60) { events_for_each(EFD_SEMAPHORE); }

CASE(39, an_eventfd_for_lists_and_cancelled_requests, SHIM_ONLY, 60)
{
    int events = eventfd(0, EFD_CLOEXEC);
    static struct aiocb *list[100][4];
    struct ends ends = open_stream(PIPE);
    struct sigevent when;
    memset(&when, 0, sizeof when);
    when.sigev_notify = SIGEV_AIO_SHIM_EVENTFD, when.sigev_signo = events;
    file = temp_file(ON_DISK, MOST, 1, 0);
    for (int i = 0; i < 100; i++) {
        for (int k = 0; k < 4; k++) {
            cb[i * 4 + k] = request(file, &data[i * 4 + k], 1, i * 4 + k);
            cb[i * 4 + k].aio_lio_opcode = LIO_READ;
            list[i][k] = &cb[i * 4 + k];
        }
        CHECK_EQ(lio_listio(LIO_NOWAIT, list[i], 4, &when), 0);
    }
    CHECK_EQ(take_events(events, 100), 100);
    file = ends.reader;
    for (int i = 0; i < 50; i++)
        submit(i, SIGEV_AIO_SHIM_EVENTFD, events, 0);
    CHECK_EQ(aio_cancel(ends.reader, NULL), AIO_CANCELED);
    CHECK_EQ(take_events(events, 50), 50);
}

/* Its counter is at the top: what does not fit waits, blocking or not, and holds up no other notification. */
static void a_full_counter(int flags)
{
    int events = eventfd(0, EFD_CLOEXEC | flags);
    uint64_t top = UINT64_MAX - 1, found = 0;
    siginfo_t info;
    file = temp_file(ON_DISK, MOST, 1, 0);
    block_signal(SIGRTMIN + 4);
    SETUP(write(events, &top, sizeof top) == sizeof top);
    for (int i = 0; i < 20; i++)
        submit(i, SIGEV_AIO_SHIM_EVENTFD, events, 0);
    for (int i = 0; i < 20; i++)
        CHECK_DONE(&cb[i], 1);
    for (int i = 20; i < 40; i++)
        submit(i, SIGEV_SIGNAL, SIGRTMIN + 4, 0);
    for (int i = 20; i < 40; i++)
        CHECK(take_signal(SIGRTMIN + 4, &info) > 0, "%d of 20 came", i - 20);
    CHECK_EQ(read(events, &found, sizeof found), sizeof found);
    CHECK(found == top, "%llx", (unsigned long long)found);
    CHECK_EQ(take_events(events, 20), 20);
}
CASE(36, a_full_eventfd_loses_nothing, SHIM_ONLY, 60) { a_full_counter(EFD_NONBLOCK); }
CASE(36, a_full_blocking_eventfd_loses_nothing, SHIM_ONLY, 60) { a_full_counter(0); }

/* What is no eventfd, now or later, is not written to. */
CASE(39, an_eventfd_that_is_none_is_refused_or_left_alone, SHIM_ONLY, 60)
{
    struct ends ends = open_stream(PIPE), victim = open_stream(PIPE);
    siginfo_t info;
    char byte;
    block_signal(SIGRTMIN + 4);
    file = temp_file(ON_DISK, MOST, 1, 0);
    struct aiocb bad = request(file, &byte, 1, 0);
    bad.aio_sigevent.sigev_notify = SIGEV_AIO_SHIM_EVENTFD;
    bad.aio_sigevent.sigev_signo = -1;
    CHECK(aio_read(&bad) == -1 || wait_done(&bad) == 0);
    bad.aio_sigevent.sigev_signo = 9000;
    CHECK(aio_read(&bad) == -1 || wait_done(&bad) == 0);
    int events = eventfd(0, EFD_CLOEXEC);
    file = ends.reader;
    submit(0, SIGEV_AIO_SHIM_EVENTFD, events, 0);
    close(events);
    CHECK_EQ(dup(victim.writer), events); /* closed meanwhile, and the number is another's */
    feed(ends.writer, 1, 0, 1);
    CHECK_DONE(&cb[0], 1);
    submit(1, SIGEV_SIGNAL, SIGRTMIN + 4, 0);
    feed(ends.writer, 1, 0, 1);
    CHECK(take_signal(SIGRTMIN + 4, &info) > 0, "held up");
    settle();
    CHECK_EQ(readable_bytes(victim.reader), 0);
}
