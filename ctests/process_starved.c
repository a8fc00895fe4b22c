/* process_starved.c - the process may have no more threads, or no more memory: what was accepted ends all the same.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"

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

/* Thousands of reads wait on a pipe while memory runs out, and then get their data. */
static void memory_runs_out(int which, size_t left)
{
    enum { COUNT = 60000 };
    struct aiocb *cb = mmap(NULL, COUNT * sizeof *cb, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    unsigned char *bytes = mmap(NULL, COUNT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    struct ends ends = open_stream(PIPE);
    static char piece[4096];
    long total, unused, data;
    SETUP(cb != MAP_FAILED && bytes != MAP_FAILED);
    struct aiocb first = request(ends.reader, bytes, 1, 0);
    CHECK_EQ(aio_read(&first), 0);
    write_all(ends.writer, "x", 1);
    CHECK_DONE(&first, 1);
    FILE *file = fopen("/proc/self/statm", "r");
    SETUP(file && fscanf(file, "%ld %ld %ld %ld %ld %ld", &total, &unused, &unused, &unused, &unused, &data) == 6);
    fclose(file);
    set_limit(which, (rlim_t)(which == RLIMIT_DATA ? data : total) * 4096 + left);
    int taken = 0, served = 0, refused = 0;
    for (int i = 0; i < COUNT; i++) {
        cb[i] = request(ends.reader, bytes + i, 1, 0);
        if (aio_read(&cb[i]) == 0)
            taken++;
        else
            CHECK_EQ(errno, EAGAIN);
    }
    /* Feed what waits, as long as there is any; a pipe that nobody reads from is full one day. */
    int flags = fcntl(ends.writer, F_GETFL);
    SETUP(fcntl(ends.writer, F_SETFL, flags | O_NONBLOCK) == 0);
    int64_t until = now_ns() + patience_ns();
    for (int i = 0; i < COUNT;) {
        int error = aio_error(&cb[i]);
        if (error == EINPROGRESS) {
            SETUP(write(ends.writer, piece, sizeof piece) > 0 || errno == EAGAIN);
            CHECK(now_ns() < until, "request %d never ends; %d served, %d refused", i, served, refused);
            sched_yield();
            continue;
        }
        CHECK(error == 0 || error == EAGAIN, "%s", strerror(error));
        served += error == 0 && aio_return(&cb[i]) == 1;
        refused += error == EAGAIN;
        i++;
    }
    CHECK_EQ(served + refused, COUNT);
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
