// Lines 9 and 10: pipes, sockets, terminals and event descriptors answer as read(2) and write(2) do.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include "kinds.h"
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <sys/timerfd.h>

static int nothing_there(int fd, size_t bytes)
{
    static char buffer[4096];
    struct aiocb cb = request(fd, buffer, bytes, 0);
    if (aio_read(&cb) == -1)
        return errno;
    return wait_done(&cb);
}

CASE(9, nonblocking_read_of_nothing, GLIBC_OK, 10)
{
    for (enum kind kind = 0; kind < STREAM_KINDS; kind++) {
        struct pair pair = make_pair(kind);
        for (int end = 0; end <= pair.both; end++) {
            set_nonblocking(pair.ends[end], true);
            for (int i = 0; i < 5; i++) {
                int error = nothing_there(pair.ends[end], 10);
                CHECK(error == EAGAIN, "%s end %d: error %d", kind_names[kind], end, error);
            }
        }
        close_pair(&pair);
    }
}

CASE(9, nonblocking_event_descriptors, GLIBC_OK, 10)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fds[] = {eventfd(0, EFD_NONBLOCK), timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), inotify_init1(IN_NONBLOCK),
                 signalfd(-1, &set, SFD_NONBLOCK)};
    static const char *const kinds[] = {"eventfd", "timerfd", "inotify", "signalfd"};
    for (size_t i = 0; i < 4; i++) {
        SETUP(fds[i] >= 0);
        int error = nothing_there(fds[i], 4096);
        CHECK(error == EAGAIN, "%s: error %d", kinds[i], error);
    }
    uint64_t most = UINT64_MAX - 1;
    SETUP(write(fds[0], &most, 8) == 8);
    struct aiocb cb = request(fds[0], &most, 8, 0); /* no room for so much */
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_ENDS(&cb, EAGAIN);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 8);
}

/* Blocking ones wait, and then deliver. */
CASE(9, blocking_event_descriptors, GLIBC_OK, 10)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    uint64_t value = 0, ticks = 0;
    int event = eventfd(0, 0), timer = timerfd_create(CLOCK_MONOTONIC, 0);
    struct aiocb from_event = request(event, &value, 8, 0), from_timer = request(timer, &ticks, 8, 0);
    CHECK_EQ(aio_read(&from_event), 0);
    CHECK_EQ(aio_read(&from_timer), 0);
    sleep_ms(30);
    CHECK_EQ(aio_error(&from_event), EINPROGRESS);
    CHECK_EQ(aio_error(&from_timer), EINPROGRESS);
    SETUP(write(event, &(uint64_t){77}, 8) == 8);
    SETUP(timerfd_settime(timer, 0, &(struct itimerspec){.it_value.tv_nsec = 1000000}, NULL) == 0);
    CHECK_DONE(&from_event, 8);
    CHECK_EQ(value, 77);
    CHECK_DONE(&from_timer, 8);
    CHECK_EQ(ticks, 1);
}

/* O_NONBLOCK may be set and cleared at any time on the same descriptor. */
CASE(9, nonblocking_comes_and_goes, GLIBC_OK, 20)
{
    for (enum kind kind = 0; kind < STREAM_KINDS; kind++) {
        struct pair pair = make_pair(kind);
        for (int round = 0; round < 5; round++) {
            char text[6] = "";
            struct aiocb cb = request(pair.ends[0], text, 5, 0);
            set_nonblocking(pair.ends[0], false);
            CHECK_EQ(aio_read(&cb), 0);
            sleep_ms(5);
            CHECK(aio_error(&cb) == EINPROGRESS, "%s: error %d", kind_names[kind], aio_error(&cb));
            SETUP(write(pair.ends[1], "hello", 5) == 5);
            CHECK_DONE(&cb, 5);
            CHECK(strcmp(text, "hello") == 0, "%s: %s", kind_names[kind], text);
            set_nonblocking(pair.ends[0], true);
            int error = nothing_there(pair.ends[0], 5);
            CHECK(error == EAGAIN, "%s: error %d", kind_names[kind], error);
            SETUP(write(pair.ends[1], "again", 5) == 5);
            WAIT_FOR((error = nothing_there(pair.ends[0], 5)) != EAGAIN); /* TCP and pty take a moment */
            CHECK_EQ(error, 0);
        }
        close_pair(&pair);
    }
}

static size_t fill_up(int fd)
{
    static char much[1 << 16];
    size_t total = 0;
    ssize_t put;
    set_nonblocking(fd, true);
    for (int rest = 0; rest < 20;) /* TCP makes room for more a little later */
        if ((put = write(fd, much, sizeof much)) > 0 || (put = write(fd, much, 1)) > 0)
            total += (size_t)put;
        else
            rest++, sleep_ms(1);
    return total;
}

CASE(9, nonblocking_write_without_room, GLIBC_OK, 20)
{
    static const enum kind kinds[] = {PIPE, FIFO, UNIX_STREAM, TCP, PTY};
    for (size_t i = 0; i < 5; i++) {
        struct pair pair = make_pair(kinds[i]);
        char byte = 1;
        int error = 0;
        for (int try = 0; error != EAGAIN && try < 50; try++) { /* on a busy machine TCP makes room for more much later */
            fill_up(pair.ends[1]);
            struct aiocb cb = request(pair.ends[1], &byte, 1, 0);
            CHECK_EQ(aio_write(&cb), 0);
            error = wait_done(&cb);
            CHECK(error == EAGAIN || kinds[i] == TCP, "%s: error %d", kind_names[kinds[i]], error);
        }
        CHECK(error == EAGAIN, "%s: error %d", kind_names[kinds[i]], error);
        close_pair(&pair);
    }
}

/* A non-blocking write that fits in part is short, as write(2)'s. */
CASE(9, nonblocking_write_of_too_much, GLIBC_OK, 20)
{
    static char much[16 << 20];
    static const enum kind kinds[] = {PIPE, FIFO, UNIX_STREAM, TCP};
    for (size_t i = 0; i < 4; i++) {
        struct pair pair = make_pair(kinds[i]);
        set_nonblocking(pair.ends[1], true);
        struct aiocb cb = request(pair.ends[1], much, sizeof much, 0);
        CHECK_EQ(aio_write(&cb), 0);
        int error = wait_done(&cb);
        ssize_t put = aio_return(&cb);
        CHECK(error == 0 && put > 0 && put < (ssize_t)sizeof much, "%s: error %d, %zd", kind_names[kinds[i]], error, put);
        close_pair(&pair);
    }
}

/* Whatever arrives first ends a read, however much was asked for. */
CASE(9, reads_take_what_is_there, GLIBC_OK, 10)
{
    for (enum kind kind = 0; kind < STREAM_KINDS; kind++) {
        struct pair pair = make_pair(kind);
        char text[4096];
        struct aiocb cb = request(pair.ends[0], text, sizeof text, 0);
        CHECK_EQ(aio_read(&cb), 0);
        sleep_ms(5);
        SETUP(write(pair.ends[1], "abc", 3) == 3);
        CHECK_DONE(&cb, 3);
        SETUP(write(pair.ends[1], "defg", 4) == 4);
        cb = request(pair.ends[0], text + 3, sizeof text - 3, 0);
        CHECK_EQ(aio_read(&cb), 0);
        CHECK_DONE(&cb, 4);
        CHECK(memcmp(text, "abcdefg", 7) == 0, "%s", kind_names[kind]);
        close_pair(&pair);
    }
}

CASE(9, end_of_stream_while_a_read_waits, GLIBC_OK, 10)
{
    static const enum kind kinds[] = {PIPE, FIFO, UNIX_STREAM, TCP};
    for (size_t i = 0; i < 4; i++) {
        struct pair pair = make_pair(kinds[i]);
        char byte;
        struct aiocb cb = request(pair.ends[0], &byte, 1, 0);
        CHECK_EQ(aio_read(&cb), 0);
        sleep_ms(5);
        CHECK_EQ(aio_error(&cb), EINPROGRESS);
        close(pair.ends[1]);
        CHECK_DONE(&cb, 0);
        close(pair.ends[0]);
    }
}

/* SO_RCVTIMEO ends a waiting read with EAGAIN, as read(2). */
CASE(9, receive_timeout, GLIBC_OK, 10)
{
    struct pair pair = make_pair(UNIX_STREAM);
    struct timeval limit = {0, 50000};
    char byte;
    SETUP(setsockopt(pair.ends[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    struct aiocb cb = request(pair.ends[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_ENDS(&cb, EAGAIN);
}

/* ---- line 10 ---- */

struct drain {
    int fd, slow;
    size_t bytes;
    unsigned seed;
    ssize_t wrong;
};
static void *drain(void *argument)
{
    struct drain *task = argument;
    static unsigned char piece[30000];
    task->wrong = -1;
    for (size_t at = 0; at < task->bytes;) {
        ssize_t got = read(task->fd, piece, sizeof piece);
        if (got < 0 && errno == EINTR)
            continue;
        SETUP(got > 0, "%zd at %zu", got, at);
        if (task->wrong < 0 && pattern_wrong(piece, (size_t)got, at, task->seed) >= 0)
            task->wrong = (ssize_t)at;
        at += (size_t)got;
        if (task->slow)
            sleep_ms(1);
    }
    return NULL;
}

static void nudge(int signo) { (void)signo; }

static void whole_write(enum kind kind, size_t bytes, bool interrupted)
{
    struct pair pair = make_pair(kind);
    unsigned char *buffer = pages(bytes);
    pattern_fill(buffer, bytes, 0, 9);
    if (interrupted) {
        struct sigaction action = {.sa_handler = nudge};
        sigaction(SIGALRM, &action, NULL);
        setitimer(ITIMER_REAL, &(struct itimerval){{0, 1000}, {0, 1000}}, NULL);
    }
    struct drain task = {pair.ends[0], 1, bytes, 9, 0};
    struct aiocb cb = request(pair.ends[1], buffer, bytes, 0);
    CHECK_EQ(aio_write(&cb), 0);
    sleep_ms(20);
    CHECK(aio_error(&cb) == EINPROGRESS, "%s: error %d", kind_names[kind], aio_error(&cb));
    pthread_t thread = start_thread(drain, &task);
    CHECK_DONE(&cb, bytes);
    join_thread(thread);
    CHECK(task.wrong == -1, "%s: wrong from %zd on", kind_names[kind], task.wrong);
    close_pair(&pair);
}
CASE(10, whole_write_to_a_pipe, GLIBC_OK, 20) { whole_write(PIPE, 4 << 20, false); }
CASE(10, whole_write_to_a_fifo, GLIBC_OK, 20) { whole_write(FIFO, 4 << 20, false); }
CASE(10, whole_write_to_a_unix_socket, GLIBC_OK, 20) { whole_write(UNIX_STREAM, 4 << 20, false); }
CASE(10, whole_write_to_tcp, GLIBC_OK, 20) { whole_write(TCP, 32 << 20, false); }
CASE(10, whole_write_to_a_terminal, GLIBC_OK, 20) { whole_write(PTY, 256 << 10, false); }
CASE(10, whole_write_under_signals, GLIBC_OK, 20)
{
    whole_write(PIPE, 2 << 20, true);
    whole_write(UNIX_STREAM, 2 << 20, true);
}

/* Several at once on one pipe: each in one piece, in call order. */
CASE(10, many_whole_writes, GLIBC_OK, 30)
{
    enum { COUNT = 16, SIZE = 200001 };
    static const enum kind kinds[] = {PIPE, UNIX_STREAM, TCP};
    for (size_t k = 0; k < 3; k++) {
        struct pair pair = make_pair(kinds[k]);
        unsigned char *buffer = pages(COUNT * SIZE);
        struct aiocb cbs[COUNT];
        struct drain task = {pair.ends[0], 0, COUNT * SIZE, 10, 0};
        pattern_fill(buffer, COUNT * SIZE, 0, 10);
        for (int i = 0; i < COUNT; i++) {
            cbs[i] = request(pair.ends[1], buffer + i * SIZE, SIZE, 0);
            CHECK_EQ(aio_write(&cbs[i]), 0);
        }
        pthread_t thread = start_thread(drain, &task);
        for (int i = 0; i < COUNT; i++)
            CHECK_DONE(&cbs[i], SIZE);
        join_thread(thread);
        CHECK(task.wrong == -1, "%s: wrong from %zd on", kind_names[kinds[k]], task.wrong);
        close_pair(&pair);
    }
}

/* Datagrams keep their borders. */
CASE(10, datagrams_stay_whole, GLIBC_OK, 10)
{
    static const enum kind kinds[] = {UNIX_DGRAM, UDP};
    for (size_t k = 0; k < 2; k++) {
        struct pair pair = make_pair(kinds[k]);
        for (int i = 1; i < 50; i++) {
            unsigned char out[500], in[600];
            pattern_fill(out, (size_t)i * 10, 0, (unsigned)i);
            struct aiocb put = request(pair.ends[1], out, (size_t)i * 10, 0), get = request(pair.ends[0], in, sizeof in, 0);
            CHECK_EQ(aio_read(&get), 0);
            CHECK_EQ(aio_write(&put), 0);
            CHECK_DONE(&put, i * 10);
            CHECK_DONE(&get, i * 10);
            CHECK_EQ(pattern_wrong(in, (size_t)i * 10, 0, (unsigned)i), -1);
        }
        close_pair(&pair);
    }
}
