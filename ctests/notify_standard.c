/* notify_standard.c - standard signals, which the kernel merges: each completion gets its own delivery, with its value.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"

enum { MOST = 1000 };
static struct aiocb cb[MOST];
static unsigned char data[MOST];
static int taken[MOST];
static atomic_int runs;
static long handler_rest;
static int file;

static void note(int signo, siginfo_t *info, void *context)
{
    (void)context;
    int saved = errno;
    int which = (int)((struct aiocb *)info->si_value.sival_ptr - cb);
    CHECK(which >= 0 && which < MOST, "signal %d with value %p", signo, info->si_value.sival_ptr);
    CHECK(info->si_code == SI_ASYNCIO && info->si_pid == getpid() && info->si_uid == getuid(), "code %d", info->si_code);
    CHECK(signo == cb[which].aio_sigevent.sigev_signo, "request %d: signal %d", which, signo);
    CHECK(aio_error(&cb[which]) == 0, "request %d: error %d in its handler", which, aio_error(&cb[which]));
    CHECK(++taken[which] == 1, "request %d was notified twice", which);
    if (handler_rest)
        nanosleep(&(struct timespec){0, handler_rest}, NULL);
    atomic_fetch_add(&runs, 1);
    errno = saved;
}

static void submit(int count, int first_signal, int second_signal)
{
    file = temp_file(ON_TMPFS, MOST, 9, 0);
    for (int i = 0; i < count; i++) {
        cb[i] = request(file, &data[i], 1, i);
        notify_by_signal(&cb[i], i % 2 ? second_signal : first_signal, &cb[i]);
        CHECK(aio_read(&cb[i]) == 0, "request %d: errno %d", i, errno);
    }
}
static void all_came(int count)
{
    WAIT_FOR(runs == count, "%d of %d handler runs", runs, count);
    for (int i = 0; i < count; i++) {
        CHECK_DONE(&cb[i], 1);
        CHECK_EQ(data[i], pattern_byte((size_t)i, 9));
        CHECK_EQ(taken[i], 1);
    }
    settle();
    CHECK_EQ(runs, count);
}
static void unblock(int signo)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    SETUP(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0);
}

CASE(36, a_thousand_requests_a_thousand_handler_runs, GLIBC_DEFECT, 60)
{
    on_signal(SIGUSR1, note, SA_RESTART);
    submit(1000, SIGUSR1, SIGUSR1);
    all_came(1000);
}
CASE(36, a_standard_signal_blocked_in_between, GLIBC_DEFECT, 60)
{
    on_signal(SIGUSR1, note, SA_RESTART);
    block_signal(SIGUSR1);
    submit(1000, SIGUSR1, SIGUSR1);
    sleep_ms(1000);
    CHECK_EQ(runs, 0);
    unblock(SIGUSR1);
    all_came(1000);
}
CASE(36, a_slow_handler_of_a_standard_signal, GLIBC_DEFECT, 60)
{
    handler_rest = 2000000;
    on_signal(SIGUSR2, note, SA_RESTART);
    submit(300, SIGUSR2, SIGUSR2);
    all_came(300);
}
CASE(36, two_standard_signals_at_once, GLIBC_DEFECT, 60)
{
    on_signal(SIGUSR1, note, SA_RESTART);
    on_signal(SIGIO, note, SA_RESTART);
    block_signal(SIGUSR1);
    submit(1000, SIGUSR1, SIGIO);
    WAIT_FOR(runs == 500, "%d of 500 runs of the one that is not blocked", runs);
    unblock(SIGUSR1);
    all_came(1000);
}
/* Handlers in any of several threads. */
static atomic_bool idlers_over;
static void *idle(void *unused)
{
    (void)unused;
    while (!idlers_over)
        sleep_ms(1);
    return NULL;
}
CASE(36, a_standard_signal_with_several_threads, GLIBC_DEFECT, 60)
{
    pthread_t thread[3];
    on_signal(SIGUSR1, note, SA_RESTART);
    for (int i = 0; i < 3; i++)
        thread[i] = start_thread(idle, NULL);
    block_signal(SIGUSR1); /* in main only */
    submit(1000, SIGUSR1, SIGUSR1);
    all_came(1000);
    idlers_over = true;
    for (int i = 0; i < 3; i++)
        join_thread(thread[i]);
}
/* Taken by sigwaitinfo and by signalfd. */
CASE(36, a_standard_signal_taken_by_sigwaitinfo, GLIBC_DEFECT, 60)
{
    siginfo_t info;
    block_signal(SIGUSR1);
    submit(500, SIGUSR1, SIGUSR1);
    for (int i = 0; i < 500; i++) {
        CHECK(take_signal(SIGUSR1, &info) == SIGUSR1, "%d of 500 came", i);
        note(SIGUSR1, &info, NULL);
    }
    all_came(500);
}
/* As lists. */
static int list_taken[200];
static atomic_int list_runs;
static void note_list(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)context;
    int which = info->si_value.sival_int;
    CHECK(which >= 0 && which < 200 && ++list_taken[which] == 1, "list %d", which);
    for (int k = 0; k < 5; k++)
        CHECK_EQ(aio_error(&cb[which * 5 + k]), 0);
    atomic_fetch_add(&list_runs, 1);
}
CASE(36, lists_by_a_standard_signal, GLIBC_DEFECT, 60)
{
    static struct aiocb *list[200][5];
    file = temp_file(ON_DISK, MOST, 9, 0);
    on_signal(SIGUSR1, note_list, SA_RESTART);
    for (int i = 0; i < 200; i++) {
        struct sigevent when = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = i};
        for (int k = 0; k < 5; k++) {
            int n = i * 5 + k;
            cb[n] = request(file, &data[n], 1, n);
            cb[n].aio_lio_opcode = LIO_READ;
            list[i][k] = &cb[n];
        }
        CHECK_EQ(lio_listio(LIO_NOWAIT, list[i], 5, &when), 0);
    }
    WAIT_FOR(list_runs == 200, "%d of 200 lists", list_runs);
}

/* At the limit the kernel takes a standard signal and drops its value without a word: not this one's. */
CASE(36, standard_signals_keep_their_value_under_a_full_queue, GLIBC_DEFECT | NEEDS_ROOT, 60)
{
    become_own_user();
    set_limit(RLIMIT_SIGPENDING, 8);
    union sigval none = {.sival_int = 0};
    siginfo_t info;
    int filler = 0;
    block_signal(SIGRTMIN + 1);
    while (sigqueue(getpid(), SIGRTMIN + 1, none) == 0)
        filler++;
    CHECK(errno == EAGAIN && filler == 8, "%d queued, errno %d", filler, errno);
    on_signal(SIGUSR1, note, SA_RESTART);
    submit(200, SIGUSR1, SIGUSR1);
    for (int i = 0; i < 200; i++)
        CHECK_DONE(&cb[i], 1);
    settle();
    CHECK_EQ(runs, 0); /* there is no slot for a value: it waits */
    for (int i = 0; i < filler; i++)
        CHECK(take_signal(SIGRTMIN + 1, &info) > 0);
    all_came(200);
}

/* Ignored signals vanish, as they do; they stop nothing else. */
CASE(36, ignored_signals_hold_up_nothing, GLIBC_DEFECT, 60)
{
    file = temp_file(ON_DISK, MOST, 9, 0);
    signal(SIGUSR2, SIG_IGN);
    signal(SIGRTMIN + 2, SIG_IGN);
    on_signal(SIGUSR1, note, SA_RESTART);
    static const int kinds[4] = {SIGUSR2, SIGCHLD, 0, SIGUSR1}; /* SIGCHLD's default is to be ignored */
    for (int i = 0; i < 1000; i++) {
        cb[i] = request(file, &data[i], 1, i);
        notify_by_signal(&cb[i], i % 4 == 2 ? SIGRTMIN + 2 : kinds[i % 4], &cb[i]);
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    WAIT_FOR(runs == 250, "%d of 250 runs", runs);
    for (int i = 0; i < 1000; i++)
        CHECK_DONE(&cb[i], 1);
}

/* ---- chains ------------------------------------------------------------------------------------------------ */

/* Each handler run submits the next request. */
enum { CHAIN = 10000 };
static struct aiocb chain;
static atomic_int links;
static void next_link(int signo, siginfo_t *info, void *context)
{
    (void)info, (void)context;
    int saved = errno;
    CHECK_EQ(aio_error(&chain), 0);
    CHECK_EQ(aio_return(&chain), 1);
    if (atomic_fetch_add(&links, 1) + 1 < CHAIN) {
        chain = request(file, &data[links % MOST], 1, links % MOST);
        notify_by_signal(&chain, signo, &chain);
        CHECK_EQ(links % 2 ? aio_read(&chain) : aio_write(&chain), 0);
    }
    errno = saved;
}
static void run_chain(int signo)
{
    file = temp_file(ON_TMPFS, MOST, 9, 0);
    on_signal(signo, next_link, 0);
    chain = request(file, &data[0], 1, 0);
    notify_by_signal(&chain, signo, &chain);
    CHECK_EQ(aio_read(&chain), 0);
    int seen = -1;
    while (links < CHAIN) { /* no limit of time as long as it moves */
        WAIT_FOR(links > seen, "stopped at link %d", seen);
        seen = links;
    }
    CHECK_EQ(links, CHAIN);
}
CASE(40, ten_thousand_links_by_a_standard_signal, GLIBC_RACY, 60) { run_chain(SIGUSR1); }
CASE(40, ten_thousand_links_by_a_real_time_signal, GLIBC_RACY, 60) { run_chain(SIGRTMIN + 4); }
