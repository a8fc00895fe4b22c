/* process_fork.c - fork and its relatives, at any time and from any thread.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "exercise.h"
#include <spawn.h>

extern char **environ;

/* ---- children that use AIO themselves ------------------------------------------------------------------- */

typedef pid_t (*forker)(void);
static pid_t by_clone(void) { return (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL); }

static void a_child_by(forker make)
{
    struct kit kit = make_kit();
    struct ends waits = open_stream(PIPE);
    char byte;
    struct aiocb mine = request(waits.reader, &byte, 1, 0);
    CHECK_EQ(exercise(&kit, EXERCISE_PLAIN), 0);
    CHECK_EQ(aio_read(&mine), 0);
    for (int i = 0; i < 10; i++) {
        pid_t child = make();
        if (child == 0) {
            exercise(&kit, EXERCISE_PLAIN);
            _exit(0);
        }
        CHECK_EQ(wait_child(child, "child"), 0);
    }
    CHECK_EQ(aio_error(&mine), EINPROGRESS);
    write_all(waits.writer, "p", 1);
    CHECK_DONE(&mine, 1);
    CHECK_EQ(exercise(&kit, EXERCISE_PLAIN), 0);
}
CASE(41, a_child_of_fork_has_its_own_aio, GLIBC_DEFECT, 60) { a_child_by(fork); }
CASE(41, a_child_of_Fork_has_its_own_aio, GLIBC_DEFECT, 60) { a_child_by(_Fork); }
CASE(41, a_child_of_raw_clone_has_its_own_aio, GLIBC_DEFECT, 60) { a_child_by(by_clone); }

CASE(41, both_sides_of_a_fork_before_first_use, GLIBC_OK, 30)
{
    struct kit kit = make_kit(), other = make_kit();
    pid_t child = fork();
    if (child == 0) {
        exercise(&kit, EXERCISE_PLAIN);
        _exit(0);
    }
    exercise(&other, EXERCISE_PLAIN);
    CHECK_EQ(wait_child(child, "child"), 0);
}

CASE(41, generations, GLIBC_DEFECT, 60)
{
    struct kit kit = make_kit();
    exercise(&kit, EXERCISE_PLAIN);
    for (int generation = 0; generation < 6; generation++) {
        pid_t child = fork();
        if (child) {
            CHECK_EQ(wait_child(child, "child"), 0);
            exercise(&kit, EXERCISE_PLAIN);
            _exit(0);
        }
        exercise(&kit, EXERCISE_PLAIN);
    }
}

/* In the child, the parent's requests are no requests of the child's: they read ECANCELED, and nothing waits. */
CASE(41, the_parents_requests_read_cancelled_in_the_child, GLIBC_DEFECT, 30)
{
    static forker const makers[] = {fork, _Fork, by_clone};
    for (size_t k = 0; k < COUNT(makers); k++) {
        struct ends ends = open_stream(PIPE);
        char bytes[3];
        struct aiocb cb[3];
        const struct aiocb *const awaited[3] = {&cb[0], &cb[1], &cb[2]};
        for (int i = 0; i < 3; i++) {
            cb[i] = request(ends.reader, &bytes[i], 1, 0);
            CHECK_EQ(aio_read(&cb[i]), 0);
        }
        settle();
        pid_t child = makers[k]();
        if (child == 0) {
            if (k == 1)
                CHECK_EQ(aio_suspend(awaited, 3, NULL), 0); /* as the first thing the child asks */
            for (int i = 0; i < 3; i++)
                CHECK_EQ(aio_error(&cb[i]), ECANCELED);
            CHECK_EQ(aio_suspend(awaited, 3, NULL), 0);
            CHECK_EQ(aio_cancel(ends.reader, NULL), AIO_ALLDONE);
            CHECK_EQ(aio_cancel(ends.reader, &cb[1]), AIO_ALLDONE);
            for (int i = 0; i < 3; i++)
                CHECK_EQ(aio_return(&cb[i]), -1);
            _exit(0);
        }
        CHECK_EQ(wait_child(child, "child"), 0);
        for (int i = 0; i < 3; i++)
            CHECK_EQ(aio_error(&cb[i]), EINPROGRESS);
        write_all(ends.writer, "abc", 3);
        for (int i = 0; i < 3; i++) {
            CHECK_DONE(&cb[i], 1);
            CHECK_EQ(bytes[i], 'a' + i);
        }
        close(ends.reader);
        close(ends.writer);
    }
}

/* The child uses the very aiocbs that were in progress when it was forked. */
CASE(41, a_child_reuses_the_parents_aiocbs, GLIBC_DEFECT, 30)
{
    struct ends ends = open_stream(PIPE);
    int file = temp_file(ON_DISK, 4096, 3, 0);
    unsigned char data[64];
    struct aiocb cb = request(ends.reader, data, 64, 0);
    CHECK_EQ(aio_read(&cb), 0);
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 20; i++) {
            if (i)
                cb = request(file, data, 64, 128);
            cb.aio_fildes = file, cb.aio_offset = 128;
            CHECK_EQ(aio_read(&cb), 0);
            CHECK_DONE(&cb, 64);
            CHECK_EQ(pattern_wrong(data, 64, 128, 3), -1);
        }
        _exit(0);
    }
    CHECK_EQ(wait_child(child, "child"), 0);
    feed(ends.writer, 64, 0, 8);
    CHECK_DONE(&cb, 64);
    CHECK_EQ(pattern_wrong(data, 64, 0, 8), -1);
}

/* ---- fork beside threads that are inside these calls all the time ----------------------------------------- */

static atomic_bool busy_over;
static bool busy_calls; /* some are notified by a function */
static atomic_long busy_requests;
static int busy_file;
static void *busy_submitter(void *argument)
{
    enum { DEPTH = 16, BYTES = 512 };
    intptr_t me = (intptr_t)argument;
    struct aiocb cb[DEPTH];
    static unsigned char data[4][DEPTH][BYTES];
    struct ends ends = open_stream(PIPE);
    for (long round = 0; !busy_over; round++) {
        for (int i = 0; i < DEPTH; i++) {
            off_t at = (off_t)(me * DEPTH + i) * BYTES;
            bool write = (round + i) % 2;
            cb[i] = request(busy_file, data[me][i], BYTES, at);
            if (busy_calls && round % 4 >= 2)
                notify_by_thread(&cb[i], exercise_called, NULL);
            if (write)
                pattern_fill(data[me][i], BYTES, (size_t)at, 6);
            CHECK_EQ(write ? aio_write(&cb[i]) : aio_read(&cb[i]), 0);
        }
        char nothing;
        struct aiocb waits = request(ends.reader, &nothing, 1, 0);
        if (!on_glibc()) {
            CHECK_EQ(aio_read(&waits), 0);
            int verdict = aio_cancel(ends.reader, &waits);
            CHECK_EQ(verdict, AIO_CANCELED);
        }
        for (int i = 0; i < DEPTH; i++) {
            const struct aiocb *const awaited[1] = {&cb[i]};
            while (aio_error(&cb[i]) == EINPROGRESS)
                CHECK_EQ(aio_suspend(awaited, 1, NULL), 0);
            CHECK_DONE(&cb[i], BYTES);
            CHECK(pattern_wrong(data[me][i], BYTES, (size_t)(me * DEPTH + i) * BYTES, 6) < 0, "thread %d, round %ld", (int)me, round);
        }
        atomic_fetch_add(&busy_requests, DEPTH);
    }
    return NULL;
}

static void forks_beside_submitters(forker make, int forks, bool calls)
{
    busy_calls = calls;
    enum { SUBMITTERS = 2 };
    pthread_t thread[SUBMITTERS];
    struct kit kit = make_kit();
    busy_file = temp_file(ON_DISK, 1 << 16, 6, 0);
    for (intptr_t i = 0; i < SUBMITTERS; i++)
        thread[i] = start_thread(busy_submitter, (void *)i);
    WAIT_FOR(busy_requests > 100);
    for (int i = 0; i < forks; i++) {
        pid_t child = make();
        if (child == 0) {
            exercise(&kit, i % 4 ? NO_THREADS : EXERCISE_PLAIN);
            _exit(0);
        }
        SETUP(child > 0);
        CHECK(wait_child(child, "child") == 0, "child %d", i);
    }
    long before = busy_requests;
    WAIT_FOR(busy_requests > before + 100);
    busy_over = true;
    for (int i = 0; i < SUBMITTERS; i++)
        join_thread(thread[i]);
}
CASE(41, two_hundred_forks_beside_busy_threads, GLIBC_DEFECT, 120) { forks_beside_submitters(fork, 200, true); }
/* Without fork's handlers the child's malloc may be locked for ever by a thread it does not have, which is no fault of
 * AIO: nothing here allocates or makes threads beside the fork. */
CASE(41, forty_Forks_beside_busy_threads, GLIBC_DEFECT, 120) { forks_beside_submitters(_Fork, 40, false); }

/* Children that end in the middle of it, by exit and by _exit, and by a signal. */
CASE(41, children_may_end_at_any_time, GLIBC_OK, 60)
{
    struct kit kit = make_kit();
    for (int i = 0; i < 40; i++) {
        pid_t child = fork();
        if (child == 0) {
            static struct aiocb cb[64];
            static unsigned char data[64][512];
            for (int k = 0; k < 64; k++) {
                cb[k] = request(k % 2 ? kit.file : kit.pipe.reader, data[k], 512, k * 512);
                CHECK_EQ(k % 4 == 1 ? aio_write(&cb[k]) : aio_read(&cb[k]), 0);
            }
            if (i % 3 == 0)
                exit(7);
            if (i % 3 == 1)
                _exit(7);
            kill(getpid(), SIGKILL);
        }
        int status = wait_child(child, "child");
        CHECK(i % 3 == 2 ? WIFSIGNALED(status) : WIFEXITED(status) && WEXITSTATUS(status) == 7, "%#x", status);
    }
}

/* ---- vfork, spawn, system, popen ------------------------------------------------------------------------------ */

CASE(41, other_programs_start_beside_requests, GLIBC_OK, 60)
{
    enum { READS = 8 };
    struct ends ends = open_stream(PIPE), full = open_stream(PIPE);
    int file = temp_file(ON_DISK, 1 << 20, 2, 0);
    struct aiocb cb[READS], blocked = request(full.writer, pages(1 << 20), 1 << 20, 0), disk;
    static char bytes[READS], block[4096];
    for (int i = 0; i < READS; i++) {
        cb[i] = request(ends.reader, &bytes[i], 1, 0);
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    CHECK_EQ(aio_write(&blocked), 0);
    for (int i = 0; i < 12; i++) {
        char *arguments[] = {"true", NULL}, line[16] = "";
        pid_t child;
        disk = request(file, block, sizeof block, i * 4096);
        CHECK_EQ(aio_read(&disk), 0);
        switch (i % 4) {
        case 0:
            child = vfork();
            if (child == 0) {
                execv("/bin/true", arguments);
                _exit(1);
            }
            CHECK_EQ(wait_child(child, "vfork"), 0);
            child = vfork();
            if (child == 0)
                _exit(3);
            CHECK_EQ(wait_child(child, "vfork and _exit"), 3 << 8);
            break;
        case 1:
            CHECK_EQ(posix_spawn(&child, "/bin/true", NULL, NULL, arguments, environ), 0);
            CHECK_EQ(wait_child(child, "posix_spawn"), 0);
            break;
        case 2:
            CHECK_EQ(system("exit 5"), 5 << 8);
            break;
        default: {
            FILE *pipe = popen("echo hi", "r");
            SETUP(pipe != NULL);
            CHECK(fgets(line, sizeof line, pipe) && strcmp(line, "hi\n") == 0);
            CHECK_EQ(pclose(pipe), 0);
        }
        }
        CHECK_DONE(&disk, sizeof block);
        CHECK_EQ(pattern_wrong(block, sizeof block, (size_t)i * 4096, 2), -1);
    }
    for (int i = 0; i < READS; i++)
        CHECK_EQ(aio_error(&cb[i]), EINPROGRESS);
    write_all(ends.writer, "abcdefgh", READS);
    for (int i = 0; i < READS; i++) {
        CHECK_DONE(&cb[i], 1);
        CHECK_EQ(bytes[i], 'a' + i);
    }
    static char sink[1 << 20];
    read_all(full.reader, sink, sizeof sink);
    CHECK_DONE(&blocked, 1 << 20);
}

/* fork in a SIGEV_THREAD function. */
static atomic_int forked_in_callback;
static struct kit callback_kit;
static void fork_in_callback(union sigval value)
{
    (void)value;
    pid_t child = fork();
    if (child == 0) {
        exercise(&callback_kit, EXERCISE_PLAIN);
        _exit(0);
    }
    CHECK_EQ(wait_child(child, "child of a callback"), 0);
    atomic_fetch_add(&forked_in_callback, 1);
}
CASE(41, fork_in_a_notification_function, GLIBC_DEFECT, 30)
{
    callback_kit = make_kit();
    int file = temp_file(ON_DISK, 4096, 1, 0);
    char byte;
    for (int i = 0; i < 5; i++) {
        struct aiocb cb = request(file, &byte, 1, 0);
        notify_by_thread(&cb, fork_in_callback, NULL);
        CHECK_EQ(aio_read(&cb), 0);
        WAIT_FOR(forked_in_callback == i + 1);
    }
}
