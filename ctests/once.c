// Lines 11 to 13: memory is used only while the request runs; one submission at a time; the thread may go.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include "kinds.h"

/* ---- line 11 ---- */

enum { PAGE = 4096, UNMAP_MS = 1200 };
enum learn { BY_STATUS, BY_SUSPEND, BY_LIST };
struct unmapper {
    int fd;
    enum learn learn;
    long done;
};

/* The aiocb at the end of one page, its buffer in the next: both go away as soon as the status says so. */
static void *unmap_after_completion(void *argument)
{
    struct unmapper *task = argument;
    int64_t until = now_ns() + UNMAP_MS * 1000000ll;
    while (now_ns() < until) {
        char *memory = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        SETUP(memory != MAP_FAILED);
        struct aiocb *cb = (struct aiocb *)(memory + PAGE) - 1, *list[] = {cb};
        const struct aiocb *waited[] = {cb};
        *cb = request(task->fd, memory + PAGE, PAGE, task->done % 15 * PAGE);
        cb->aio_lio_opcode = LIO_READ;
        if (task->learn == BY_LIST) {
            CHECK_EQ(lio_listio(LIO_WAIT, list, 1, NULL), 0);
        } else {
            CHECK_EQ(aio_read(cb), 0);
            while (aio_error(cb) == EINPROGRESS)
                if (task->learn == BY_SUSPEND)
                    CHECK_EQ(aio_suspend(waited, 1, NULL), 0);
        }
        munmap(memory, 2 * PAGE);
        task->done++;
    }
    return NULL;
}

static void unmap_everywhere(enum place where, enum learn learn)
{
    enum { THREADS = 4 };
    pthread_t running[THREADS];
    struct unmapper tasks[THREADS];
    int fd = temp_file(where, 16 * PAGE, 1, 0);
    for (int i = 0; i < THREADS; i++) {
        tasks[i] = (struct unmapper){fd, learn, i};
        running[i] = start_thread(unmap_after_completion, &tasks[i]);
    }
    for (int i = 0; i < THREADS; i++)
        join_thread(running[i]);
    for (int i = 0; i < THREADS; i++)
        CHECK(tasks[i].done > i, "thread %d did nothing", i);
}
CASE(11, unmap_when_the_status_says_so, GLIBC_OK, 20) { unmap_everywhere(ON_DISK, BY_STATUS); }
CASE(11, unmap_when_the_status_says_so_direct, GLIBC_OK, 20) { unmap_everywhere(DIRECT, BY_STATUS); }
CASE(11, unmap_after_suspend, GLIBC_OK, 20) { unmap_everywhere(DIRECT, BY_SUSPEND); }
CASE(11, unmap_after_a_list, GLIBC_OK, 20) { unmap_everywhere(DIRECT, BY_LIST); }

/* The same over pipes, where completion comes from the feeding thread's side. */
static void *feed(void *argument)
{
    for (int i = 0; i < 3000; i++)
        SETUP(write(*(int *)argument, "x", 1) == 1);
    return NULL;
}
CASE(11, unmap_after_a_pipe_read, GLIBC_OK, 20)
{
    int ends[2];
    SETUP(pipe(ends) == 0);
    pthread_t feeder = start_thread(feed, &ends[1]);
    for (int i = 0; i < 3000; i++) {
        struct aiocb *cb = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        SETUP(cb != MAP_FAILED);
        *cb = request(ends[0], (char *)cb + 1000, 1, 0);
        CHECK_EQ(aio_read(cb), 0);
        while (aio_error(cb) == EINPROGRESS) { }
        munmap(cb, PAGE);
    }
    join_thread(feeder);
}

/* A cancelled request is over as well. */
CASE(11, unmap_after_cancel, GLIBC_DEFECT, 20) /* glibc cannot cancel it */
{
    for (int i = 0; i < 1000; i++) {
        struct pair pair = make_pair(i % STREAM_KINDS);
        struct aiocb *cb = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        char *buffer = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), byte;
        SETUP(cb != MAP_FAILED && buffer != MAP_FAILED);
        *cb = request(pair.ends[0], buffer, PAGE, 0);
        CHECK_EQ(aio_read(cb), 0);
        CHECK_EQ(aio_cancel(pair.ends[0], cb), AIO_CANCELED);
        CHECK_EQ(aio_error(cb), ECANCELED);
        munmap(cb, PAGE);
        munmap(buffer, PAGE);
        SETUP(write(pair.ends[1], "y", 1) == 1);
        CHECK(read(pair.ends[0], &byte, 1) == 1 && byte == 'y'); /* nothing took it */
        close_pair(&pair);
    }
}

/* The callback frees its own request. */
static volatile int freed;
static void free_it(union sigval value)
{
    munmap(value.sival_ptr, 2 * PAGE);
    __atomic_fetch_add(&freed, 1, __ATOMIC_RELAXED);
}
CASE(11, unmap_in_the_callback, GLIBC_OK, 20)
{
    enum { COUNT = 1000 };
    int fd = temp_file(ON_DISK, 16 * PAGE, 1, 0);
    for (int i = 0; i < COUNT; i++) {
        struct aiocb *cb = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        SETUP(cb != MAP_FAILED);
        *cb = request(fd, (char *)cb + PAGE, PAGE, i % 16 * PAGE);
        cb->aio_sigevent.sigev_notify = SIGEV_THREAD;
        cb->aio_sigevent.sigev_notify_function = free_it;
        cb->aio_sigevent.sigev_value.sival_ptr = cb;
        CHECK_EQ(aio_read(cb), 0);
        while (i - freed > 50)
            sleep_ms(1);
    }
    WAIT_FOR(freed == COUNT);
}

/* After the end nothing is written any more: not to the buffer, not to the aiocb. */
CASE(11, nothing_is_written_afterwards, GLIBC_OK, 20)
{
    enum { COUNT = 64 };
    int fd = temp_file(ON_DISK, 16 * PAGE, 1, 0);
    static struct aiocb cbs[COUNT], copies[COUNT];
    static char buffers[COUNT][512];
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < COUNT; i++) {
            cbs[i] = request(fd, buffers[i], 512, i * 512);
            CHECK_EQ(aio_read(&cbs[i]), 0);
        }
        for (int i = 0; i < COUNT; i++) {
            wait_done(&cbs[i]);
            memset(&cbs[i], 0xee, sizeof cbs[i]);
            memset(buffers[i], 0xee, 512);
        }
        memset(copies, 0xee, sizeof copies);
        sleep_ms(2);
        CHECK(memcmp(cbs, copies, sizeof cbs) == 0);
        for (int i = 0; i < COUNT; i++)
            for (int k = 0; k < 512; k++)
                CHECK((unsigned char)buffers[i][k] == 0xee, "buffer %d byte %d", i, k);
    }
}

/* ---- line 12 ---- */

static volatile sig_atomic_t notified;
static void count(int signo) { (void)signo; notified++; }

CASE(12, second_submission_is_refused, GLIBC_DEFECT, 10)
{
    int ends[2];
    char text[6] = "";
    SETUP(pipe(ends) == 0);
    signal(SIGRTMIN, count);
    struct aiocb cb = request(ends[0], text, 5, 0), *list[] = {&cb};
    cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    cb.aio_sigevent.sigev_signo = SIGRTMIN;
    CHECK_EQ(aio_read(&cb), 0);
    for (int i = 0; i < 3; i++) {
        CHECK_FAILS(aio_read(&cb), EINVAL);
        CHECK_FAILS(aio_write(&cb), EINVAL);
        CHECK_FAILS(aio_fsync(O_SYNC, &cb), EINVAL);
        cb.aio_lio_opcode = LIO_READ;
        CHECK_FAILS(lio_listio(LIO_NOWAIT, list, 1, NULL), EIO);
        CHECK_EQ(aio_error(&cb), EINPROGRESS);
    }
    SETUP(write(ends[1], "hello", 5) == 5);
    CHECK_DONE(&cb, 5);
    CHECK(strcmp(text, "hello") == 0);
    WAIT_FOR(notified == 1);
    sleep_ms(20);
    CHECK_EQ(notified, 1);
    CHECK_EQ(aio_read(&cb), 0); /* and now it may go again */
    SETUP(write(ends[1], "again", 5) == 5);
    CHECK_DONE(&cb, 5);
    WAIT_FOR(notified == 2);
}

/* A refused fsync (bad operation or descriptor) of a running request does not end the request either. */
CASE(12, a_refused_fsync_leaves_the_first_alone, GLIBC_DEFECT, 10)
{
    int ends[2];
    char text[6] = "";
    SETUP(pipe(ends) == 0);
    struct aiocb cb = request(ends[0], text, 5, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_FAILS(aio_fsync(4711, &cb), EINVAL);
    CHECK_EQ(aio_error(&cb), EINPROGRESS);
    cb.aio_reqprio = 1000;
    CHECK_FAILS(aio_read(&cb), EINVAL);
    cb.aio_reqprio = 0;
    CHECK_EQ(aio_error(&cb), EINPROGRESS);
    SETUP(write(ends[1], "hello", 5) == 5);
    CHECK_DONE(&cb, 5);
}

CASE(12, twice_in_one_list, GLIBC_DEFECT, 10)
{
    int ends[2];
    char text[6] = "";
    SETUP(pipe(ends) == 0);
    struct aiocb cb = request(ends[0], text, 5, 0), *list[] = {&cb, &cb};
    cb.aio_lio_opcode = LIO_READ;
    CHECK_FAILS(lio_listio(LIO_NOWAIT, list, 2, NULL), EIO);
    CHECK_EQ(aio_error(&cb), EINPROGRESS);
    SETUP(write(ends[1], "hello", 5) == 5);
    CHECK_DONE(&cb, 5);
    SETUP(write(ends[1], "world", 5) == 5);
    sleep_ms(20);
    CHECK(memcmp(text, "hello", 5) == 0, "%s", text); /* the second is not running */
}

/* In a waiting list the refused element is an error, and the wait does not last for ever. */
static struct aiocb shared_cb;
static void *feed_soon(void *argument)
{
    sleep_ms(50);
    SETUP(write(*(int *)argument, "hello", 5) == 5);
    return NULL;
}
CASE(12, twice_in_a_waiting_list, GLIBC_DEFECT, 6)
{
    int ends[2], fd = temp_file(ON_DISK, 100, 1, 0);
    char text[6] = "", other[10];
    SETUP(pipe(ends) == 0);
    shared_cb = request(ends[0], text, 5, 0);
    struct aiocb file = request(fd, other, 10, 0), *list[] = {&shared_cb, &file};
    shared_cb.aio_lio_opcode = file.aio_lio_opcode = LIO_READ;
    CHECK_EQ(aio_read(&shared_cb), 0);
    pthread_t feeder = start_thread(feed_soon, &ends[1]);
    CHECK_FAILS(lio_listio(LIO_WAIT, list, 2, NULL), EIO);
    CHECK_DONE(&file, 10);
    join_thread(feeder);
    CHECK_DONE(&shared_cb, 5);
}

/* Threads that try at the same moment: one of them gets it. */
static char racing_byte;
static void *race(void *argument)
{
    pthread_barrier_t *start = argument;
    pthread_barrier_wait(start);
    return (void *)(intptr_t)(aio_read(&shared_cb) == 0);
}
CASE(12, threads_race_for_one_aiocb, SHIM_ONLY, 20)
{
    enum { THREADS = 4 };
    for (int round = 0; round < 100; round++) {
        int ends[2], won = 0;
        pthread_t running[THREADS];
        pthread_barrier_t start;
        SETUP(pipe(ends) == 0);
        pthread_barrier_init(&start, NULL, THREADS);
        shared_cb = request(ends[0], &racing_byte, 1, 0);
        for (int i = 0; i < THREADS; i++)
            running[i] = start_thread(race, &start);
        for (int i = 0; i < THREADS; i++)
            won += join_thread(running[i]) != NULL;
        CHECK_EQ(won, 1);
        CHECK_EQ(aio_error(&shared_cb), EINPROGRESS);
        SETUP(write(ends[1], "xy", 2) == 2);
        CHECK_DONE(&shared_cb, 1);
        CHECK(read(ends[0], &racing_byte, 1) == 1 && racing_byte == 'y');
        close(ends[0]);
        close(ends[1]);
    }
}

/* An aiocb that ended may be submitted from its own handler or by whoever saw the end. */
CASE(12, again_as_soon_as_it_ended, GLIBC_OK, 20)
{
    int fd = temp_file(ON_DISK, 16 * PAGE, 1, O_DSYNC);
    char *buffer = pages(PAGE);
    struct aiocb cb = request(fd, buffer, PAGE, 0);
    int64_t until = now_ns() + 1000000000;
    for (int i = 0; now_ns() < until; i++) {
        cb.aio_offset = i % 16 * PAGE;
        CHECK(aio_read(&cb) == 0, "round %d", i);
        while (aio_error(&cb) == EINPROGRESS) { }
        CHECK_EQ(aio_return(&cb), PAGE);
    }
}

/* ---- line 13 ---- */

struct short_lived {
    struct aiocb cb;
    int ends[2];
    char text[6];
};
static void *submit_and_go(void *argument)
{
    struct short_lived *task = argument;
    CHECK_EQ(aio_read(&task->cb), 0);
    return NULL;
}

static void outlive(bool detached, size_t stack)
{
    enum { COUNT = 100 };
    static struct short_lived tasks[COUNT];
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    if (stack)
        SETUP(pthread_attr_setstacksize(&attributes, stack) == 0);
    if (detached)
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    signal(SIGRTMIN, count);
    for (int i = 0; i < COUNT; i++) {
        pthread_t thread;
        SETUP(pipe(tasks[i].ends) == 0);
        tasks[i].cb = request(tasks[i].ends[0], tasks[i].text, 5, 0);
        tasks[i].cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
        tasks[i].cb.aio_sigevent.sigev_signo = SIGRTMIN;
        SETUP(pthread_create(&thread, &attributes, submit_and_go, &tasks[i]) == 0);
        if (!detached)
            join_thread(thread);
        else
            WAIT_FOR(aio_error(&tasks[i].cb) == EINPROGRESS);
    }
    sleep_ms(50);
    for (int i = 0; i < COUNT; i++)
        CHECK(aio_error(&tasks[i].cb) == EINPROGRESS, "request %d: %d", i, aio_error(&tasks[i].cb));
    for (int i = 0; i < COUNT; i++)
        SETUP(write(tasks[i].ends[1], "hello", 5) == 5);
    for (int i = 0; i < COUNT; i++) {
        CHECK_DONE(&tasks[i].cb, 5);
        CHECK(strcmp(tasks[i].text, "hello") == 0);
    }
    WAIT_FOR(notified == COUNT);
}
CASE(13, requests_outlive_their_thread, GLIBC_OK, 20) { outlive(false, 0); }
CASE(13, requests_outlive_detached_threads, GLIBC_OK, 20) { outlive(true, 0); }
CASE(13, requests_outlive_small_threads, GLIBC_OK | NO_VALGRIND, 20) { outlive(false, 16384); }

/* Disk transfers under way when the thread ends, again and again. */
struct burst {
    int fd;
    struct aiocb cbs[16];
    char *buffer;
};
static void *burst(void *argument)
{
    struct burst *task = argument;
    for (int i = 0; i < 16; i++) {
        task->cbs[i] = request(task->fd, task->buffer + i * PAGE, PAGE, i * PAGE);
        CHECK_EQ(aio_write(&task->cbs[i]), 0);
    }
    return NULL;
}
CASE(13, disk_transfers_outlive_their_thread, GLIBC_OK, 20)
{
    static struct burst task;
    task.fd = temp_file(DIRECT, 16 * PAGE, 0, 0);
    task.buffer = pages(16 * PAGE);
    char *back = pages(16 * PAGE);
    for (unsigned round = 1; round <= 50; round++) {
        pattern_fill(task.buffer, 16 * PAGE, 0, round);
        join_thread(start_thread(burst, &task));
        for (int i = 0; i < 16; i++)
            CHECK_DONE(&task.cbs[i], PAGE);
        SETUP(pread(task.fd, back, 16 * PAGE, 0) == 16 * PAGE);
        CHECK_EQ(pattern_wrong(back, 16 * PAGE, 0, round), -1);
    }
}
