// Line 19: aio_error and aio_return.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include "harness.h"
#include <sys/syscall.h>

CASE(19, zeroed_aiocb, GLIBC_OK, 10)
{
    struct aiocb cb;
    memset(&cb, 0, sizeof cb);
    CHECK_EQ(aio_error(&cb), 0);
    CHECK_EQ(aio_return(&cb), 0);
    static struct aiocb never;
    CHECK_EQ(aio_error(&never), 0);
    CHECK_EQ(aio_return(&never), 0);
}

CASE(19, in_progress_then_result, GLIBC_OK, 10)
{
    int ends[2];
    char buffer[8];
    SETUP(pipe(ends) == 0);
    struct aiocb cb = request(ends[0], buffer, 8, 0);
    CHECK_EQ(aio_read(&cb), 0);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(aio_error(&cb), EINPROGRESS);
    SETUP(write(ends[1], "hello", 5) == 5);
    CHECK_EQ(wait_done(&cb), 0);
    for (int i = 0; i < 100; i++) { /* any number of times, in any order */
        CHECK_EQ(aio_return(&cb), 5);
        CHECK_EQ(aio_error(&cb), 0);
        CHECK_EQ(aio_return(&cb), 5);
    }
}

CASE(19, failure_stays_readable, GLIBC_OK, 10)
{
    char byte;
    struct aiocb cb = request(-1, &byte, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_EQ(wait_done(&cb), EBADF);
    for (int i = 0; i < 100; i++) {
        errno = 4321;
        CHECK_EQ(aio_return(&cb), -1);
        CHECK_EQ(errno, 4321);
        CHECK_EQ(aio_error(&cb), EBADF);
        CHECK_EQ(errno, 4321);
    }
}

/* stress-ng and others never call aio_return; the aiocb is simply used again. */
CASE(19, never_returned, GLIBC_OK, 30)
{
    enum { COUNT = 32, ROUNDS = 500 };
    int fd = temp_file(ON_DISK, 4096, 1, 0);
    static struct aiocb cbs[COUNT];
    static unsigned char bytes[COUNT];
    for (int round = 0; round < ROUNDS; round++) {
        memset(bytes, 0, sizeof bytes);
        for (int i = 0; i < COUNT; i++) {
            cbs[i] = request(fd, &bytes[i], 1, (round + i) % 4096);
            CHECK_EQ(aio_read(&cbs[i]), 0);
        }
        for (int i = 0; i < COUNT; i++) {
            CHECK_EQ(wait_done(&cbs[i]), 0);
            CHECK_EQ(bytes[i], pattern_byte((size_t)((round + i) % 4096), 1));
        }
    }
}

/* The same aiocb again without being cleared, in between other operations. */
CASE(19, used_again_as_it_is, GLIBC_OK, 10)
{
    int fd = temp_file(ON_DISK, 4096, 1, 0);
    unsigned char buffer[100];
    struct aiocb cb = request(fd, buffer, 100, 0);
    for (int i = 0; i < 200; i++) {
        cb.aio_offset = i;
        CHECK_EQ(aio_read(&cb), 0);
        CHECK_DONE(&cb, 100);
        CHECK_EQ(pattern_wrong(buffer, 100, (size_t)i, 1), -1);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, 100);
        cb.aio_fildes = -1;
        CHECK_EQ(aio_read(&cb), 0);
        CHECK_ENDS(&cb, EBADF);
        cb.aio_fildes = fd;
        CHECK_EQ(aio_fsync(O_DSYNC, &cb), 0);
        CHECK_DONE(&cb, 0);
    }
}

/* Who sees the status sees the data, the result, and everything the request did. */
struct watched {
    struct aiocb cb;
    unsigned char buffer[4096];
    int round;
};
static struct watched watched;
static pthread_barrier_t gate;
static void *watch(void *argument)
{
    (void)argument;
    for (int round = 0; round < 500; round++) {
        pthread_barrier_wait(&gate);
        while (aio_error(&watched.cb) == EINPROGRESS) { }
        CHECK_EQ(aio_return(&watched.cb), 4096);
        CHECK_EQ(pattern_wrong(watched.buffer, 4096, (size_t)round * 4096 % 65536, 2), -1);
        pthread_barrier_wait(&gate);
    }
    return NULL;
}
CASE(19, another_thread_sees_the_data, GLIBC_OK, 30)
{
    int fd = temp_file(ON_DISK, 65536, 2, 0);
    pthread_barrier_init(&gate, NULL, 3);
    pthread_t one = start_thread(watch, NULL), two = start_thread(watch, NULL);
    for (int round = 0; round < 500; round++) {
        memset(watched.buffer, 0, sizeof watched.buffer);
        watched.cb = request(fd, watched.buffer, 4096, (off_t)round * 4096 % 65536);
        CHECK_EQ(aio_read(&watched.cb), 0);
        pthread_barrier_wait(&gate);
        pthread_barrier_wait(&gate);
    }
    join_thread(one);
    join_thread(two);
}

/* fio asks 15 times a request: asking must not enter the kernel. */
CASE(19, asking_is_cheap, GLIBC_OK | ALONE | NO_VALGRIND, 30)
{
    enum { TIMES = 100000, ROUNDS = 9 };
    int ends[2], fd = temp_file(ON_DISK, 10, 1, 0), cheaper = 0;
    char byte, other;
    SETUP(pipe(ends) == 0);
    struct aiocb waiting = request(ends[0], &byte, 1, 0), done = request(fd, &other, 1, 0);
    CHECK_EQ(aio_read(&waiting), 0);
    CHECK_EQ(aio_read(&done), 0);
    CHECK_DONE(&done, 1);
    for (int round = 0; round < ROUNDS; round++) {
        int64_t t0 = now_ns();
        for (int i = 0; i < TIMES; i++)
            syscall(SYS_getppid);
        int64_t t1 = now_ns();
        for (int i = 0; i < TIMES; i++) {
            CHECK(aio_error(&waiting) == EINPROGRESS);
            CHECK(aio_error(&done) == 0 && aio_return(&done) == 1);
        }
        int64_t t2 = now_ns();
        cheaper += t2 - t1 < 3 * (t1 - t0); /* three questions against three system calls */
    }
    CHECK(cheaper > ROUNDS / 2, "cheaper than a system call in %d of %d rounds", cheaper, ROUNDS);
}
