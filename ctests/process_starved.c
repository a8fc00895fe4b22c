/* process_starved.c - the process may have no more threads, or no more memory: what was accepted ends all the same.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "gate.h"

/* So many large writes that the pool, which would get them, has no room for all; and no thread can be had for it. */
CASE(44, many_writes_and_no_thread, GLIBC_OK | NEEDS_ROOT, 60)
{
    enum { COUNT = 300, BYTES = 128 << 10 };
    static struct aiocb cb[COUNT];
    int fd = temp_file(ON_DISK, 1, 1, 0), accepted = 0;
    unsigned char *data = calloc(1, BYTES);
    struct ends ends = open_stream(PIPE);
    unsigned char byte;
    become_own_user();
    struct aiocb first = request(ends.reader, &byte, 1, 0);
    CHECK_EQ(aio_read(&first), 0); /* the library's threads begin while they can */
    write_all(ends.writer, "x", 1);
    CHECK_DONE(&first, 1);
    set_limit(RLIMIT_NPROC, 1);
    for (int i = 0; i < COUNT; i++) {
        cb[i] = request(fd, data, BYTES, (off_t)i * BYTES);
        int result = aio_write(&cb[i]);
        CHECK(result == 0 || errno == EAGAIN, "%s", strerror(errno));
        accepted += result == 0;
    }
    CHECK(accepted > 0);
    for (int i = 0; i < COUNT; i++)
        if (aio_error(&cb[i]) != EAGAIN)
            CHECK_DONE(&cb[i], BYTES);
}

/* Memory that is there already. */
static void *present(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    SETUP(memory != MAP_FAILED);
    return memory;
}

/* A read that gets its byte. All that was submitted before it has been taken over then. */
static void read_one(const struct ends *ends)
{
    unsigned char byte;
    struct aiocb cb = request(ends->reader, &byte, 1, 0);
    write_all(ends->writer, "x", 1);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 1);
}

/* Feeds reads of a byte until each has ended, with its byte or for want of memory; how many of the latter. */
static int feed_waiting(struct aiocb *cb, int count, const struct ends *ends)
{
    static char piece[4096];
    int served = 0, refused = 0, flags = fcntl(ends->writer, F_GETFL);
    SETUP(fcntl(ends->writer, F_SETFL, flags | O_NONBLOCK) == 0); /* a pipe that nobody reads from is full one day */
    signal(SIGPIPE, SIG_IGN); /* the last read may end, and with it a closed pipe's reader, right after the look at it */
    int64_t until = now_ns() + patience_ns();
    for (int i = 0; i < count;) {
        int error = aio_error(&cb[i]);
        if (error == EINPROGRESS) {
            SETUP(write(ends->writer, piece, sizeof piece) > 0 || errno == EAGAIN || errno == EPIPE);
            CHECK(now_ns() < until, "request %d never ends; %d served, %d refused", i, served, refused);
            sched_yield();
            continue;
        }
        CHECK(error == 0 || error == EAGAIN, "%s", strerror(error));
        served += error == 0 && aio_return(&cb[i]) == 1;
        refused += error == EAGAIN;
        i++;
    }
    CHECK_EQ(served + refused, count);
    return refused;
}

/* Thousands of reads wait on a pipe while memory runs out, and then get their data. */
static void memory_runs_out(int which, size_t left)
{
    enum { COUNT = 60000 };
    struct aiocb *cb = present(COUNT * sizeof *cb);
    unsigned char *bytes = present(COUNT);
    struct ends ends = open_stream(PIPE);
    static char piece[4096];
    long total, unused, data;
    read_one(&ends);
    FILE *file = fopen("/proc/self/statm", "r");
    SETUP(file && fscanf(file, "%ld %ld %ld %ld %ld %ld", &total, &unused, &unused, &unused, &unused, &data) == 6);
    fclose(file);
    set_limit(which, (rlim_t)(which == RLIMIT_DATA ? data : total) * 4096 + left);
    for (int i = 0; i < COUNT; i++) {
        cb[i] = request(ends.reader, bytes + i, 1, 0);
        CHECK(aio_read(&cb[i]) == 0 || errno == EAGAIN, "%s", strerror(errno));
    }
    int refused = feed_waiting(cb, COUNT, &ends);
    CHECK(which == RLIMIT_AS || refused > 0, "memory did not run out"); /* a thread's heap has its addresses already */
    set_limit(which, RLIM_INFINITY);
    for (int i = 0; i < 1000; i++) { /* and all is well again */
        struct aiocb last = request(ends.writer, piece, 1, 0);
        while (read(ends.reader, piece, sizeof piece) == sizeof piece)
            ;
        CHECK_EQ(aio_write(&last), 0);
        CHECK_DONE(&last, 1);
    }
}
CASE(44, no_data_segment_left, GLIBC_RACY | NEEDS_ROOT | NO_VALGRIND, 60) { memory_runs_out(RLIMIT_DATA, 0); }
CASE(44, little_data_segment_left, GLIBC_RACY | NEEDS_ROOT | NO_VALGRIND, 60) { memory_runs_out(RLIMIT_DATA, 2 << 20); }
CASE(44, no_address_space_left, GLIBC_RACY | NEEDS_ROOT | NO_VALGRIND, 60) { memory_runs_out(RLIMIT_AS, 0); }
CASE(44, little_address_space_left, GLIBC_RACY | NEEDS_ROOT | NO_VALGRIND, 60) { memory_runs_out(RLIMIT_AS, 2 << 20); }

/* As many reads as no small list of them has room for, all cancelled at once or closed. */
static void all_without_memory(bool cancelled)
{
    enum { COUNT = 70000 };
    struct aiocb *cb = present(COUNT * sizeof *cb);
    unsigned char *bytes = present(COUNT);
    struct ends ends = open_stream(PIPE), other = open_stream(PIPE), third = open_stream(PIPE);
    struct aiocb first = request(other.reader, bytes, 1, 0);
    CHECK_EQ(aio_read(&first), 0);
    close(other.reader); /* what the library needs for a first close is there */
    write_all(other.writer, "x", 1);
    CHECK_DONE(&first, 1);
    for (int i = 0; i < COUNT; i++) {
        cb[i] = request(ends.reader, bytes + i, 1, 0);
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    read_one(&third);
    set_limit(RLIMIT_DATA, 1 << 20);
    if (cancelled) {
        CHECK_EQ(aio_cancel(ends.reader, NULL), AIO_CANCELED);
        for (int i = 0; i < COUNT; i++)
            CHECK_ENDS(&cb[i], ECANCELED);
        return;
    }
    CHECK_EQ(close(ends.reader), 0);
    CHECK_EQ(feed_waiting(cb, COUNT, &ends), 0);
}
CASE(44, many_cancelled_without_memory, GLIBC_DEFECT | NO_VALGRIND, 60) { all_without_memory(true); }
CASE(44, many_closed_without_memory, GLIBC_DEFECT | NO_VALGRIND, 60) { all_without_memory(false); }

/* A write over many reads of its file, which must know of them all. */
CASE(44, write_behind_reads_without_memory, GLIBC_RACY | NO_VALGRIND, 60)
{
    enum { COUNT = 20000, BYTES = 1 << 20 };
    struct aiocb *cb = present(COUNT * sizeof *cb);
    unsigned char *data = present(BYTES);
    struct ends silent = open_stream(PIPE);
    int fd = memfd_create("reads", 0);
    SETUP(fd >= 0 && ftruncate(fd, BYTES + COUNT) == 0);
    for (int i = 0; i < COUNT; i++) {
        cb[i] = request(fd, data, BYTES, i * 7919L % COUNT);
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    struct aiocb probe = request(silent.reader, data, 1, 0);
    CHECK_EQ(aio_read(&probe), 0);
    CHECK(aio_cancel(silent.reader, &probe) != -1); /* the answer comes when all before was looked at */
    set_limit(RLIMIT_DATA, 1 << 20);
    struct aiocb last = request(fd, data, 1, 0);
    CHECK(aio_write(&last) == 0 || errno == EAGAIN, "%s", strerror(errno));
    CHECK(aio_cancel(fd, NULL) != -1);
    int error = wait_done(&last);
    CHECK(error == 0 || error == EAGAIN || error == ECANCELED, "%s", strerror(error));
    for (int i = 0; i < COUNT; i++)
        if (wait_done(&cb[i]) != ECANCELED)
            CHECK_DONE(&cb[i], BYTES);
}

/* Very many reads that a write has held up may all begin at once. (With glibc each submission walks past all that wait.) */
CASE(44, many_become_ready_without_memory, SHIM_ONLY | NEEDS_ROOT | NO_VALGRIND, 60)
{
    enum { COUNT = 120000, BYTES = 2 << 20, PAGE = 4096, SLOW = BYTES / 2 };
    struct gate *gate = gate_start();
    struct aiocb *cb = present(COUNT * sizeof *cb);
    unsigned char *data = present(BYTES), *bytes = present(COUNT);
    int source = gate_open(0, O_RDONLY), fd = memfd_create("reads", 0);
    SETUP(fd >= 0 && ftruncate(fd, BYTES) == 0);
    memset(data, 7, BYTES);
    /* one page of what is written comes when the gate lets it in */
    SETUP(mmap(data + SLOW, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, source, 0) == data + SLOW);
    SETUP(madvise(data + SLOW, PAGE, MADV_RANDOM) == 0);
    int hold = gate_hold(gate, GATE_READ, 0, 0, PAGE);
    struct ends silent = open_stream(PIPE);
    struct aiocb slow = request(fd, data, BYTES, 0), probe = request(silent.reader, bytes, 1, 0);
    CHECK_EQ(aio_write(&slow), 0);
    WAIT_FOR(gate_arrived(gate, GATE_READ, 0, 0, PAGE) > 0);
    for (int i = 0; i < COUNT; i++) {
        cb[i] = request(fd, bytes + i, 1, i % SLOW);
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    CHECK_EQ(aio_read(&probe), 0);
    CHECK(aio_cancel(silent.reader, &probe) != -1); /* the answer comes when all before was looked at */
    set_limit(RLIMIT_DATA, 1 << 20);
    gate_release(gate, hold);
    CHECK_DONE(&slow, BYTES);
    for (int i = 0; i < COUNT; i++) {
        CHECK_DONE(&cb[i], 1);
        CHECK(bytes[i] == 7, "read %d", i);
    }
}

/* More lists than there is memory for. Each element has one end and tells of it once, and so does each list. */
enum { LISTS = 5000, BEFORE = 4000 };
static _Atomic unsigned char told[2][LISTS];
static void count_told(int signo, siginfo_t *info, void *context)
{
    (void)context;
    told[signo - SIGRTMIN][info->si_value.sival_int]++;
}
CASE(44, many_lists_and_no_memory, GLIBC_RACY | NO_VALGRIND, 60)
{
    static unsigned char bytes[LISTS], again[2];
    struct aiocb *cb = present(LISTS * sizeof *cb), last[2];
    struct ends ends = open_stream(PIPE), other = open_stream(PIPE);
    struct sigaction action = {.sa_sigaction = count_told, .sa_flags = SA_SIGINFO | SA_RESTART};
    SETUP(sigaction(SIGRTMIN, &action, NULL) == 0 && sigaction(SIGRTMIN + 1, &action, NULL) == 0);
    for (int i = 0; i < LISTS; i++) {
        if (i == BEFORE) {
            read_one(&other);
            set_limit(RLIMIT_DATA, 1 << 20);
        }
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = i};
        struct aiocb *list[] = {&cb[i]};
        cb[i] = request(ends.reader, bytes + i, 1, 0);
        cb[i].aio_lio_opcode = LIO_READ;
        cb[i].aio_sigevent = event;
        event.sigev_signo++;
        CHECK_EQ(lio_listio(LIO_NOWAIT, list, 1, &event), 0);
    }
    /* One that is waited for. */
    struct aiocb *list[] = {&last[0], &last[1]};
    for (int i = 0; i < 2; i++) {
        last[i] = request(other.reader, again + i, 1, 0);
        last[i].aio_lio_opcode = LIO_READ;
    }
    write_all(other.writer, "xx", 2);
    int result = lio_listio(LIO_WAIT, list, 2, NULL), failed = 0;
    for (int i = 0; i < 2; i++) {
        CHECK(aio_error(&last[i]) == 0 || aio_error(&last[i]) == EAGAIN, "%d", aio_error(&last[i]));
        failed += aio_error(&last[i]) != 0;
    }
    CHECK(failed ? result == -1 && errno == EIO : result == 0, "%d, %d failed", result, failed);
    int refused = feed_waiting(cb, LISTS, &ends);
    CHECK(refused > 0 && refused < LISTS - BEFORE + 1, "%d refused", refused);
    for (int which = 0; which < 2; which++)
        for (int i = 0; i < LISTS; i++)
            WAIT_FOR(told[which][i] > 0, "%s %d", which ? "list" : "element", i);
    sleep_ms(100);
    for (int which = 0; which < 2; which++)
        for (int i = 0; i < LISTS; i++)
            CHECK_EQ(told[which][i], 1);
}

/* Memory is short for a while, again and again, and each time some of the reads that were accepted stay. In between
 * there is enough. */
CASE(44, memory_short_again_and_again, GLIBC_RACY | NO_VALGRIND, 60)
{
    enum { COUNT = 20000, ROUNDS = 6, EVERY = 150 };
    struct aiocb *cb = present(COUNT * sizeof *cb), *stay = present(ROUNDS * COUNT / EVERY * sizeof *stay);
    unsigned char *bytes = present(COUNT);
    struct ends silent = open_stream(PIPE), other = open_stream(PIPE);
    int staying = 0;
    read_one(&other);
    for (int round = 0; round < ROUNDS; round++) {
        struct ends ends = open_stream(PIPE);
        int count = 0;
        bool enough = true;
        set_limit(RLIMIT_DATA, 1 << 20);
        while (enough && count < COUNT) {
            if (count % EVERY == 0) {
                stay[staying] = request(silent.reader, bytes, 1, 0);
                CHECK(aio_read(&stay[staying++]) == 0 || errno == EAGAIN, "%s", strerror(errno));
            }
            cb[count] = request(ends.reader, bytes + count, 1, 0);
            CHECK(aio_read(&cb[count]) == 0 || errno == EAGAIN, "%s", strerror(errno));
            if (++count % 64 == 0) {
                struct aiocb probe = request(silent.reader, bytes, 1, 0);
                enough = aio_read(&probe) == 0 && aio_cancel(silent.reader, &probe) == AIO_CANCELED;
                CHECK(wait_done(&probe) == (enough ? ECANCELED : EAGAIN), "%d", aio_error(&probe));
            }
        }
        CHECK(!enough, "memory did not run out");
        feed_waiting(cb, count, &ends);
        set_limit(RLIMIT_DATA, RLIM_INFINITY);
        close(ends.reader);
        close(ends.writer);
        for (int i = 0; i < 20; i++)
            read_one(&other);
    }
    /* A child has its parent's memory, but nobody there gives any of it back. */
    pid_t child = fork();
    if (child == 0) {
        other = open_stream(PIPE);
        read_one(&other);
        _exit(0);
    }
    CHECK_CHILD(child);
}
