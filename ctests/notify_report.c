/* notify_report.c - an overflow is reported: counters, a signal, a line; a program that never looks loses nothing.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"

#include <aio_shim.h>

enum { MOST = 2000, LIMIT = 64 };
static struct aiocb cb[MOST];
static unsigned char data[MOST];
static int file;

static struct aio_shim_overflow overflow(void)
{
    static int (*ask)(struct aio_shim_overflow *, size_t);
    struct aio_shim_overflow now;
    if (!ask)
        ask = (int (*)(struct aio_shim_overflow *, size_t))extension("aio_shim_overflow");
    CHECK(ask != NULL, "no aio_shim_overflow");
    memset(&now, 0xff, sizeof now);
    CHECK_EQ(ask(&now, sizeof now), 0);
    return now;
}
static int set_signal(int signo)
{
    int (*set)(int) = (int (*)(int))extension("aio_shim_set_overflow_signal");
    CHECK(set != NULL, "no aio_shim_set_overflow_signal");
    return set(signo);
}

static void complete(int count, int signo, int same_value)
{
    for (int i = 0; i < count; i++) {
        cb[i] = request(file, &data[i], 1, i);
        notify_by_signal(&cb[i], signo, NULL);
        cb[i].aio_sigevent.sigev_value.sival_int = same_value ? 7 : i;
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    for (int i = 0; i < count; i++)
        CHECK_DONE(&cb[i], 1);
}
/* Completes `count` requests that notify by a blocked signal, and waits until every one that does not fit the limit is
 * waiting: whoever collects before that keeps the queue below the limit, and nothing overflows. */
static void overrun(int count)
{
    complete(count, SIGRTMIN + 2, 0);
    WAIT_FOR(overflow().waiting == (uint64_t)count - LIMIT, "%llu wait", (unsigned long long)overflow().waiting);
}
static void collect(int signo, int count)
{
    siginfo_t info;
    for (int i = 0; i < count; i++)
        CHECK(take_signal(signo, &info) == signo, "%d of %d came", i, count);
}
static void limited_user(void)
{
    file = temp_file(ON_TMPFS, MOST, 2, 0);
    become_own_user();
    set_limit(RLIMIT_SIGPENDING, LIMIT);
    block_signal(SIGRTMIN + 2);
}

/* ---- counters --------------------------------------------------------------------------------------------------- */

CASE(37, counters_are_exact, SHIM_ONLY | NEEDS_ROOT, 60)
{
    limited_user();
    struct aio_shim_overflow now = overflow();
    CHECK(now.sent == 0 && now.deferred == 0 && now.waiting == 0 && now.episodes == 0, "before the first request");
    complete(10, SIGRTMIN + 2, 0);
    collect(SIGRTMIN + 2, 10);
    WAIT_FOR(overflow().sent == 10);
    CHECK(overflow().deferred == 0 && overflow().episodes == 0);
    for (int episode = 1; episode <= 3; episode++) {
        uint64_t before = overflow().sent;
        overrun(MOST);
        now = overflow();
        CHECK_EQ(now.sent, before + LIMIT);
        CHECK_EQ(now.deferred, (uint64_t)episode * (MOST - LIMIT));
        CHECK_EQ(now.late, (uint64_t)(episode - 1) * (MOST - LIMIT));
        CHECK_EQ(now.episodes, episode);
        CHECK_EQ(now.peak_waiting, MOST - LIMIT);
        CHECK_EQ(now.kind[AIO_SHIM_KIND_RT].waiting, MOST - LIMIT);
        settle();
        collect(SIGRTMIN + 2, MOST);
        WAIT_FOR(overflow().waiting == 0);
        now = overflow();
        CHECK_EQ(now.sent, before + MOST);
        CHECK_EQ(now.late, (uint64_t)episode * (MOST - LIMIT));
        CHECK_EQ(now.merged, 0);
        CHECK_EQ(now.kind[AIO_SHIM_KIND_RT].sent, now.sent);
        CHECK_EQ(now.kind[AIO_SHIM_KIND_RT].deferred, now.deferred);
        CHECK_EQ(now.kind[AIO_SHIM_KIND_STANDARD].sent + now.kind[AIO_SHIM_KIND_THREAD].sent + now.kind[AIO_SHIM_KIND_LIST].sent, 0);
        CHECK(now.longest_delay_ns >= 20000000 && now.longest_delay_ns < 3600000000000u, "%llu ns", (unsigned long long)now.longest_delay_ns);
    }
}

static void no_op(int signo, siginfo_t *info, void *context) { (void)signo, (void)info, (void)context; }
static atomic_int called;
static void count_call(union sigval value)
{
    (void)value;
    atomic_fetch_add(&called, 1);
}
CASE(37, counters_by_kind, SHIM_ONLY, 60)
{
    struct aiocb *list[4] = {&cb[0], &cb[1], &cb[2], &cb[3]};
    struct sigevent when = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 2};
    file = temp_file(ON_TMPFS, MOST, 2, 0);
    block_signal(SIGRTMIN + 2);
    on_signal(SIGUSR1, no_op, SA_RESTART);
    complete(5, SIGRTMIN + 2, 0);
    collect(SIGRTMIN + 2, 5);
    complete(6, SIGUSR1, 0);
    for (int i = 0; i < 8; i++) {
        for (int k = 0; k < 4; k++) {
            cb[k] = request(file, &data[k], 1, k);
            cb[k].aio_lio_opcode = LIO_READ;
        }
        CHECK_EQ(lio_listio(LIO_NOWAIT, list, 4, &when), 0);
        collect(SIGRTMIN + 2, 1);
    }
    /* last: in a function's thread no signal is blocked */
    for (int i = 0; i < 7; i++) {
        cb[i] = request(file, &data[i], 1, i);
        notify_by_thread(&cb[i], count_call, NULL);
        CHECK_EQ(aio_read(&cb[i]), 0);
        CHECK_DONE(&cb[i], 1);
    }
    WAIT_FOR(called == 7);
    WAIT_FOR(overflow().sent == 5 + 6 + 7 + 8, "%llu", (unsigned long long)overflow().sent);
    struct aio_shim_overflow now = overflow();
    CHECK_EQ(now.kind[AIO_SHIM_KIND_RT].sent, 5);
    CHECK_EQ(now.kind[AIO_SHIM_KIND_STANDARD].sent, 6);
    CHECK_EQ(now.kind[AIO_SHIM_KIND_THREAD].sent, 7);
    CHECK_EQ(now.kind[AIO_SHIM_KIND_LIST].sent, 8);
    CHECK(now.episodes == 0 && now.waiting == 0);
}

/* The size that the caller knows is what is written. */
CASE(37, the_report_keeps_to_the_callers_size, SHIM_ONLY, 10)
{
    int (*ask)(struct aio_shim_overflow *, size_t) = (int (*)(struct aio_shim_overflow *, size_t))extension("aio_shim_overflow");
    unsigned char space[sizeof(struct aio_shim_overflow) + 64];
    CHECK(ask != NULL);
    CHECK_FAILS(ask(NULL, sizeof space), EINVAL);
    for (size_t size = 0; size <= sizeof space; size += 8) {
        memset(space, 0xaa, sizeof space);
        CHECK_EQ(ask((void *)space, size), 0);
        size_t written = size < sizeof(struct aio_shim_overflow) ? size : sizeof(struct aio_shim_overflow);
        for (size_t i = written; i < sizeof space; i++)
            CHECK(space[i] == 0xaa, "size %zu: byte %zu was written", size, i);
        for (size_t i = 0; i < written; i++)
            CHECK(space[i] == 0, "size %zu: byte %zu is %#x", size, i, space[i]);
    }
}

/* A standard signal that waits for its predecessor to be taken is deferred, but nothing overflowed. */
CASE(37, a_gated_signal_is_no_overflow, SHIM_ONLY, 60)
{
    file = temp_file(ON_TMPFS, MOST, 2, 0);
    on_signal(SIGUSR1, no_op, SA_RESTART);
    block_signal(SIGUSR1);
    complete(500, SIGUSR1, 0);
    WAIT_FOR(overflow().waiting == 499, "%llu wait", (unsigned long long)overflow().waiting);
    CHECK_EQ(overflow().episodes, 0);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    WAIT_FOR(overflow().waiting == 0);
    CHECK_EQ(overflow().episodes, 0);
    CHECK_EQ(overflow().kind[AIO_SHIM_KIND_STANDARD].late, 499);
}

/* ---- the overflow signal ------------------------------------------------------------------------------------------ */

static atomic_int overflow_runs;
static volatile sig_atomic_t overflow_seen;
static void on_overflow(int signo, siginfo_t *info, void *context)
{
    (void)info, (void)context;
    overflow_seen = signo;
    atomic_fetch_add(&overflow_runs, 1);
}
static void episodes(int count, int wanted_signal)
{
    for (int i = 0; i < count; i++) {
        overrun(300);
        if (wanted_signal) {
            WAIT_FOR(overflow_runs == i + 1, "episode %d: %d runs of the overflow signal", i, overflow_runs);
            CHECK_EQ(overflow_seen, wanted_signal);
        }
        collect(SIGRTMIN + 2, 300);
        WAIT_FOR(overflow().waiting == 0);
        settle(); /* the episode is over when the notifier has seen that nothing waits */
    }
    CHECK_EQ(overflow().episodes, count);
    CHECK_EQ(overflow_runs, wanted_signal ? count : 0);
}
CASE(37, sigio_tells_when_the_program_handles_it, SHIM_ONLY | NEEDS_ROOT, 60)
{
    limited_user();
    on_signal(SIGIO, on_overflow, SA_RESTART);
    episodes(3, SIGIO);
}
CASE(37, without_a_handler_no_sigio_is_raised, SHIM_ONLY | NEEDS_ROOT, 60)
{
    limited_user(); /* SIGIO's default would end the process */
    episodes(3, 0);
}
CASE(37, another_signal_by_the_environment, SHIM_ONLY | NEEDS_ROOT, 60)
{
    char number[16];
    snprintf(number, sizeof number, "%d", SIGUSR2);
    with_environment("AIO_SHIM_OVERFLOW_SIGNAL", number);
    limited_user();
    on_signal(SIGUSR2, on_overflow, SA_RESTART);
    on_signal(SIGIO, on_overflow, SA_RESTART);
    episodes(2, SIGUSR2);
}
CASE(37, none_by_the_environment, SHIM_ONLY | NEEDS_ROOT, 60)
{
    with_environment("AIO_SHIM_OVERFLOW_SIGNAL", "none");
    limited_user();
    on_signal(SIGIO, on_overflow, SA_RESTART);
    episodes(2, 0);
}
CASE(37, the_overflow_signal_is_set_by_a_call, SHIM_ONLY | NEEDS_ROOT, 60)
{
    limited_user();
    on_signal(SIGIO, on_overflow, SA_RESTART);
    on_signal(SIGURG, on_overflow, SA_RESTART);
    CHECK_EQ(set_signal(SIGURG), -1); /* auto */
    episodes(2, SIGURG);
    CHECK_EQ(set_signal(0), SIGURG);
    CHECK_EQ(set_signal(-1), 0);
    CHECK_EQ(set_signal(SIGURG), -1);
    errno = 0;
    CHECK(set_signal(65) == -2 && errno == EINVAL, "errno %d", errno);
    errno = 0;
    CHECK(set_signal(-2) == -2 && errno == EINVAL, "errno %d", errno);
    errno = 0;
    CHECK(set_signal(32) == -2 && errno == EINVAL, "errno %d", errno);
    CHECK_EQ(set_signal(0), SIGURG); /* the refused ones changed nothing */
}

/* ---- the line -------------------------------------------------------------------------------------------------------- */

CASE(37, verbose_says_one_line_an_episode, SHIM_ONLY | NEEDS_ROOT, 60)
{
    with_environment("AIO_SHIM_VERBOSE", "1");
    struct ends lines = open_stream(PIPE);
    int real = dup(2);
    limited_user();
    SETUP(dup2(lines.writer, 2) == 2);
    for (int i = 0; i < 3; i++) {
        overrun(300);
        collect(SIGRTMIN + 2, 300);
        WAIT_FOR(overflow().waiting == 0);
        sleep_ms(250); /* episodes that follow each other faster may share a line */
    }
    CHECK_EQ(overflow().episodes, 3);
    SETUP(dup2(real, 2) == 2);
    static char text[65536];
    int about = 0, bytes = readable_bytes(lines.reader);
    ssize_t got = bytes ? read(lines.reader, text, sizeof text - 1) : 0;
    CHECK(got > 0, "not a line");
    text[got] = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        CHECK(strncmp(line, "aio_shim:", 9) == 0, "%s", line);
        if (strstr(line, "RLIMIT_SIGPENDING")) {
            CHECK(strstr(line, "64") != NULL, "without the limit: %s", line);
            about++;
        }
    }
    CHECK(about == 3, "%d lines name RLIMIT_SIGPENDING", about);
}

/* ---- the cap ----------------------------------------------------------------------------------------------------------- */

static atomic_int equal_runs;
static void count_equal(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)context;
    CHECK_EQ(info->si_value.sival_int, 7);
    atomic_fetch_add(&equal_runs, 1);
}
CASE(37, beyond_the_cap_equal_notifications_merge_and_are_counted, SHIM_ONLY, 60)
{
    with_environment("AIO_SHIM_MAX_WAITING", "100");
    file = temp_file(ON_TMPFS, MOST, 2, 0);
    on_signal(SIGUSR1, count_equal, SA_RESTART);
    block_signal(SIGUSR1);
    complete(MOST, SIGUSR1, 1);
    WAIT_FOR(overflow().merged + overflow().waiting + 1 == MOST, "%llu merged, %llu waiting", (unsigned long long)overflow().merged,
             (unsigned long long)overflow().waiting);
    CHECK(overflow().waiting >= 100 && overflow().waiting <= 110, "%llu wait", (unsigned long long)overflow().waiting);
    CHECK_EQ(overflow().episodes, 1);
    uint64_t merged = overflow().merged;
    CHECK_EQ(overflow().kind[AIO_SHIM_KIND_STANDARD].merged, merged);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    WAIT_FOR(overflow().waiting == 0);
    WAIT_FOR((uint64_t)equal_runs + merged == MOST, "%d runs, %llu merged", equal_runs, (unsigned long long)merged);
}
static char seen[MOST];
static void note_value(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)context;
    int which = info->si_value.sival_int;
    CHECK(which >= 0 && which < MOST && !seen[which], "%d", which);
    seen[which] = 1;
    atomic_fetch_add(&equal_runs, 1);
}
CASE(37, beyond_the_cap_different_notifications_are_all_kept, SHIM_ONLY, 60)
{
    with_environment("AIO_SHIM_MAX_WAITING", "100");
    file = temp_file(ON_TMPFS, MOST, 2, 0);
    on_signal(SIGUSR1, note_value, SA_RESTART);
    block_signal(SIGUSR1);
    complete(MOST, SIGUSR1, 0);
    WAIT_FOR(overflow().waiting == MOST - 1);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    WAIT_FOR(equal_runs == MOST, "%d of %d", equal_runs, MOST);
    CHECK_EQ(overflow().merged, 0);
}
