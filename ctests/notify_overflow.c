/* notify_overflow.c - a full signal queue delays notifications of completions. It changes no result, loses none and sends
 * none twice, and each signal's notifications arrive in the order of completion.
 * The limit counts per user: each case is a user of its own. SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"

enum { REQUESTS = 2000, LIMIT = 64, FIRST = 8, SIGNALS = 4 };

/* Two thousand one-byte reads of one pipe: they are served, and so completed, in call order. */
static struct ends ends;
static struct aiocb cb[REQUESTS];
static unsigned char data[REQUESTS];
static int taken[REQUESTS], last_of_signal[SIGNALS];

static int signal_number(int i) { return SIGRTMIN + FIRST + i; }

/* `signals` of them take turns. All requests are completed when this returns. */
static void complete_all(int signals)
{
    ends = open_stream(PIPE);
    for (int i = 0; i < REQUESTS; i++) {
        cb[i] = request(ends.reader, &data[i], 1, 0);
        notify_by_signal(&cb[i], signal_number(i % signals), &cb[i]);
        CHECK(aio_read(&cb[i]) == 0, "request %d: errno %d", i, errno);
    }
    feed(ends.writer, REQUESTS, 0, 3);
    for (int i = 0; i < REQUESTS; i++)
        while (aio_error(&cb[i]) == EINPROGRESS)
            sched_yield();
}
static void check_results(void)
{
    for (int i = 0; i < REQUESTS; i++) {
        CHECK(aio_error(&cb[i]) == 0, "request %d: error %d", i, aio_error(&cb[i]));
        CHECK(aio_return(&cb[i]) == 1, "request %d: returns %zd", i, aio_return(&cb[i]));
        CHECK(data[i] == pattern_byte((size_t)i, 3), "request %d: data", i);
    }
}

/* One notification, wherever it was received. */
static void note(int signo, const siginfo_t *info)
{
    int which = (int)((struct aiocb *)info->si_value.sival_ptr - cb), kind = signo - signal_number(0);
    CHECK(which >= 0 && which < REQUESTS, "value %p", info->si_value.sival_ptr);
    CHECK(info->si_code == SI_ASYNCIO && info->si_pid == getpid() && info->si_uid == getuid(), "code %d pid %d uid %d", info->si_code,
          (int)info->si_pid, (int)info->si_uid);
    CHECK(aio_error(&cb[which]) == 0, "request %d: error %d when its notification is there", which, aio_error(&cb[which]));
    CHECK(++taken[which] == 1, "request %d was notified twice", which);
    CHECK(which >= last_of_signal[kind], "request %d after %d: not in the order of completion", which, last_of_signal[kind]);
    last_of_signal[kind] = which;
}
static void collect(int signals, int wanted)
{
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < signals; i++)
        sigaddset(&set, signal_number(i));
    int64_t until = now_ns() + patience_ns();
    for (int have = 0; have < wanted;) {
        siginfo_t info;
        struct timespec rest = {0, 50000000};
        int signo = sigtimedwait(&set, &info, &rest);
        if (signo > 0) {
            note(signo, &info);
            have++;
        }
        CHECK(now_ns() < until, "%d of %d notifications came", have, wanted);
    }
}
static void none_left(int signals)
{
    sigset_t set;
    siginfo_t info;
    struct timespec rest = {0, 30000000};
    sigemptyset(&set);
    for (int i = 0; i < signals; i++)
        sigaddset(&set, signal_number(i));
    CHECK(sigtimedwait(&set, &info, &rest) == -1, "a notification too many");
}
static void block_all(int signals)
{
    for (int i = 0; i < signals; i++)
        block_signal(signal_number(i));
}

CASE(36, two_thousand_by_one_blocked_signal, GLIBC_DEFECT | NEEDS_ROOT, 60)
{
    become_own_user();
    set_limit(RLIMIT_SIGPENDING, LIMIT);
    block_all(1);
    complete_all(1);
    check_results();
    collect(1, REQUESTS);
    none_left(1);
    check_results();
}
/* Collected while they complete, so that the queue fills and empties all the time. */
static void *collect_meanwhile(void *unused)
{
    (void)unused;
    collect(1, REQUESTS);
    return NULL;
}
CASE(36, two_thousand_collected_meanwhile, GLIBC_RACY | NEEDS_ROOT, 60)
{
    become_own_user();
    set_limit(RLIMIT_SIGPENDING, 4);
    block_all(1);
    pthread_t thread = start_thread(collect_meanwhile, NULL);
    complete_all(1);
    join_thread(thread);
    none_left(1);
    check_results();
}
CASE(36, two_thousand_over_four_signals, GLIBC_DEFECT | NEEDS_ROOT, 60)
{
    become_own_user();
    set_limit(RLIMIT_SIGPENDING, LIMIT);
    block_all(SIGNALS);
    complete_all(SIGNALS);
    check_results();
    collect(SIGNALS, REQUESTS);
    none_left(SIGNALS);
}

static atomic_int runs;
static void note_in_handler(int signo, siginfo_t *info, void *context)
{
    (void)context;
    int saved = errno;
    note(signo, info);
    atomic_fetch_add(&runs, 1);
    errno = saved;
}
CASE(36, two_thousand_by_handler, GLIBC_DEFECT | NEEDS_ROOT, 60)
{
    become_own_user();
    set_limit(RLIMIT_SIGPENDING, LIMIT);
    on_signal(signal_number(0), note_in_handler, SA_RESTART);
    block_all(1); /* at first, so that the queue is full when the handler may run */
    complete_all(1);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal_number(0));
    SETUP(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0);
    WAIT_FOR(runs == REQUESTS, "%d of %d", runs, REQUESTS);
    settle();
    CHECK_EQ(runs, REQUESTS);
    check_results();
}

/* No slot at all, then some, then none, and in the end enough. */
CASE(36, no_slot_at_times, GLIBC_DEFECT | NEEDS_ROOT, 60)
{
    become_own_user();
    struct rlimit all;
    SETUP(getrlimit(RLIMIT_SIGPENDING, &all) == 0);
    set_limit(RLIMIT_SIGPENDING, 0);
    block_all(2);
    complete_all(2);
    check_results();
    none_left(2);
    set_limit(RLIMIT_SIGPENDING, 10);
    collect(2, 300);
    set_limit(RLIMIT_SIGPENDING, 0);
    settle();
    set_limit(RLIMIT_SIGPENDING, 1);
    collect(2, 300);
    set_limit(RLIMIT_SIGPENDING, all.rlim_cur);
    collect(2, REQUESTS - 600);
    none_left(2);
    check_results();
}

/* Another process of the same user takes all the slots, and gives them back some time. */
CASE(36, another_process_fills_the_queue, GLIBC_DEFECT | NEEDS_ROOT | NO_VALGRIND, 60)
{
    become_own_user();
    set_limit(RLIMIT_SIGPENDING, LIMIT);
    volatile int *step = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    SETUP(step != MAP_FAILED);
    pid_t other = fork();
    if (other == 0) {
        union sigval none = {.sival_int = 0};
        siginfo_t info;
        block_signal(SIGRTMIN + 1);
        while (sigqueue(getpid(), SIGRTMIN + 1, none) == 0) { }
        if (errno != EAGAIN)
            _exit(1);
        *step = 1;
        while (*step == 1)
            sleep_ms(1);
        for (int i = 0; i < LIMIT / 2; i++) /* half of them come back */
            take_signal(SIGRTMIN + 1, &info);
        while (*step == 2)
            sleep_ms(1);
        _exit(0); /* and all */
    }
    WAIT_FOR(*step == 1);
    block_all(1);
    complete_all(1);
    check_results();
    none_left(1);
    *step = 2;
    collect(1, REQUESTS / 2);
    *step = 3;
    collect(1, REQUESTS - REQUESTS / 2);
    none_left(1);
    CHECK_EQ(wait_child(other, "the other process"), 0);
    check_results();
}

/* Lists: each element's own notification, and the list's behind the last of them. */
CASE(36, lists_under_a_full_queue, GLIBC_DEFECT | NEEDS_ROOT, 60)
{
    enum { LISTS = 500, EACH = 4 };
    static struct aiocb *list[LISTS][EACH];
    static char list_taken[LISTS], own[LISTS];
    become_own_user();
    set_limit(RLIMIT_SIGPENDING, LIMIT);
    int file = temp_file(ON_TMPFS, REQUESTS, 3, 0);
    block_all(2);
    for (int i = 0; i < LISTS; i++) {
        struct sigevent when = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = signal_number(1), .sigev_value.sival_int = i};
        for (int k = 0; k < EACH; k++) {
            int n = i * EACH + k;
            cb[n] = request(file, &data[n], 1, n);
            cb[n].aio_lio_opcode = LIO_READ;
            if (k == 0)
                notify_by_signal(&cb[n], signal_number(0), &cb[n]);
            list[i][k] = &cb[n];
        }
        CHECK_EQ(lio_listio(LIO_NOWAIT, list[i], EACH, &when), 0);
    }
    for (int i = 0; i < REQUESTS; i++)
        CHECK_DONE(&cb[i], 1);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal_number(0));
    sigaddset(&set, signal_number(1));
    int64_t until = now_ns() + patience_ns();
    for (int have = 0; have < 2 * LISTS;) {
        siginfo_t info;
        struct timespec rest = {0, 50000000};
        int signo = sigtimedwait(&set, &info, &rest);
        CHECK(now_ns() < until, "%d of %d notifications came", have, 2 * LISTS);
        if (signo < 0)
            continue;
        have++;
        int which = signo == signal_number(1) ? info.si_value.sival_int : (int)((struct aiocb *)info.si_value.sival_ptr - cb) / EACH;
        char *seen = signo == signal_number(1) ? list_taken : own;
        CHECK(which >= 0 && which < LISTS && !seen[which], "signal %d for list %d", signo, which);
        seen[which] = 1;
    }
    none_left(2);
    check_results();
}

/* Cancelled under a full queue: their notifications come, too. */
CASE(36, cancelled_under_a_full_queue, GLIBC_DEFECT | NEEDS_ROOT, 60)
{
    become_own_user();
    set_limit(RLIMIT_SIGPENDING, 8);
    ends = open_stream(PIPE);
    block_all(1);
    for (int i = 0; i < 500; i++) {
        cb[i] = request(ends.reader, &data[i], 1, 0);
        notify_by_signal(&cb[i], signal_number(0), &cb[i]);
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    CHECK_EQ(aio_cancel(ends.reader, NULL), AIO_CANCELED);
    for (int have = 0; have < 500; have++) {
        siginfo_t info;
        CHECK(take_signal(signal_number(0), &info) > 0, "%d of 500 came", have);
        int which = (int)((struct aiocb *)info.si_value.sival_ptr - cb);
        CHECK(which >= 0 && which < 500 && ++taken[which] == 1 && aio_error(&cb[which]) == ECANCELED, "%d", which);
    }
    none_left(1);
}

/* Signals that nobody ever takes keep no other waiting while slots are left, and do not keep the process from its end. */
CASE(36, signals_nobody_takes_hold_up_no_other, GLIBC_RACY | NEEDS_ROOT | NO_VALGRIND, 60)
{
    enum { STANDARD = 300, NEVER = 30, TAKEN = 300 };
    become_own_user();
    set_limit(RLIMIT_SIGPENDING, LIMIT);
    int file = temp_file(ON_TMPFS, REQUESTS, 3, 0);
    pid_t child = fork();
    if (child == 0) {
        block_all(2);
        block_signal(SIGUSR1);
        for (int i = 0; i < STANDARD + NEVER + TAKEN; i++) {
            cb[i] = request(file, &data[i], 1, i);
            notify_by_signal(&cb[i], i < STANDARD ? SIGUSR1 : signal_number(i < STANDARD + NEVER ? 1 : 0), &cb[i]);
            CHECK_EQ(aio_read(&cb[i]), 0);
        }
        for (int have = 0; have < TAKEN; have++) {
            siginfo_t info;
            CHECK(take_signal(signal_number(0), &info) > 0, "%d of %d came", have, TAKEN);
        }
        exit(0);
    }
    CHECK_EQ(wait_child(child, "with notifications waiting"), 0);
}
