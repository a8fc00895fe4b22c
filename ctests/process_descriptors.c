/* process_descriptors.c - programs that own all descriptor numbers: low numbers stay theirs, and closing everything
 * from 3 up, at any time, is survived. SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "exercise.h"
#include <linux/close_range.h>

CASE(43, nothing_exists_before_first_use, GLIBC_OK | NO_VALGRIND, 10)
{
    CHECK_EQ(threads(), 1);
    CHECK_EQ(open_descriptors(), 3);
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[4200];
    SETUP(maps != NULL);
    while (fgets(line, sizeof line, maps))
        CHECK(!strstr(line, "io_uring"), "%s", line);
    fclose(maps);
}

/* Calls that start nothing: questions about requests that were never made. */
CASE(43, questions_start_nothing, GLIBC_OK | NO_VALGRIND, 10)
{
    struct aiocb never = request(0, NULL, 0, 0);
    const struct aiocb *const list[2] = {NULL, &never};
    CHECK_EQ(aio_error(&never), 0);
    CHECK_EQ(aio_return(&never), 0);
    CHECK_EQ(aio_suspend(list, 2, NULL), 0);
    CHECK_EQ(aio_cancel(0, &never), AIO_ALLDONE);
    CHECK_EQ(threads(), 1);
    CHECK_EQ(open_descriptors(), 3);
}

CASE(43, low_numbers_stay_free, GLIBC_OK | NO_VALGRIND, 30)
{
    struct kit kit = make_kit();
    int next = open("/dev/null", O_RDONLY), count = open_descriptors();
    SETUP(next == 8); /* 3 to 7 are the kit's */
    struct aiocb waits;
    char byte;
    close(next);
    for (int i = 0; i < 3; i++) {
        exercise(&kit, EXERCISE_PLAIN);
        waits = request(kit.pipe.reader, &byte, 1, 0);
        CHECK_EQ(aio_read(&waits), 0);
        settle();
        for (int fd = 8; fd < 40; fd++) /* busy: not one number is taken by others */
            CHECK_EQ(open("/dev/null", O_RDONLY), fd);
        closefrom(8);
        write_all(kit.pipe.writer, "n", 1);
        CHECK_DONE(&waits, 1);
    }
    if (!on_glibc())
        CHECK(open_descriptors() <= count + 2, "%d descriptors, %d without the library", open_descriptors(), count);
    WAIT_FOR(threads() == 1);
    CHECK_EQ(open_descriptors(), count - 1); /* idle again: nothing is left */
}

/* stdin, stdout, stderr closed before first use: the library does not take their place. */
CASE(43, the_first_three_stay_free, GLIBC_OK, 30)
{
    struct kit kit = make_kit();
    int err = fcntl(2, F_DUPFD_CLOEXEC, 60);
    SETUP(err == 60);
    close(0), close(1), close(2);
    exercise(&kit, EXERCISE_PLAIN);
    int a = open("/dev/null", O_RDWR), b = open("/dev/null", O_RDWR), c = open("/dev/null", O_RDWR);
    SETUP(dup2(err, 2) == 2);
    CHECK(a == 0 && b == 1 && c == 2, "%d %d %d", a, b, c);
}

/* ---- all closed, idle ---------------------------------------------------------------------------------------- */

enum sweep { BY_CLOSEFROM, BY_CLOSE_RANGE, BY_LOOP, BY_SYSCALL, SWEEPS };
static void sweep(enum sweep way, int from)
{
    if (way == BY_CLOSEFROM)
        closefrom(from);
    else if (way == BY_CLOSE_RANGE)
        CHECK_EQ(close_range((unsigned)from, ~0u, 0), 0);
    else
        for (int fd = from; fd < 1024; fd++) {
            if (way == BY_LOOP)
                close(fd);
            else
                syscall(SYS_close, fd); /* past every wrapper */
        }
    if (way != BY_LOOP && way != BY_SYSCALL)
        return;
    DIR *directory = opendir("/proc/self/fd"); /* and what is above */
    for (struct dirent *entry; directory && (entry = readdir(directory));)
        if (atoi(entry->d_name) >= 1024)
            CHECK(atoi(entry->d_name) != dirfd(directory));
    if (directory)
        closedir(directory);
}

static void closing_everything_when_idle(enum sweep way)
{
    for (int round = 0; round < 5; round++) {
        struct kit kit = make_kit();
        CHECK_EQ(exercise(&kit, EXERCISE_PLAIN), 0);
        if (round == 3)
            sleep_ms(1300); /* its threads are gone by then */
        sweep(way, 3);
        kit = make_kit();
        CHECK_EQ(exercise(&kit, EXERCISE_PLAIN), 0);
    }
}
CASE(43, closefrom_when_idle, GLIBC_OK, 30) { closing_everything_when_idle(BY_CLOSEFROM); }
CASE(43, close_range_when_idle, GLIBC_OK, 30) { closing_everything_when_idle(BY_CLOSE_RANGE); }
CASE(43, a_loop_of_close_when_idle, GLIBC_OK, 30) { closing_everything_when_idle(BY_LOOP); }
CASE(43, raw_closes_when_idle, GLIBC_OK, 30) { closing_everything_when_idle(BY_SYSCALL); }

/* ---- all closed, busy ------------------------------------------------------------------------------------------ */

/* Reads wait, a write blocks, file writes are queued; then every descriptor goes. A helper process holds the other ends.
 * Each request ends as if nothing had been closed, and the next ones work. */
static void closing_everything_when_busy(enum sweep way)
{
    enum { READS = 6, WRITES = 32, BYTES = 4096, BIG = 300000 };
    volatile int *go = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    SETUP(go != MAP_FAILED);
    struct ends in = open_stream(PIPE), out = open_stream(PIPE);
    int file = temp_file(ON_DISK, 0, 0, 0);
    pid_t helper = fork();
    if (helper == 0) {
        close(in.reader);
        close(out.writer);
        while (!*go)
            sleep_ms(1);
        feed(in.writer, READS * 16, 0, 5);
        drain(out.reader, BIG, 0, 6);
        while (*go != 2)
            sleep_ms(1);
        for (int i = 0; i < WRITES; i++) {
            unsigned char found[BYTES];
            CHECK_EQ(pread(file, found, BYTES, i * BYTES), BYTES);
            CHECK(pattern_wrong(found, BYTES, (size_t)i * BYTES, 7) < 0, "write %d", i);
        }
        _exit(0);
    }
    close(in.writer);
    close(out.reader);
    static struct aiocb reads[READS], writes[WRITES], big;
    static unsigned char got[READS][16], put[WRITES][BYTES];
    unsigned char *much = pages(BIG);
    pattern_fill(much, BIG, 0, 6);
    for (int i = 0; i < READS; i++) {
        reads[i] = request(in.reader, got[i], 16, 0);
        CHECK_EQ(aio_read(&reads[i]), 0);
    }
    big = request(out.writer, much, BIG, 0);
    CHECK_EQ(aio_write(&big), 0);
    for (int i = 0; i < WRITES; i++) {
        pattern_fill(put[i], BYTES, (size_t)i * BYTES, 7);
        writes[i] = request(file, put[i], BYTES, i * BYTES);
        CHECK_EQ(aio_write(&writes[i]), 0);
    }
    sweep(way, 3);
    struct kit kit = make_kit(); /* takes the old numbers */
    CHECK_EQ(exercise(&kit, EXERCISE_PLAIN), 0);
    *go = 1;
    for (int i = 0; i < READS; i++) {
        CHECK_DONE(&reads[i], 16);
        CHECK(pattern_wrong(got[i], 16, (size_t)i * 16, 5) < 0, "read %d", i);
    }
    CHECK_DONE(&big, BIG);
    for (int i = 0; i < WRITES; i++)
        CHECK_DONE(&writes[i], BYTES);
    *go = 2;
    CHECK_EQ(wait_child(helper, "helper"), 0);
    CHECK_EQ(exercise(&kit, EXERCISE_PLAIN), 0);
}
CASE(43, closefrom_when_busy, GLIBC_DEFECT, 30) { closing_everything_when_busy(BY_CLOSEFROM); }
CASE(43, close_range_when_busy, GLIBC_DEFECT, 30) { closing_everything_when_busy(BY_CLOSE_RANGE); }
CASE(43, a_loop_of_close_when_busy, GLIBC_DEFECT, 30) { closing_everything_when_busy(BY_LOOP); }

/* ---- daemons ------------------------------------------------------------------------------------------------------- */

/* Forks twice, leaves session, directory and descriptors behind, and goes on with AIO. */
static void daemonise(enum sweep way, bool used_before)
{
    volatile int *answer = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    SETUP(answer != MAP_FAILED);
    struct kit kit = make_kit();
    if (used_before)
        exercise(&kit, EXERCISE_PLAIN);
    pid_t child = fork();
    if (child == 0) {
        SETUP(setsid() > 0);
        pid_t grandchild = fork();
        if (grandchild)
            _exit(0);
        SETUP(chdir("/") == 0);
        umask(0);
        sweep(way, 3);
        kit = make_kit();
        *answer = exercise(&kit, EXERCISE_PLAIN) == 0 ? 1 : 2;
        sweep(way, 3);
        kit = make_kit();
        *answer = exercise(&kit, EXERCISE_PLAIN) == 0 ? 3 : 4;
        _exit(0);
    }
    CHECK_EQ(wait_child(child, "the daemon's parent"), 0);
    WAIT_FOR(*answer == 3, "the daemon got to %d", *answer);
    if (!used_before || !on_glibc())
        exercise(&kit, EXERCISE_PLAIN);
}
CASE(43, a_daemon_that_used_aio_before, GLIBC_DEFECT, 30) { daemonise(BY_CLOSEFROM, true); }
CASE(43, a_daemon_that_uses_aio_for_the_first_time, GLIBC_OK, 30) { daemonise(BY_CLOSE_RANGE, false); }
CASE(43, a_daemon_that_closes_in_a_loop, GLIBC_DEFECT, 30) { daemonise(BY_LOOP, true); }
