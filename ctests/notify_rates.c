/* notify_rates.c - how many notifications a second, side by side with glibc in one run: only ratios are judged.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"

/* One measurement runs in a process of its own, with the library or without it, and prints its rate. */
enum { LEAST_ROUNDS = 5, MOST_ROUNDS = 31, DEPTH = 64 };

static struct aiocb cb[DEPTH];
static unsigned char data[DEPTH][16];
static atomic_long count;

static void submit(int file, int i, const char *how)
{
    cb[i] = request(file, data[i], sizeof data[i], i * 16);
    if (strcmp(how, "plain") != 0) {
        notify_by_signal(&cb[i], SIGRTMIN + 1, NULL);
        cb[i].aio_sigevent.sigev_value.sival_int = i;
    }
    SETUP(aio_write(&cb[i]) == 0); /* a write: it goes through the engine, whatever else is clever about reads */
}

static long measure_signals(int file, int64_t until)
{
    sigset_t set;
    long taken = 0;
    block_signal(SIGRTMIN + 1);
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    for (int i = 0; i < DEPTH; i++)
        submit(file, i, "rt");
    while (now_ns() < until) {
        siginfo_t info;
        if (sigwaitinfo(&set, &info) != SIGRTMIN + 1)
            continue;
        SETUP(aio_error(&cb[info.si_value.sival_int]) == 0);
        submit(file, info.si_value.sival_int, "rt");
        taken++;
    }
    return taken;
}
/* With a signal that the program ignores, or none: the program does the same in both, so the difference is the library's. */
static long measure_completions(int file, int64_t until, const char *how)
{
    const struct aiocb *awaited[DEPTH];
    long done = 0;
    signal(SIGRTMIN + 1, SIG_IGN);
    for (int i = 0; i < DEPTH; i++) {
        submit(file, i, how);
        awaited[i] = &cb[i];
    }
    while (now_ns() < until) {
        SETUP(aio_suspend(awaited, DEPTH, NULL) == 0);
        for (int i = 0; i < DEPTH; i++)
            if (aio_error(&cb[i]) != EINPROGRESS) {
                submit(file, i, how);
                done++;
            }
    }
    return done;
}
static int call_file;
static int64_t call_until;
static void called(union sigval value)
{
    int i = value.sival_int;
    atomic_fetch_add(&count, 1);
    if (now_ns() < call_until) {
        cb[i] = request(call_file, data[i], 16, i * 16);
        notify_by_thread(&cb[i], called, NULL);
        cb[i].aio_sigevent.sigev_value.sival_int = i;
        SETUP(aio_write(&cb[i]) == 0);
    }
}
static long measure_calls(int file, int64_t until)
{
    call_file = file, call_until = until;
    for (int i = 0; i < DEPTH; i++)
        called((union sigval){.sival_int = i});
    while (now_ns() < until)
        sleep_ms(5);
    long calls = count - DEPTH;
    sleep_ms(50);
    return calls;
}

static double rate(const char *what, bool with_library)
{
    char number[32];
    int fds[2];
    SETUP(pipe(fds) == 0);
    pid_t child = fork();
    if (child == 0) {
        snprintf(number, sizeof number, "%d", fds[1]);
        setenv("AIO_TEST_RATE", what, 1);
        setenv("AIO_TEST_RATE_TO", number, 1);
        if (!with_library) {
            setenv("AIO_TEST_BACKEND", "glibc", 1);
            unsetenv("LD_PRELOAD");
        }
        execl("/proc/self/exe", "case", "measure", (char *)NULL);
        _exit(99);
    }
    close(fds[1]);
    double result = 0;
    SETUP(read(fds[0], &result, sizeof result) == sizeof result && result > 0, "%s", what);
    close(fds[0]);
    CHECK_EQ(wait_child(child, what), 0);
    return result;
}
CASE(36, measure, SHIM_ONLY, 20) /* the inner half; by itself it shows nothing */
{
    const char *what = getenv("AIO_TEST_RATE"), *to = getenv("AIO_TEST_RATE_TO");
    if (!what)
        return;
    int file = temp_file(ON_DISK, 4096, 1, 0);
    int64_t begin = now_ns(), until = begin + 250000000;
    long done = strcmp(what, "rt") == 0 ? measure_signals(file, until)
                : strcmp(what, "thread") == 0 ? measure_calls(file, until) : measure_completions(file, until, what);
    double result = (double)done / ((double)(now_ns() - begin) / 1e9);
    SETUP(write(atoi(to), &result, sizeof result) == sizeof result);
    _exit(0);
}

static int by_size(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return left < right ? -1 : left > right;
}
/* The median of the ratios of neighbours: what both suffer from, neither is blamed for. On a busy machine more rounds are
 * taken before it is called too low. */
static void compare(const char *mine, bool mine_library, const char *other, bool other_library, double least, const char *claim)
{
    double ratio[MOST_ROUNDS], median = 0;
    int rounds = 0;
    while (rounds < MOST_ROUNDS && (rounds < LEAST_ROUNDS || rounds % 2 == 0 || median < least)) {
        double left, right;
        if (rounds % 2) {
            left = rate(mine, mine_library);
            right = rate(other, other_library);
        } else {
            right = rate(other, other_library);
            left = rate(mine, mine_library);
        }
        ratio[rounds++] = left / right;
        qsort(ratio, (size_t)rounds, sizeof ratio[0], by_size);
        median = ratio[rounds / 2];
    }
    fprintf(stderr, "%s: ratio %.2f (%.2f to %.2f)\n", claim, median, ratio[0], ratio[rounds - 1]);
    CHECK(median >= least, "%s: ratio %.2f (%.2f to %.2f in %d rounds), at least %.2f", claim, median, ratio[0], ratio[rounds - 1],
          rounds, least);
}
CASE(36, real_time_signals_as_fast_as_glibcs, SHIM_ONLY | ALONE | NO_VALGRIND, 60)
{
    compare("rt", true, "rt", false, 1.0, "real-time signals a second against glibc");
}
CASE(38, calls_five_times_as_fast_as_glibcs, SHIM_ONLY | ALONE | NO_VALGRIND, 60)
{
    compare("thread", true, "thread", false, 5.0, "calls a second against glibc");
}
CASE(36, notification_costs_the_engine_little, SHIM_ONLY | ALONE | NO_VALGRIND, 60)
{
    /* The goal is 0.8, with a processor free for the notifier: make bench tells. Here it may have none. */
    compare("ignored", true, "plain", true, 0.4, "completions a second with notification against without");
}
