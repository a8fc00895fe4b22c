/* notify_mixed.c - a hundred thousand notifications of all kinds beside each other, under limits that change by chance:
 * each exactly once. SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"

/* Blocked real-time signals, real-time signals with a handler, two standard signals with handlers, a standard signal that
 * is waited for, functions in threads, lists with any of them, and none. */
enum how { RT_WAITED, RT_HANDLED, USR1_HANDLED, IO_HANDLED, USR2_WAITED, CALLED, NOBODY, KINDS };
enum { MOST = 100000, LIST = 4 };
static struct aiocb cb[MOST];
static unsigned char data[MOST], wanted[MOST];
static _Atomic unsigned char taken[MOST];
static struct aiocb *lists[MOST][LIST];
static atomic_long received;
static atomic_bool over;
static int file;
static long expected;

/* Values 0.. are requests, MOST.. are the lists of which request value - MOST is the first. */
static unsigned char list_wanted[MOST];
static _Atomic unsigned char list_taken[MOST];

static void note(union sigval value)
{
    intptr_t i = (intptr_t)value.sival_ptr;
    CHECK(i >= 0 && i < 2 * MOST, "value %ld", (long)i);
    if (i < MOST) {
        CHECK(wanted[i] && atomic_fetch_add(&taken[i], 1) == 0, "request %ld: wanted %d, taken %d", (long)i, wanted[i], taken[i]);
        CHECK(aio_error(&cb[i]) == 0, "request %ld: error %d", (long)i, aio_error(&cb[i]));
    } else {
        i -= MOST;
        CHECK(list_wanted[i] && atomic_fetch_add(&list_taken[i], 1) == 0, "list %ld: wanted %d, taken %d", (long)i, list_wanted[i], list_taken[i]);
        for (int k = 0; k < LIST; k++)
            CHECK_EQ(aio_error(&cb[i + k]), 0);
    }
    atomic_fetch_add(&received, 1);
}
static void handle(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)context;
    int saved = errno;
    CHECK(info->si_code == SI_ASYNCIO, "code %d", info->si_code);
    note(info->si_value);
    errno = saved;
}
static void *wait_for_signals(void *unused)
{
    (void)unused;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    sigaddset(&set, SIGRTMIN + 2);
    sigaddset(&set, SIGUSR2);
    while (!over) {
        siginfo_t info;
        struct timespec rest = {0, 20000000};
        if (sigtimedwait(&set, &info, &rest) > 0)
            note(info.si_value);
    }
    return NULL;
}
/* The limit only rises while requests are on the way: when it falls in the very moment in which a standard signal is
 * sent, the kernel drops that signal's value, and nobody can know. */
static pthread_mutex_t limit_lock = PTHREAD_MUTEX_INITIALIZER;
static int least_limit;
static void new_limit(int limit)
{
    pthread_mutex_lock(&limit_lock);
    least_limit = limit;
    set_limit(RLIMIT_SIGPENDING, (rlim_t)limit);
    pthread_mutex_unlock(&limit_lock);
}
static void *raise_limits(void *argument)
{
    uint64_t state = *(uint64_t *)argument;
    while (!over) {
        pthread_mutex_lock(&limit_lock);
        least_limit += (int)below(&state, 40);
        set_limit(RLIMIT_SIGPENDING, (rlim_t)least_limit);
        pthread_mutex_unlock(&limit_lock);
        sleep_ms((long)below(&state, 40));
    }
    return NULL;
}

static void choose(struct sigevent *event, uint64_t *state, intptr_t value, unsigned char *is_wanted)
{
    enum how how = (enum how)below(state, KINDS);
    memset(event, 0, sizeof *event);
    event->sigev_notify = how == NOBODY ? SIGEV_NONE : how == CALLED ? SIGEV_THREAD : SIGEV_SIGNAL;
    event->sigev_value.sival_ptr = (void *)value;
    switch (how) {
    case RT_WAITED: event->sigev_signo = SIGRTMIN + 1 + (int)(chance(state) & 1); break;
    case RT_HANDLED: event->sigev_signo = SIGRTMIN + 3; break;
    case USR1_HANDLED: event->sigev_signo = SIGUSR1; break;
    case IO_HANDLED: event->sigev_signo = SIGIO; break;
    case USR2_WAITED: event->sigev_signo = SIGUSR2; break;
    case CALLED: event->sigev_notify_function = note; break;
    default: break;
    }
    *is_wanted = how != NOBODY;
    expected += how != NOBODY;
}

static void wait_for_expected(uint64_t seed)
{
    long before = -1;
    while (received < expected) { /* as long as it moves */
        WAIT_FOR(received > before || received == expected, "seed %#llx: stopped at %ld of %ld notifications",
                 (unsigned long long)seed, before, expected);
        before = received;
    }
}

static void mixed(int requests, int chunk, bool limits)
{
    uint64_t seed = chance_seed(), state = seed, limit_state = seed + 1;
    pthread_t waiter, changer = 0;
    file = temp_file(ON_TMPFS, 4096, 9, 0);
    if (limits)
        become_own_user();
    const int waited[] = {SIGRTMIN + 1, SIGRTMIN + 2, SIGUSR2}, handled[] = {SIGRTMIN + 3, SIGUSR1, SIGIO};
    for (size_t i = 0; i < COUNT(waited); i++) {
        block_signal(waited[i]);
        on_signal(waited[i], handle, SA_RESTART); /* it may run in a notification function's thread: nothing is blocked there */
    }
    for (size_t i = 0; i < COUNT(handled); i++)
        on_signal(handled[i], handle, SA_RESTART);
    waiter = start_thread(wait_for_signals, NULL);
    if (limits)
        changer = start_thread(raise_limits, &limit_state);
    for (int i = 0, next_chunk = 0; i < requests;) {
        if (limits && i >= next_chunk) { /* all is quiet: another limit */
            static const int limit[] = {0, 1, 5, 20, 64, 300};
            wait_for_expected(seed);
            new_limit(limit[below(&state, COUNT(limit))]);
            next_chunk = i + chunk;
        }
        bool list = chance(&state) % 8 == 0 && i + LIST <= requests;
        int count = list ? LIST : 1;
        for (int k = 0; k < count; k++) {
            cb[i + k] = request(file, &data[i + k], 1, (i + k) % 4096);
            cb[i + k].aio_lio_opcode = LIO_READ;
            choose(&cb[i + k].aio_sigevent, &state, i + k, &wanted[i + k]);
            lists[i][k] = &cb[i + k];
        }
        if (list) {
            struct sigevent when;
            choose(&when, &state, MOST + i, &list_wanted[i]);
            CHECK(lio_listio(LIO_NOWAIT, lists[i], LIST, &when) == 0, "list at %d: errno %d", i, errno);
        } else {
            CHECK(aio_read(&cb[i]) == 0, "request %d: errno %d", i, errno);
        }
        i += count;
    }
    for (int i = 0; i < requests; i++) {
        CHECK_DONE(&cb[i], 1);
        CHECK_EQ(data[i], pattern_byte((size_t)i % 4096, 9));
    }
    wait_for_expected(seed);
    over = true;
    join_thread(waiter);
    if (limits)
        join_thread(changer);
    settle();
    CHECK_EQ(received, expected);
    for (int i = 0; i < requests; i++) {
        CHECK(taken[i] == wanted[i], "request %d: wanted %d, taken %d", i, wanted[i], taken[i]);
        CHECK(list_taken[i] == list_wanted[i], "list %d: wanted %d, taken %d", i, list_wanted[i], list_taken[i]);
    }
    fprintf(stderr, "%ld notifications\n", expected);
}
CASE(36, all_kinds_mixed, GLIBC_DEFECT, 120) { mixed(20000, 0, false); }
CASE(36, a_hundred_thousand_of_all_kinds_under_random_limits, GLIBC_DEFECT | NEEDS_ROOT, 240) { mixed(MOST, 10000, true); }
