/* order_nonblock.c - with O_NONBLOCK, a request answers what read(2) and write(2) answer in the same state: each
 * question is put to both, on twins. SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static ssize_t answer(ssize_t result, int error) { return result < 0 ? -error : result; }

static ssize_t by_aio(int (*submit)(struct aiocb *), int fd, void *data, size_t bytes)
{
    struct aiocb cb = request(fd, data, bytes, 0);
    CHECK_EQ(submit(&cb), 0);
    int error = wait_done(&cb);
    return answer(aio_return(&cb), error);
}
static ssize_t by_read(int fd, void *data, size_t bytes)
{
    ssize_t got = read(fd, data, bytes);
    return answer(got, errno);
}
static ssize_t by_write(int fd, const void *data, size_t bytes)
{
    ssize_t put = write(fd, data, bytes);
    return answer(put, errno);
}

static void nonblocking(int fd)
{
    SETUP(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0);
}

/* Empty, partly filled, full, ended: every state of a stream. */
static void like_the_call(enum stream kind)
{
    enum { BIG = 4 << 20 };
    struct ends mine = open_stream(kind), twin = open_stream(kind);
    unsigned char *data = pages(BIG), *other = pages(BIG);
    nonblocking(mine.reader), nonblocking(mine.writer), nonblocking(twin.reader), nonblocking(twin.writer);
    pattern_fill(data, BIG, 0, 1);
    for (int round = 0; round < 20; round++) {
        unsigned char in[100], in_twin[100];
        CHECK_EQ(by_aio(aio_read, mine.reader, in, sizeof in), by_read(twin.reader, in_twin, sizeof in_twin));
        CHECK_EQ(by_aio(aio_write, mine.writer, data, 60), by_write(twin.writer, data, 60));
        WAIT_FOR(readable_bytes(mine.reader) == 60 && readable_bytes(twin.reader) == 60);
        CHECK_EQ(by_aio(aio_read, mine.reader, in, sizeof in), by_read(twin.reader, in_twin, sizeof in_twin));
        CHECK(memcmp(in, data, 60) == 0);
    }
    if (kind == TCP_SOCKET)
        return; /* how much it buffers is the kernel's mood */
    ssize_t first = by_aio(aio_write, mine.writer, data, BIG), first_twin = by_write(twin.writer, data, BIG);
    CHECK(first > 0 && first < BIG, "%zd", first); /* as much as fits: not whole, not waiting */
    if (kind <= UNIX_SOCKET) /* how much a tty takes depends on how far its line has moved on */
        CHECK_EQ(first, first_twin);
    if (kind <= UNIX_SOCKET)
        CHECK_EQ(by_aio(aio_write, mine.writer, data, 1), by_write(twin.writer, data, 1));
    for (ssize_t have = 0; have < first;) {
        ssize_t got = by_aio(aio_read, mine.reader, other + have, BIG);
        if (got == -EAGAIN)
            continue;
        CHECK(got > 0, "%zd", got);
        have += got;
    }
    CHECK(memcmp(other, data, (size_t)first) == 0, "the data of the short write");
}
CASE(9, nonblocking_pipes_answer_like_the_call, GLIBC_OK, 20) { like_the_call(PIPE); }
CASE(9, nonblocking_fifos_answer_like_the_call, GLIBC_OK, 20) { like_the_call(FIFO); }
CASE(9, nonblocking_unix_sockets_answer_like_the_call, GLIBC_OK, 20) { like_the_call(UNIX_SOCKET); }
CASE(9, nonblocking_tcp_sockets_answer_like_the_call, GLIBC_OK, 20) { like_the_call(TCP_SOCKET); }
CASE(9, nonblocking_ttys_answer_like_the_call, GLIBC_OK, 20) { like_the_call(PTY_SLAVE); }

CASE(9, nonblocking_ends_of_streams_answer_like_the_call, GLIBC_OK, 20)
{
    signal(SIGPIPE, SIG_IGN);
    for (int kind = PIPE; kind <= PTY_MASTER; kind++) {
        struct ends mine = open_stream(kind), twin = open_stream(kind);
        char data[8] = "";
        nonblocking(mine.reader), nonblocking(twin.reader);
        close(mine.writer), close(twin.writer);
        ssize_t of_call, of_aio;
        WAIT_FOR((of_call = by_read(twin.reader, data, 8)) != -EAGAIN);
        WAIT_FOR((of_aio = by_aio(aio_read, mine.reader, data, 8)) != -EAGAIN);
        CHECK(of_aio == of_call, "%s: %zd, the call says %zd", stream_name(kind), of_aio, of_call);
        mine = open_stream(kind), twin = open_stream(kind);
        nonblocking(mine.writer), nonblocking(twin.writer);
        close(mine.reader), close(twin.reader);
        of_call = by_write(twin.writer, data, 8), of_aio = by_aio(aio_write, mine.writer, data, 8);
        CHECK(of_aio == of_call, "%s: %zd, the call says %zd", stream_name(kind), of_aio, of_call);
    }
}

CASE(9, nonblocking_counters_answer_like_the_call, GLIBC_OK, 20)
{
    int mine = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), twin = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    uint64_t count = 0, count_twin = 0;
    CHECK_EQ(by_aio(aio_read, mine, &count, 8), by_read(twin, &count_twin, 8)); /* EAGAIN */
    CHECK_EQ(by_aio(aio_read, mine, &count, 4), by_read(twin, &count_twin, 4)); /* EINVAL */
    for (int round = 0; round < 10; round++) {
        uint64_t much = UINT64_MAX - 1, one = 1;
        CHECK_EQ(by_aio(aio_write, mine, &much, 8), by_write(twin, &much, 8));
        CHECK_EQ(by_aio(aio_write, mine, &one, 8), by_write(twin, &one, 8)); /* EAGAIN: full */
        CHECK_EQ(by_aio(aio_read, mine, &count, 8), by_read(twin, &count_twin, 8));
        CHECK_EQ(count, count_twin);
    }
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    struct itimerspec soon = {.it_value.tv_nsec = 1};
    char event[4096];
    CHECK_EQ(by_aio(aio_read, timer, &count, 8), -EAGAIN);
    SETUP(timerfd_settime(timer, 0, &soon, NULL) == 0);
    WAIT_FOR(by_aio(aio_read, timer, &count, 8) == 8);
    CHECK_EQ(by_aio(aio_read, watch, event, sizeof event), -EAGAIN);
    SETUP(inotify_add_watch(watch, "/dev/null", IN_OPEN) >= 0);
    close(open("/dev/null", O_RDONLY));
    WAIT_FOR(by_aio(aio_read, watch, event, sizeof event) > 0);
    sigset_t set;
    sigemptyset(&set);
    int signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    CHECK_EQ(by_aio(aio_read, signals, event, sizeof event), -EAGAIN);
}

/* Eight nonblocking reads of a pipe that has three bytes: three get one, five get EAGAIN, none waits. */
CASE(9, nonblocking_reads_in_a_row, GLIBC_OK, 20)
{
    for (int round = 0; round < 50; round++) {
        struct ends ends = open_stream(PIPE);
        struct aiocb cb[8];
        unsigned char data[8];
        nonblocking(ends.reader);
        feed(ends.writer, 3, 0, 2);
        for (int i = 0; i < 8; i++) {
            cb[i] = request(ends.reader, &data[i], 1, 0);
            CHECK_EQ(aio_read(&cb[i]), 0);
        }
        for (int i = 0; i < 8; i++) {
            if (i < 3)
                CHECK_DONE(&cb[i], 1);
            else
                CHECK_ENDS(&cb[i], EAGAIN);
        }
        CHECK_EQ(pattern_wrong(data, 3, 0, 2), -1);
        close(ends.reader);
        close(ends.writer);
    }
}

/* Blocking descriptors beside nonblocking ones of the same pipe: the flag is the open file's, at the time. */
CASE(9, the_flag_is_that_of_the_open_file, GLIBC_OK, 20)
{
    struct ends ends = open_stream(PIPE);
    char path[64], byte[2];
    snprintf(path, sizeof path, "/proc/self/fd/%d", ends.reader);
    int other = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    SETUP(other >= 0);
    struct aiocb waits = request(ends.reader, &byte[0], 1, 0), asks = request(other, &byte[1], 1, 0);
    CHECK_EQ(aio_read(&waits), 0);
    CHECK_EQ(aio_read(&asks), 0);
    CHECK_ENDS(&asks, EAGAIN);
    CHECK_EQ(aio_error(&waits), EINPROGRESS);
    write_all(ends.writer, "w", 1);
    CHECK_DONE(&waits, 1);
}
