// FreeBSD's aio_waitcomplete and illumos's aio_waitn.
// SPDX-License-Identifier: MIT OR Apache-2.0
// libs: -Wl,-z,dynamic-undefined-weak
#include "harness.h"
#include <aio_shim.h>

/* Weak, so that this links and starts without the library. Imported all the same: that tells the library to keep
 * completions from the first request on (who finds the functions by dlsym gets them from the first call on). */
#pragma weak aio_waitcomplete
#pragma weak aio_waitn
static ssize_t waitcomplete(struct aiocb **done, struct timespec *limit)
{
    CHECK(aio_waitcomplete != NULL, "aio_waitcomplete is not there");
    return aio_waitcomplete(done, limit);
}
static int waitn(struct aiocb *list[], unsigned nent, unsigned *nwait, const struct timespec *limit)
{
    CHECK(aio_waitn != NULL, "aio_waitn is not there");
    return aio_waitn(list, nent, nwait, limit);
}
static struct timespec soon(void) { return (struct timespec){patience_ns() / 1000000000, 0}; }

enum { COUNT = 200 };
static struct aiocb cbs[COUNT];
static char bytes[COUNT];
static int seen[COUNT], ends[2], file;

static void start_file_reads(int count)
{
    if (!file)
        file = temp_file(ON_DISK, COUNT, 1, 0);
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < count; i++) {
        cbs[i] = request(file, bytes + i, 1, i);
        CHECK_EQ(aio_read(&cbs[i]), 0);
    }
}
static void start_pipe_read(struct aiocb *cb)
{
    if (!ends[1])
        SETUP(pipe(ends) == 0);
    *cb = request(ends[0], bytes, 1, 0);
    CHECK_EQ(aio_read(cb), 0);
}
static void saw(struct aiocb *cb, int count)
{
    CHECK(cb >= cbs && cb < cbs + count, "a request that is not ours");
    CHECK_EQ(++seen[cb - cbs], 1);
}
static void nothing_left(void)
{
    struct aiocb *done = cbs;
    CHECK_EQ(waitcomplete(&done, &(struct timespec){0, 0}), -1);
    CHECK(errno == EAGAIN || errno == EINPROGRESS);
    CHECK(done == NULL);
}

/* As programs of that system do: submit, then wait, whatever has ended meanwhile. */
CASE(39, waitcomplete_reports_each_once, SHIM_ONLY, 20)
{
    for (int round = 0; round < 20; round++) {
        start_file_reads(COUNT);
        if (round % 2)
            sleep_ms(20);
        for (int i = 0; i < COUNT; i++) {
            struct aiocb *done = NULL;
            struct timespec limit = soon();
            CHECK(waitcomplete(&done, i % 2 ? &limit : NULL) == 1, "request %d of round %d", i, round);
            saw(done, COUNT);
            CHECK_EQ(aio_error(done), 0);
        }
        nothing_left();
    }
}

CASE(39, waitcomplete_tells_the_oldest_first, SHIM_ONLY, 20)
{
    nothing_left();
    for (int i = 0; i < 50; i++) {
        start_pipe_read(&cbs[i]);
        SETUP(write(ends[1], "x", 1) == 1);
        while (aio_error(&cbs[i]) == EINPROGRESS) { }
    }
    for (int i = 0; i < 50; i++) {
        struct aiocb *done;
        struct timespec limit = soon();
        CHECK_EQ(waitcomplete(&done, &limit), 1);
        CHECK_EQ(done - cbs, i);
    }
}

CASE(39, waitcomplete_tells_failures, SHIM_ONLY, 20)
{
    struct aiocb *done = NULL;
    struct timespec limit = soon();
    cbs[0] = request(-1, bytes, 1, 0);
    CHECK_EQ(aio_read(&cbs[0]), 0);
    CHECK_FAILS(waitcomplete(&done, &limit), EBADF);
    CHECK(done == &cbs[0]);
    nothing_left();
    start_pipe_read(&cbs[1]);
    CHECK_EQ(aio_cancel(ends[0], &cbs[1]), AIO_CANCELED);
    CHECK_FAILS(waitcomplete(&done, &limit), ECANCELED);
    CHECK(done == &cbs[1]);
    nothing_left();
}

CASE(39, waitcomplete_and_time, SHIM_ONLY, 20)
{
    struct aiocb *done = cbs;
    start_pipe_read(&cbs[0]);
    nothing_left();
    int64_t started = now_ns();
    CHECK_FAILS(waitcomplete(&done, &(struct timespec){0, 50000000}), EAGAIN);
    CHECK(now_ns() - started >= 50000000);
    CHECK(done == NULL);
    CHECK_FAILS(waitcomplete(&done, &(struct timespec){0, 1000000000}), EINVAL);
    CHECK_FAILS(waitcomplete(&done, &(struct timespec){0, -1}), EINVAL);
    SETUP(write(ends[1], "x", 1) == 1);
    CHECK_EQ(waitcomplete(&done, NULL), 1);
    CHECK(done == &cbs[0]);
}

/* What aio_return took is not reported any more, and its memory may be gone. */
CASE(39, waitcomplete_after_aio_return, SHIM_ONLY, 20)
{
    nothing_left();
    for (int i = 0; i < 100; i++) {
        struct aiocb *mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        SETUP(mapped != MAP_FAILED);
        start_pipe_read(mapped);
        start_pipe_read(&cbs[0]);
        SETUP(write(ends[1], "xy", 2) == 2);
        CHECK_DONE(mapped, 1); /* asks aio_return */
        munmap(mapped, 4096);
        struct aiocb *done;
        CHECK_EQ(waitcomplete(&done, NULL), 1);
        CHECK(done == &cbs[0]);
        nothing_left();
    }
}

static void *collect(void *argument)
{
    intptr_t got = 0;
    (void)argument;
    for (;;) {
        struct aiocb *done;
        if (waitcomplete(&done, &(struct timespec){0, 200000000}) == -1) {
            CHECK(errno == EAGAIN && done == NULL);
            return (void *)got;
        }
        CHECK(done >= cbs && done < cbs + COUNT);
        CHECK_EQ(__atomic_add_fetch(&seen[done - cbs], 1, __ATOMIC_SEQ_CST), 1);
        got++;
    }
}
CASE(39, waitcomplete_in_many_threads, SHIM_ONLY, 20)
{
    pthread_t running[4];
    intptr_t total = 0;
    nothing_left();
    for (int i = 0; i < 4; i++)
        running[i] = start_thread(collect, NULL);
    start_file_reads(COUNT);
    for (int i = 0; i < 4; i++)
        total += (intptr_t)join_thread(running[i]);
    CHECK_EQ(total, COUNT);
}

static pthread_t waiting_thread;
static void nudge(int signo) { (void)signo; }
static void *disturb(void *argument)
{
    (void)argument;
    sleep_ms(50);
    pthread_kill(waiting_thread, SIGUSR1);
    return NULL;
}
CASE(39, waitcomplete_is_interrupted, SHIM_ONLY, 20)
{
    struct sigaction action = {.sa_handler = nudge};
    struct aiocb *done = cbs;
    sigaction(SIGUSR1, &action, NULL);
    waiting_thread = pthread_self();
    start_pipe_read(&cbs[0]);
    nothing_left();
    pthread_t other = start_thread(disturb, NULL);
    CHECK_FAILS(waitcomplete(&done, NULL), EINTR);
    CHECK(done == NULL);
    join_thread(other);
}

CASE(39, waitcomplete_reports_lists_and_fsync, SHIM_ONLY, 20)
{
    struct aiocb *list[COUNT], *done;
    start_file_reads(0);
    nothing_left();
    for (int i = 0; i < COUNT; i++) {
        cbs[i] = request(file, bytes + i, 1, i);
        cbs[i].aio_lio_opcode = LIO_READ;
        list[i] = &cbs[i];
    }
    CHECK_EQ(lio_listio(LIO_NOWAIT, list, COUNT - 1, NULL), 0);
    cbs[COUNT - 1] = request(file, NULL, 0, 0);
    CHECK_EQ(aio_fsync(O_SYNC, &cbs[COUNT - 1]), 0);
    for (int i = 0; i < COUNT; i++) {
        struct timespec limit = soon();
        ssize_t got = waitcomplete(&done, &limit);
        saw(done, COUNT);
        CHECK_EQ(got, done != &cbs[COUNT - 1]);
    }
    nothing_left();
}

/* Resubmitted as soon as reported, as a loop over completions does. */
CASE(39, waitcomplete_loop, SHIM_ONLY, 30)
{
    int left = 5000;
    start_file_reads(32);
    for (int running = 32; running > 0; running--) {
        struct aiocb *done;
        CHECK_EQ(waitcomplete(&done, NULL), 1);
        CHECK_EQ(bytes[done - cbs], (char)pattern_byte((size_t)done->aio_offset, 1));
        if (left-- > 0) {
            done->aio_offset = left % COUNT;
            CHECK_EQ(aio_read(done), 0);
            running++;
        }
    }
    nothing_left();
}

CASE(39, waitn_collects, SHIM_ONLY, 20)
{
    struct aiocb *list[COUNT];
    struct timespec limit = soon();
    start_file_reads(COUNT);
    for (unsigned have = 0; have < COUNT;) {
        unsigned count = 10, least = COUNT - have < 10 ? COUNT - have : 10; /* of the last few it takes what there is */
        CHECK_EQ(waitn(list, 50, &count, &limit), 0);
        CHECK(count >= least && count <= 50, "%u", count);
        for (unsigned i = 0; i < count; i++)
            saw(list[i], COUNT);
        have += count;
        CHECK(have <= COUNT);
    }
    unsigned count = 1;
    CHECK_FAILS(waitn(list, 1, &count, &(struct timespec){0, 0}), EAGAIN); /* nothing is outstanding */
    CHECK_EQ(count, 0);
}

CASE(39, waitn_and_time, SHIM_ONLY, 20)
{
    struct aiocb *list[4];
    unsigned count = 1;
    start_pipe_read(&cbs[0]);
    CHECK_FAILS(waitn(list, 4, &count, &(struct timespec){0, 50000000}), ETIME);
    CHECK_EQ(count, 0);
    start_pipe_read(&cbs[1]);
    SETUP(write(ends[1], "x", 1) == 1);
    count = 2;
    CHECK_FAILS(waitn(list, 4, &count, &(struct timespec){0, 100000000}), ETIME); /* what there is */
    CHECK_EQ(count, 1);
    CHECK(list[0] == &cbs[0]);
    count = 0;
    CHECK_FAILS(waitn(list, 4, &count, NULL), EINVAL);
    count = 5;
    CHECK_FAILS(waitn(list, 4, &count, NULL), EINVAL);
    count = 1;
    CHECK_FAILS(waitn(list, 0, &count, NULL), EINVAL);
    SETUP(write(ends[1], "x", 1) == 1);
    count = 1;
    CHECK_EQ(waitn(list, 4, &count, NULL), 0);
    CHECK_EQ(count, 1);
    CHECK(list[0] == &cbs[1]);
}
