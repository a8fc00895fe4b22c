/* stuck.c - requests that do not end, and what goes on beside them.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "gate.h"

enum { MOST = 80, BYTES = 512, LARGE = 400000 };

/* Reads of a file system that does not answer, each through a descriptor of its own. */
struct stuck {
    struct gate *gate;
    int rule, count, fd[MOST];
    struct aiocb cb[MOST];
    unsigned char data[MOST][BYTES];
};
static struct stuck stuck;

static void get_stuck(struct gate *gate, int count, int running)
{
    stuck.gate = gate, stuck.count = count, stuck.rule = gate_hold(gate, GATE_READ, 0, 0, GATE_BYTES);
    int before = gate_arrived(gate, GATE_READ, 0, 0, GATE_BYTES);
    for (int i = 0; i < count; i++) {
        stuck.fd[i] = gate_open(0, O_RDONLY);
        stuck.cb[i] = request(stuck.fd[i], stuck.data[i], BYTES, i * BYTES);
        CHECK_EQ(aio_read(&stuck.cb[i]), 0);
    }
    WAIT_FOR(gate_arrived(gate, GATE_READ, 0, 0, GATE_BYTES) - before >= running, "%d of %d", running, count);
}
static void get_free(void)
{
    gate_release(stuck.gate, stuck.rule);
    for (int i = 0; i < stuck.count; i++)
        if (aio_error(&stuck.cb[i]) != ECANCELED)
            CHECK_DONE(&stuck.cb[i], BYTES);
    for (int i = 0; i < stuck.count; i++)
        close(stuck.fd[i]);
}

/* What needs nobody but the library itself: a pipe that has data, a cancellation, a close, the page cache. */
static void is_served(void)
{
    struct ends ends = open_stream(PIPE);
    unsigned char data[BYTES] = {0}, byte;
    int file = temp_file(ON_DISK, BYTES, 1, 0);
    struct aiocb reads = request(ends.reader, &byte, 1, 0), writes = request(file, data, sizeof data, 0);
    CHECK_EQ(aio_read(&reads), 0);
    feed(ends.writer, 1, 0, 2);
    CHECK_DONE(&reads, 1);
    CHECK_EQ(aio_write(&writes), 0);
    CHECK_DONE(&writes, BYTES);
    if (!on_glibc()) { /* which cannot cancel what waits, and loses it at close */
        CHECK_EQ(aio_read(&reads), 0);
        CHECK_EQ(aio_cancel(ends.reader, &reads), AIO_CANCELED);
        CHECK_ENDS(&reads, ECANCELED);
        CHECK_EQ(aio_read(&reads), 0);
        close(ends.reader);
        feed(ends.writer, 1, 1, 2);
        CHECK_DONE(&reads, 1);
    } else {
        close(ends.reader);
    }
    close(ends.writer);
    close(file);
}
/* What needs a thread of the pool. */
static void large_write_is_served(void)
{
    static unsigned char much[LARGE];
    int file = temp_file(ON_DISK, 0, 0, 0);
    struct aiocb writes = request(file, much, LARGE, 0);
    CHECK_EQ(aio_write(&writes), 0);
    CHECK_DONE(&writes, LARGE);
    close(file);
}

CASE(4, any_number_of_stuck_requests_leaves_the_rest_alone, GLIBC_DEFECT | NEEDS_ROOT | AS_BUILT, 90)
{
    static const int counts[] = {7, 8, 9, 10, 16, 17, 40, 63, 64, 65, 70};
    struct gate *gate = gate_start();
    for (size_t i = 0; i < COUNT(counts); i++) {
        pid_t child = fork(); /* its pool is a fresh one */
        if (child == 0) {
            int count = counts[i], most = 64; /* AIO_SHIM_THREADS */
            get_stuck(gate, count, count < 7 ? count : 7);
            is_served();
            if (count < most)
                large_write_is_served();
            WAIT_FOR(gate_arrived(gate, GATE_READ, 0, 0, GATE_BYTES) >= (count < most ? count : most));
            is_served();
            if (count > most)
                CHECK_EQ(aio_cancel(stuck.fd[count - 1], &stuck.cb[count - 1]), AIO_CANCELED);
            get_free();
            is_served();
            _exit(0);
        }
        int status = wait_child(child, "with stuck requests");
        CHECK(status == 0, "%d stuck: %#x", counts[i], status);
        atomic_store(&gate->logged, 0);
    }
}

/* More threads are made for a job although something else waits, with a time limit that is far away. */
CASE(4, stuck_requests_beside_a_socket_with_a_time_limit, GLIBC_OK | NEEDS_ROOT, 30)
{
    struct gate *gate = gate_start();
    struct ends ends = open_stream(UNIX_SOCKET);
    struct timeval limit = {60, 0};
    unsigned char byte;
    struct aiocb waits = request(ends.reader, &byte, 1, 0);
    SETUP(setsockopt(ends.reader, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    get_stuck(gate, 8, 7); /* as many as a pool has at first */
    CHECK_EQ(aio_read(&waits), 0);
    sleep_ms(100);
    large_write_is_served();
    CHECK_EQ(aio_error(&waits), EINPROGRESS);
    get_free();
    feed(ends.writer, 1, 0, 1);
    CHECK_DONE(&waits, 1);
}

/* The pool is as small as it can be: requests that wait for it are cancelled, the others served. */
static void with_a_pool_of(const char *threads)
{
    with_environment("AIO_SHIM_THREADS", threads);
    struct gate *gate = gate_start();
    get_stuck(gate, 6, atoi(threads));
    is_served();
    sleep_ms(100);
    is_served();
    CHECK_EQ(gate_arrived(gate, GATE_READ, 0, 0, GATE_BYTES), atoi(threads));
    CHECK_EQ(aio_cancel(stuck.fd[5], &stuck.cb[5]), AIO_CANCELED);
    CHECK_EQ(aio_cancel(stuck.fd[0], &stuck.cb[0]), AIO_NOTCANCELED);
    get_free();
}
CASE(4, a_pool_of_one_and_stuck_requests, SHIM_ONLY | NEEDS_ROOT | AS_BUILT, 30) { with_a_pool_of("1"); }
CASE(4, a_pool_of_two_and_stuck_requests, SHIM_ONLY | NEEDS_ROOT, 30) { with_a_pool_of("2"); }

/* From some time on no thread can be had: the last free one does not go into what may never end. */
CASE(44, no_more_thread_and_stuck_requests, SHIM_ONLY | NEEDS_ROOT, 30)
{
    with_fault("fault");
    int (*fault)(const char *) = (int (*)(const char *))extension("aio_fault_set");
    struct gate *gate = gate_start();
    unsigned char byte;
    struct ends ends = open_stream(PIPE);
    struct aiocb waits = request(ends.reader, &byte, 1, 0);
    CHECK_EQ(aio_read(&waits), 0); /* whoever waits for streams is there from now on */
    get_stuck(gate, 1, 1);
    get_free();
    SETUP(fault != NULL && fault("pthread_create:EAGAIN:from=aio_shim") == 0);
    get_stuck(gate, 6, 1);
    is_served();
    if (on_workers())
        large_write_is_served(); /* that one ends by itself: the last thread may do it */
    sleep_ms(100);
    is_served();
    CHECK_EQ(aio_cancel(stuck.fd[5], &stuck.cb[5]), AIO_CANCELED);
    SETUP(fault(NULL) == 0);
    WAIT_FOR(gate_arrived(gate, GATE_READ, 0, 0, GATE_BYTES) >= 1 + 5);
    is_served();
    get_free();
    feed(ends.writer, 1, 0, 1);
    CHECK_DONE(&waits, 1);
}

/* ---- writes whose buffer is on the file system that does not answer: they stop where they are carried out --------- */

/* Memory that can be had once the gate lets it be read. */
static struct held {
    int rule, fd, file;
    struct aiocb cb;
} held;
static void write_held(struct gate *gate, int number, int flags)
{
    enum { PAGE = 4096 };
    held.rule = gate_hold(gate, GATE_READ, number, 0, PAGE);
    held.fd = gate_open(number, O_RDONLY);
    void *memory = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, held.fd, 0);
    if (memory == MAP_FAILED)
        SKIP("no mapping of a FUSE file");
    held.file = temp_file(ON_DISK, BYTES, 1, flags);
    held.cb = request(held.file, memory, BYTES, 0);
    CHECK_EQ(aio_write(&held.cb), 0);
    WAIT_FOR(gate_arrived(gate, GATE_READ, number, 0, PAGE) > 0);
}
static void let_write(struct gate *gate)
{
    CHECK_EQ(aio_error(&held.cb), EINPROGRESS);
    gate_release(gate, held.rule);
    CHECK_DONE(&held.cb, BYTES);
    close(held.file);
    close(held.fd);
}

/* A write that waits for the disk each time is nothing for the thread that serves the others. */
static void synchronous(int flags)
{
    struct gate *gate = gate_start();
    write_held(gate, 0, flags);
    is_served();
    let_write(gate);
}
CASE(4, a_stuck_write_with_o_sync_leaves_the_rest_alone, GLIBC_OK | NEEDS_ROOT | NO_VALGRIND, 30) { synchronous(O_SYNC); }
CASE(4, a_stuck_write_with_o_dsync_leaves_the_rest_alone, GLIBC_OK | NEEDS_ROOT | NO_VALGRIND, 30) { synchronous(O_DSYNC); }

/* One that was not expected to wait may hold the others up, but not the next one soon after. */
CASE(4, the_next_stuck_write_leaves_the_rest_alone, GLIBC_OK | NEEDS_ROOT | NO_VALGRIND | AS_BUILT, 30)
{
    struct gate *gate = gate_start();
    write_held(gate, 0, 0);
    sleep_ms(1000);
    let_write(gate);
    sleep_ms(300);
    write_held(gate, 1, 0);
    is_served();
    let_write(gate);
}

/* However many writes wait behind a stuck one of their file: they take nobody's thread and nobody's place in a queue. */
CASE(4, writes_behind_a_stuck_one_leave_the_rest_alone, GLIBC_OK | NEEDS_ROOT | NO_VALGRIND, 60)
{
    enum { BEHIND = 60 };
    static struct aiocb behind[BEHIND];
    static unsigned char much[LARGE];
    struct gate *gate = gate_start();
    write_held(gate, 0, 0);
    sleep_ms(1000);
    let_write(gate);
    write_held(gate, 1, 0);
    for (int i = 0; i < BEHIND; i++) {
        behind[i] = request(held.file, much, LARGE, (off_t)(i + 1) * LARGE);
        CHECK_EQ(aio_write(&behind[i]), 0);
    }
    for (int i = 0; i < 40; i++) {
        large_write_is_served();
        is_served();
    }
    CHECK_EQ(aio_cancel(held.file, &behind[BEHIND - 1]), AIO_CANCELED);
    CHECK_ENDS(&behind[BEHIND - 1], ECANCELED);
    gate_release(gate, held.rule);
    CHECK_DONE(&held.cb, BYTES);
    for (int i = 0; i < BEHIND - 1; i++)
        CHECK_DONE(&behind[i], LARGE);
}
