// Every kind of descriptor with every way to learn of the end: data goes through in both directions.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include "kinds.h"

enum way { BUSY, SUSPEND, SIGNAL, THREAD, LIST_WAIT, LIST_SIGNAL };

static volatile int told[2]; /* how often the write and the read were announced */
static void on_signal(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)context;
    __atomic_add_fetch(&told[info->si_value.sival_int], 1, __ATOMIC_SEQ_CST);
}
static void on_thread(union sigval value) { __atomic_add_fetch(&told[value.sival_int], 1, __ATOMIC_SEQ_CST); }

static struct sigevent announcement(enum way way, int which)
{
    struct sigevent event;
    memset(&event, 0, sizeof event);
    event.sigev_value.sival_int = which;
    event.sigev_notify = way == SIGNAL || way == LIST_SIGNAL ? SIGEV_SIGNAL : way == THREAD ? SIGEV_THREAD : SIGEV_NONE;
    if (event.sigev_notify == SIGEV_SIGNAL)
        event.sigev_signo = SIGRTMIN + 1;
    if (event.sigev_notify == SIGEV_THREAD)
        event.sigev_notify_function = on_thread;
    return event;
}

/* Runs what is not NULL of a write and a read to its end, in the given way. */
static void run_both(enum way way, struct aiocb *put, struct aiocb *get)
{
    struct aiocb *both[] = {put, get};
    struct sigevent list_event = announcement(way, 0);
    int announced = told[0] + told[1], wanted = way == LIST_SIGNAL ? 1 : (put != NULL) + (get != NULL);
    for (int i = 0; i < 2; i++)
        if (both[i]) {
            both[i]->aio_lio_opcode = i ? LIO_READ : LIO_WRITE;
            if (way == SIGNAL || way == THREAD)
                both[i]->aio_sigevent = announcement(way, i);
        }
    if (way == LIST_WAIT) {
        CHECK_EQ(lio_listio(LIO_WAIT, both, 2, NULL), 0);
    } else if (way == LIST_SIGNAL) {
        CHECK_EQ(lio_listio(LIO_NOWAIT, both, 2, &list_event), 0);
    } else {
        if (get)
            CHECK_EQ(aio_read(get), 0);
        if (put)
            CHECK_EQ(aio_write(put), 0);
    }
    if (way == SIGNAL || way == THREAD || way == LIST_SIGNAL)
        WAIT_FOR(told[0] + told[1] == announced + wanted, "%d of %d", told[0] + told[1] - announced, wanted);
    for (int i = 0; i < 2; i++) {
        const struct aiocb *list[] = {both[i]};
        while (both[i] && way == SUSPEND && aio_error(both[i]) == EINPROGRESS)
            CHECK_EQ(aio_suspend(list, 1, &(struct timespec){10, 0}), 0);
        while (both[i] && way == BUSY && aio_error(both[i]) == EINPROGRESS) { }
        CHECK(!both[i] || aio_error(both[i]) == 0, "%s: %d", i ? "read" : "write", aio_error(both[i]));
    }
}

enum { LARGEST = 60000 };
static const size_t sizes[] = {1, 100, 4096, LARGEST};

static void through(enum way way, struct pair *pair, int from, int to, size_t bytes, unsigned seed)
{
    static unsigned char out[LARGEST], in[LARGEST];
    pattern_fill(out, bytes, 0, seed);
    memset(in, 0, bytes);
    struct aiocb put = request(pair->ends[from], out, bytes, 0), get = request(pair->ends[to], in, bytes, 0);
    run_both(way, &put, &get);
    CHECK_EQ(aio_return(&put), bytes);
    size_t have = (size_t)aio_return(&get);
    CHECK(have > 0 && have <= bytes, "%zu of %zu", have, bytes);
    while (have < bytes) { /* a stream gives what it has */
        get = request(pair->ends[to], in + have, bytes - have, 0);
        run_both(way, NULL, &get);
        CHECK(aio_return(&get) > 0, "end after %zu of %zu", have, bytes);
        have += (size_t)aio_return(&get);
    }
    CHECK_EQ(pattern_wrong(in, bytes, 0, seed), -1);
}

static void stream(enum kind kind, enum way way)
{
    struct pair pair = make_pair(kind);
    for (unsigned round = 1; round <= 3; round++)
        for (int direction = 0; direction <= pair.both; direction++)
            for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
                through(way, &pair, !direction, direction, kind == PTY && sizes[i] > 2000 ? 2000 : sizes[i], round);
}

static void file(enum place where, enum way way)
{
    int fd = temp_file(where, 1 << 20, 1, 0);
    unsigned char *out = pages(LARGEST + 4096), *in = pages(LARGEST + 4096);
    for (unsigned round = 0; round < 3; round++)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            size_t bytes = where == DIRECT ? (sizes[i] + 4095) / 4096 * 4096 : sizes[i];
            off_t at = (off_t)round * 4096 + (where == DIRECT ? 0 : 13);
            pattern_fill(out, bytes, 0, round + 5);
            struct aiocb put = request(fd, out, bytes, at), get = request(fd, in, bytes, at);
            run_both(way, &put, NULL);
            CHECK_EQ(aio_return(&put), bytes);
            run_both(way, NULL, &get);
            CHECK_EQ(aio_return(&get), bytes);
            CHECK_EQ(pattern_wrong(in, bytes, 0, round + 5), -1);
            struct aiocb other = request(fd, in, 4096, 512 << 10); /* both at once, apart from each other */
            run_both(way, &put, &other);
            CHECK_EQ(aio_return(&other), 4096);
            CHECK_EQ(pattern_wrong(in, 4096, 512 << 10, 1), -1);
        }
}

static void device(const char *path, bool zeros, enum way way)
{
    static unsigned char out[LARGEST], in[LARGEST];
    int fd = open(path, O_RDWR);
    SETUP(fd >= 0);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        memset(in, 1, sizeof in);
        struct aiocb put = request(fd, out, sizes[i], 0), get = request(fd, in, sizes[i], 7);
        run_both(way, &put, &get);
        CHECK_EQ(aio_return(&put), sizes[i]);
        CHECK_EQ(aio_return(&get), zeros ? sizes[i] : 0);
        for (size_t k = 0; k < sizes[i]; k++)
            CHECK_EQ(in[k], !zeros);
    }
}

static void event(enum way way)
{
    int fd = eventfd(0, 0);
    for (uint64_t round = 1; round < 20; round++) {
        uint64_t out = round * 1000, in = 0;
        struct aiocb put = request(fd, &out, 8, 0), get = request(fd, &in, 8, 0);
        run_both(way, &put, NULL); /* together, glibc's read would hold up the write */
        run_both(way, NULL, &get);
        CHECK_EQ(aio_return(&put), 8);
        CHECK_EQ(aio_return(&get), 8);
        CHECK_EQ(in, out);
    }
}

static void one(int what, enum way way)
{
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    SETUP(sigaction(SIGRTMIN + 1, &action, NULL) == 0);
    switch (what) {
    case 'f': file(ON_DISK, way); break;
    case 'd': file(DIRECT, way); break;
    case 't': file(ON_TMPFS, way); break;
    case 'n': device("/dev/null", false, way); break;
    case 'z': device("/dev/zero", true, way); break;
    case 'e': event(way); break;
    default: stream((enum kind)what, way);
    }
}

#define ROW(kind, what)                                                          \
    CASE(4, kind##_busy, GLIBC_OK, 20) { one(what, BUSY); }                      \
    CASE(4, kind##_suspend, GLIBC_OK, 20) { one(what, SUSPEND); }                \
    CASE(4, kind##_signal, GLIBC_OK, 20) { one(what, SIGNAL); }                  \
    CASE(4, kind##_thread, GLIBC_OK, 20) { one(what, THREAD); }                  \
    CASE(4, kind##_list_wait, GLIBC_OK, 20) { one(what, LIST_WAIT); }            \
    CASE(4, kind##_list_signal, GLIBC_OK, 20) { one(what, LIST_SIGNAL); }
ROW(file, 'f')
ROW(direct_file, 'd')
ROW(tmpfs_file, 't')
ROW(dev_null, 'n')
ROW(dev_zero, 'z')
ROW(eventfd, 'e')
ROW(pipe, PIPE)
ROW(fifo, FIFO)
ROW(socketpair, UNIX_STREAM)
ROW(datagrams, UNIX_DGRAM)
ROW(tcp, TCP)
ROW(udp, UDP)
ROW(pty, PTY)
