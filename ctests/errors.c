// Line 8: errors come through aio_error, and are those of the plain calls.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include "kinds.h"
#include <sys/epoll.h>
#include <sys/un.h>

/* Submission is accepted; the error is the request's own. */
static void read_ends(int fd, void *buffer, size_t bytes, off_t offset, int error, int line)
{
    struct aiocb cb = request(fd, buffer, bytes, offset);
    int accepted = aio_read(&cb), status = wait_done(&cb);
    ssize_t got = aio_return(&cb);
    CHECK(accepted == 0 && status == error && got == -1, "line %d: aio_read %d, error %d, returns %zd, expected error %d",
          line, accepted, status, got, error);
}
static void write_ends(int fd, void *buffer, size_t bytes, off_t offset, int error, int line)
{
    struct aiocb cb = request(fd, buffer, bytes, offset);
    int accepted = aio_write(&cb), status = wait_done(&cb);
    ssize_t got = aio_return(&cb);
    CHECK(accepted == 0 && status == error && got == -1, "line %d: aio_write %d, error %d, returns %zd, expected error %d",
          line, accepted, status, got, error);
}
#define READ_ENDS(fd, buffer, bytes, offset, error) read_ends(fd, buffer, bytes, offset, error, __LINE__)
#define WRITE_ENDS(fd, buffer, bytes, offset, error) write_ends(fd, buffer, bytes, offset, error, __LINE__)

static char data[1 << 16];

CASE(8, bad_descriptors, GLIBC_OK, 10)
{
    int closed = dup(0);
    close(closed);
    int bad[] = {-1, closed, 1 << 20, INT_MAX, INT_MIN};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        READ_ENDS(bad[i], data, 10, 0, EBADF);
        WRITE_ENDS(bad[i], data, 10, 0, EBADF);
        READ_ENDS(bad[i], data, 0, 0, EBADF);
    }
}

CASE(8, wrong_access_mode, GLIBC_OK, 10)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/mode-%d", place_path(ON_DISK), getpid());
    int create = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
    SETUP(create >= 0 && write(create, "hello", 5) == 5);
    int reader = open(path, O_RDONLY), name = open(path, O_PATH), direct = open(path, O_WRONLY | O_DIRECT);
    char *page = pages(4096);
    unlink(path);
    SETUP(reader >= 0 && name >= 0);
    READ_ENDS(create, data, 5, 0, EBADF);
    WRITE_ENDS(reader, data, 5, 0, EBADF);
    READ_ENDS(name, data, 5, 0, EBADF);
    WRITE_ENDS(name, data, 5, 0, EBADF);
    if (direct >= 0)
        READ_ENDS(direct, page, 4096, 0, EBADF);
    struct pair pair = make_pair(PIPE);
    READ_ENDS(pair.ends[1], data, 5, 0, EBADF);
    WRITE_ENDS(pair.ends[0], data, 5, 0, EBADF);
    close_pair(&pair);
    pair = make_pair(FIFO);
    READ_ENDS(pair.ends[1], data, 5, 0, EBADF);
    WRITE_ENDS(pair.ends[0], data, 5, 0, EBADF);
}

CASE(8, directory, GLIBC_OK, 10)
{
    int fd = open("/", O_RDONLY | O_DIRECTORY);
    SETUP(fd >= 0);
    READ_ENDS(fd, data, 10, 0, EISDIR);
    WRITE_ENDS(fd, data, 10, 0, EBADF);
}

CASE(8, misaligned_direct_transfers, GLIBC_OK, 10)
{
    char *buffer = pages(1 << 16);
    int fd = temp_file(DIRECT, 65536, 1, 0);
    const struct { size_t at, bytes; off_t offset; } tries[] = {
        {0, 4096, 1}, {0, 4096, 513}, {1, 4096, 0}, {3, 512, 0}, {0, 7, 0}, {0, 4095, 0}, {512, 512, 512}, {0, 65535, 0}};
    for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++)
        for (int writing = 0; writing < 2; writing++) { /* what is aligned enough depends on the file system */
            errno = 0;
            ssize_t plain = writing ? pwrite(fd, buffer + tries[i].at, tries[i].bytes, tries[i].offset)
                                    : pread(fd, buffer + tries[i].at, tries[i].bytes, tries[i].offset);
            int plain_error = plain < 0 ? errno : 0;
            struct aiocb cb = request(fd, buffer + tries[i].at, tries[i].bytes, tries[i].offset);
            CHECK_EQ(writing ? aio_write(&cb) : aio_read(&cb), 0);
            int error = wait_done(&cb);
            ssize_t got = aio_return(&cb);
            CHECK(got == plain && error == plain_error, "%s, try %zu: %zd, error %d; the plain call %zd, errno %d",
                  writing ? "write" : "read", i, got, error, plain, plain_error);
        }
}

CASE(8, fsync_of_what_cannot, GLIBC_OK, 10)
{
    for (enum kind kind = 0; kind < STREAM_KINDS; kind++) {
        struct pair pair = make_pair(kind);
        for (int end = 0; end < 2; end++) {
            struct aiocb cb = request(pair.ends[end], NULL, 0, 0);
            int expected = fsync(pair.ends[end]) == 0 ? 0 : errno;
            CHECK_EQ(aio_fsync(O_SYNC, &cb), 0);
            CHECK(wait_done(&cb) == expected, "%s: error %d, fsync gives %d", kind_names[kind], aio_error(&cb), expected);
            CHECK_EQ(aio_return(&cb), expected ? -1 : 0);
            if (kind != PTY)
                CHECK_EQ(expected, EINVAL);
        }
        close_pair(&pair);
    }
}

CASE(8, bad_buffers, GLIBC_OK | NO_VALGRIND, 20)
{
    static const enum place places[] = {ON_DISK, ON_TMPFS, DIRECT};
    char *nothing = mmap(NULL, 1 << 16, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *constant = mmap(NULL, 1 << 16, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    SETUP(nothing != MAP_FAILED && constant != MAP_FAILED);
    void *bad[] = {nothing, NULL, (void *)4096, (void *)(uintptr_t)0xffff888000000000, (void *)(uintptr_t)-4096};
    for (size_t p = 0; p < 3; p++) {
        int fd = temp_file(places[p], 65536, 1, 0);
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
            READ_ENDS(fd, bad[i], 4096, 0, EFAULT);
            WRITE_ENDS(fd, bad[i], 4096, 0, EFAULT);
        }
        READ_ENDS(fd, constant, 4096, 0, EFAULT);
        close(fd);
    }
    for (enum kind kind = 0; kind < STREAM_KINDS; kind++) {
        struct pair pair = make_pair(kind);
        char got[5];
        WRITE_ENDS(pair.ends[1], nothing, 5, 0, EFAULT);
        SETUP(write(pair.ends[1], "hello", 5) == 5);
        READ_ENDS(pair.ends[0], nothing, 5, 0, EFAULT);
        if (kind != UNIX_DGRAM && kind != UDP && kind != PTY) { /* these have dropped the message */
            struct aiocb cb = request(pair.ends[0], got, 5, 0);
            CHECK_EQ(aio_read(&cb), 0);
            CHECK_DONE(&cb, 5);
            CHECK(memcmp(got, "hello", 5) == 0, "%s", kind_names[kind]);
        }
        close_pair(&pair);
    }
}

/* A buffer that is good for a part of the transfer only. */
CASE(8, half_a_buffer, GLIBC_OK | NO_VALGRIND, 10)
{
    char *half = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    SETUP(half != MAP_FAILED && mprotect(half + 4096, 4096, PROT_NONE) == 0);
    static const enum place places[] = {ON_DISK, ON_TMPFS};
    for (size_t p = 0; p < 2; p++) {
        int fd = temp_file(places[p], 65536, 1, 0);
        for (int writing = 0; writing < 2; writing++) {
            errno = 0;
            ssize_t plain = writing ? pwrite(fd, half, 8192, 0) : pread(fd, half, 8192, 0);
            int plain_error = plain < 0 ? errno : 0;
            struct aiocb cb = request(fd, half, 8192, 0);
            CHECK_EQ(writing ? aio_write(&cb) : aio_read(&cb), 0);
            int error = wait_done(&cb);
            ssize_t got = aio_return(&cb);
            CHECK(got == plain && error == plain_error, "%zd, error %d; the plain call %zd, errno %d", got, error, plain, plain_error);
        }
    }
}

CASE(8, no_space, GLIBC_OK, 10)
{
    int fd = open("/dev/full", O_RDWR);
    SETUP(fd >= 0);
    for (int i = 0; i < 20; i++)
        WRITE_ENDS(fd, data, 10, 0, ENOSPC);
    struct aiocb cb = request(fd, data, 10, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 10);
}

/* SIGXFSZ and SIGPIPE keep their default action here: one of them would end the case. */
CASE(8, file_too_big_without_sigxfsz, GLIBC_OK, 10)
{
    static const enum place places[] = {ON_DISK, ON_TMPFS, DIRECT};
    struct rlimit limit = {8192, 8192};
    int fds[3];
    char *page = pages(4096);
    for (int i = 0; i < 3; i++)
        fds[i] = temp_file(places[i], 0, 0, 0);
    SETUP(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    for (int i = 0; i < 3; i++) {
        struct aiocb cb = request(fds[i], page, 4096, 4096);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, 4096);
        WRITE_ENDS(fds[i], page, 4096, 8192, EFBIG);
        WRITE_ENDS(fds[i], page, 4096, 1 << 30, EFBIG);
    }
    struct aiocb cb = request(fds[0], data, 8192, 4096); /* the part that fits */
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_DONE(&cb, 4096);
}

CASE(8, broken_pipe_without_sigpipe, GLIBC_OK, 20)
{
    static const enum kind kinds[] = {PIPE, FIFO, UNIX_STREAM};
    for (size_t i = 0; i < 3; i++)
        for (int blocking = 0; blocking < 2; blocking++) {
            struct pair pair = make_pair(kinds[i]);
            set_nonblocking(pair.ends[1], !blocking);
            close(pair.ends[0]);
            for (int k = 0; k < 10; k++)
                WRITE_ENDS(pair.ends[1], data, 10, 0, EPIPE);
            close(pair.ends[1]);
        }
    struct pair pair = tcp_pair();
    SETUP(shutdown(pair.ends[1], SHUT_WR) == 0);
    WRITE_ENDS(pair.ends[1], data, 10, 0, EPIPE);
    sigset_t waiting;
    sigpending(&waiting);
    CHECK(!sigismember(&waiting, SIGPIPE));
}

/* The reader goes while the write waits for room. */
CASE(8, pipe_breaks_while_a_write_waits, GLIBC_OK, 10)
{
    static const enum kind kinds[] = {PIPE, FIFO, UNIX_STREAM};
    for (size_t i = 0; i < 3; i++) {
        struct pair pair = make_pair(kinds[i]);
        static char much[4 << 20];
        struct aiocb cb = request(pair.ends[1], much, sizeof much, 0);
        CHECK_EQ(aio_write(&cb), 0);
        sleep_ms(20);
        CHECK_EQ(aio_error(&cb), EINPROGRESS);
        close(pair.ends[0]);
        int error = wait_done(&cb); /* as write(2): the part that went out, or the error */
        ssize_t put = aio_return(&cb);
        CHECK((error == 0 && put > 0 && put < (ssize_t)sizeof much) || (error == EPIPE && put == -1), "%s: error %d, %zd",
              kind_names[kinds[i]], error, put);
        close(pair.ends[1]);
    }
}

CASE(8, not_connected, GLIBC_OK, 10)
{
    int stream = socket(AF_INET, SOCK_STREAM, 0), local = socket(AF_UNIX, SOCK_STREAM, 0), datagram = socket(AF_INET, SOCK_DGRAM, 0);
    SETUP(stream >= 0 && local >= 0 && datagram >= 0);
    READ_ENDS(stream, data, 10, 0, ENOTCONN);
    WRITE_ENDS(stream, data, 10, 0, EPIPE);
    WRITE_ENDS(datagram, data, 10, 0, EDESTADDRREQ);
    WRITE_ENDS(local, data, 10, 0, ENOTCONN);
    errno = 0;
    READ_ENDS(local, data, 10, 0, read(local, data, 10) == -1 ? errno : 0);
    SETUP(listen(stream, 1) == 0);
    READ_ENDS(stream, data, 10, 0, ENOTCONN);
}

CASE(8, connection_reset, GLIBC_OK, 10)
{
    struct linger hard = {1, 0};
    struct pair pair = tcp_pair();
    char byte;
    struct aiocb cb = request(pair.ends[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&cb), 0); /* it waits already */
    sleep_ms(20);
    SETUP(setsockopt(pair.ends[1], SOL_SOCKET, SO_LINGER, &hard, sizeof hard) == 0 && close(pair.ends[1]) == 0);
    CHECK_ENDS(&cb, ECONNRESET);
}

CASE(8, hangup_of_a_terminal, GLIBC_OK, 10)
{
    struct pair pair = make_pair(PTY);
    char byte;
    struct aiocb cb = request(pair.ends[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    sleep_ms(20);
    CHECK_EQ(aio_error(&cb), EINPROGRESS);
    close(pair.ends[1]);
    CHECK_ENDS(&cb, EIO);
    READ_ENDS(pair.ends[0], &byte, 1, 0, EIO);
}

/* The kernel's own io_uring would wait for ever on this one. */
CASE(8, reading_an_epoll_descriptor, GLIBC_OK, 10)
{
    int fd = epoll_create1(0);
    SETUP(fd >= 0);
    READ_ENDS(fd, data, 10, 0, EINVAL);
    WRITE_ENDS(fd, data, 10, 0, EINVAL);
}

CASE(8, eventfd_of_wrong_size, GLIBC_OK, 10)
{
    int fd = eventfd(1, 0);
    uint64_t most = UINT64_MAX;
    SETUP(fd >= 0);
    READ_ENDS(fd, data, 7, 0, EINVAL);
    WRITE_ENDS(fd, data, 7, 0, EINVAL);
    WRITE_ENDS(fd, &most, 8, 0, EINVAL);
}

/* A failed request must not poison the ones after it, nor those beside it. */
CASE(8, failures_between_good_requests, GLIBC_OK, 20)
{
    enum { COUNT = 300 };
    int fd = temp_file(ON_DISK, COUNT, 3, 0), read_only = open("/dev/zero", O_RDONLY);
    static struct aiocb cbs[COUNT];
    static unsigned char bytes[COUNT];
    for (int i = 0; i < COUNT; i++) {
        cbs[i] = request(i % 3 == 1 ? -1 : i % 3 == 2 ? read_only : fd, bytes + i, 1, i);
        CHECK_EQ(i % 3 == 2 ? aio_write(&cbs[i]) : aio_read(&cbs[i]), 0);
    }
    for (int i = 0; i < COUNT; i++)
        if (i % 3) {
            CHECK_ENDS(&cbs[i], EBADF);
        } else {
            CHECK_DONE(&cbs[i], 1);
            CHECK_EQ(bytes[i], pattern_byte((size_t)i, 3));
        }
}

CASE(17, fsync_refusals, GLIBC_OK, 10)
{
    int fd = temp_file(ON_DISK, 10, 1, 0);
    static const int bad[] = {0, -1, 12345, O_RDONLY | 1, O_APPEND};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct aiocb cb = request(fd, NULL, 0, 0);
        CHECK_FAILS(aio_fsync(bad[i], &cb), EINVAL);
    }
    struct aiocb cb = request(-1, NULL, 0, 0);
    CHECK_FAILS(aio_fsync(O_SYNC, &cb), EBADF);
    cb.aio_fildes = 1 << 20;
    CHECK_FAILS(aio_fsync(O_DSYNC, &cb), EBADF);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int reader = open(path, O_RDONLY);
    SETUP(reader >= 0);
    cb = request(reader, NULL, 0, 0); /* a read-only descriptor is fine */
    CHECK_EQ(aio_fsync(O_SYNC, &cb), 0);
    CHECK_DONE(&cb, 0);
}
