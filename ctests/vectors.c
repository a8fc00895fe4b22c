// FreeBSD's aio_readv, aio_writev and the LIO_READV, LIO_WRITEV opcodes.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include "kinds.h"
#include <aio_shim.h>
#include <sys/uio.h>

/* By name, so that this links without the library. */
static int readv_(struct aiocb *cb)
{
    int (*call)(struct aiocb *) = (int (*)(struct aiocb *))extension("aio_readv");
    SETUP(call != NULL);
    return call(cb);
}
static int writev_(struct aiocb *cb)
{
    int (*call)(struct aiocb *) = (int (*)(struct aiocb *))extension("aio_writev");
    SETUP(call != NULL);
    return call(cb);
}

static struct aiocb vector_request(int fd, struct iovec *vector, int count, off_t offset)
{
    struct aiocb cb = request(fd, NULL, 0, offset);
    cb.aio_iov = vector;
    cb.aio_iovcnt = (size_t)count;
    return cb;
}

/* Cuts the buffer into pieces of growing length. */
static int cut(struct iovec *vector, int most, unsigned char *buffer, size_t bytes)
{
    int count = 0;
    for (size_t at = 0; at < bytes && count < most; count++) {
        size_t part = count == most - 1 ? bytes - at : (size_t)count * 37 % 5000;
        if (part > bytes - at)
            part = bytes - at;
        vector[count] = (struct iovec){buffer + at, part};
        at += part;
    }
    return count;
}

enum { SIZE = 100000 };
static unsigned char out[SIZE], in[SIZE];

CASE(39, vectors_on_files, SHIM_ONLY, 20)
{
    static const enum place places[] = {ON_DISK, ON_TMPFS};
    for (size_t p = 0; p < 2; p++) {
        struct iovec vector[1024];
        int fd = temp_file(places[p], 0, 0, 0);
        SETUP(lseek(fd, 5, SEEK_SET) == 5);
        for (unsigned seed = 1; seed < 20; seed++) {
            pattern_fill(out, SIZE, 0, seed);
            memset(in, 0, SIZE);
            int count = cut(vector, (int)seed * 50, out, SIZE);
            struct aiocb cb = vector_request(fd, vector, count, 123);
            CHECK_EQ(writev_(&cb), 0);
            CHECK_DONE(&cb, SIZE);
            count = cut(vector, 1000 - (int)seed * 50, in, SIZE);
            cb = vector_request(fd, vector, count, 123);
            CHECK_EQ(readv_(&cb), 0);
            CHECK_DONE(&cb, SIZE);
            CHECK_EQ(pattern_wrong(in, SIZE, 0, seed), -1);
        }
        CHECK_EQ(lseek(fd, 0, SEEK_CUR), 5);
        struct aiocb cb = vector_request(fd, vector, 1, -1);
        readv_(&cb);
        CHECK_ENDS(&cb, EINVAL);
    }
}

CASE(39, vectors_on_direct_files, SHIM_ONLY, 20)
{
    unsigned char *memory = pages(16 * 4096);
    struct iovec vector[8];
    int fd = temp_file(DIRECT, 16 * 4096, 1, 0);
    for (int i = 0; i < 8; i++)
        vector[i] = (struct iovec){memory + (7 - i) * 8192, 4096};
    struct aiocb cb = vector_request(fd, vector, 8, 4096);
    CHECK_EQ(readv_(&cb), 0);
    CHECK_DONE(&cb, 8 * 4096);
    for (int i = 0; i < 8; i++)
        CHECK_EQ(pattern_wrong(memory + (7 - i) * 8192, 4096, 4096 + (size_t)i * 4096, 1), -1);
}

struct drained {
    int fd;
    ssize_t wrong;
};
static void *drain(void *argument)
{
    struct drained *task = argument;
    read_all(task->fd, in, SIZE);
    task->wrong = pattern_wrong(in, SIZE, 0, 3);
    return NULL;
}
CASE(39, vectors_go_whole_through_streams, SHIM_ONLY, 20)
{
    static const enum kind kinds[] = {PIPE, FIFO, UNIX_STREAM, TCP};
    for (size_t k = 0; k < 4; k++) {
        struct pair pair = make_pair(kinds[k]);
        struct drained task = {pair.ends[0], 0};
        struct iovec vector[100];
        int small = 4096;
        setsockopt(pair.ends[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
        pattern_fill(out, SIZE, 0, 3);
        struct aiocb cb = vector_request(pair.ends[1], vector, cut(vector, 100, out, SIZE), 77);
        CHECK_EQ(writev_(&cb), 0);
        sleep_ms(5);
        pthread_t thread = start_thread(drain, &task);
        CHECK_DONE(&cb, SIZE);
        join_thread(thread);
        CHECK(task.wrong == -1, "%s: wrong from %zd on", kind_names[kinds[k]], task.wrong);
        for (size_t i = 0; i < sizeof vector / sizeof vector[0]; i++)
            vector[i] = (struct iovec){in + i * 3, 3};
        cb = vector_request(pair.ends[0], vector, 100, 77);
        CHECK_EQ(readv_(&cb), 0);
        sleep_ms(5);
        CHECK_EQ(aio_error(&cb), EINPROGRESS);
        SETUP(write(pair.ends[1], "scattered", 9) == 9);
        CHECK_DONE(&cb, 9);
        CHECK(memcmp(in, "scattered", 9) == 0);
        close_pair(&pair);
    }
}

/* The vector itself is left as it was, also when the transfer went in parts. */
CASE(39, vectors_are_not_changed, SHIM_ONLY, 20)
{
    struct pair pair = make_pair(PIPE);
    struct drained task = {pair.ends[0], 0};
    struct iovec vector[100], before[100];
    pattern_fill(out, SIZE, 0, 3);
    struct aiocb cb = vector_request(pair.ends[1], vector, cut(vector, 100, out, SIZE), 0);
    memcpy(before, vector, sizeof before);
    CHECK_EQ(writev_(&cb), 0);
    pthread_t thread = start_thread(drain, &task);
    CHECK_DONE(&cb, SIZE);
    join_thread(thread);
    CHECK(memcmp(before, vector, (size_t)cb.aio_iovcnt * sizeof vector[0]) == 0);
    CHECK(cb.aio_iov == vector);
}

CASE(39, errors_of_vectors, SHIM_ONLY | NO_VALGRIND, 20)
{
    static struct iovec vector[1025];
    int fd = temp_file(ON_DISK, 4096, 1, 0);
    for (int i = 0; i < 1025; i++)
        vector[i] = (struct iovec){in + i, 1};
    const struct { int fd; struct iovec *vector; int count; } tries[] = {
        {fd, vector, 0}, {fd, vector, 1024}, {fd, vector, 1025}, {fd, vector, -1}, {fd, vector, INT_MAX},
        {fd, (struct iovec *)16, 2}, {fd, NULL, 1}, {-1, vector, 1}};
    for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++)
        for (int writing = 0; writing < 2; writing++) {
            errno = 0;
            ssize_t plain = writing ? pwritev(tries[i].fd, tries[i].vector, tries[i].count, 10)
                                    : preadv(tries[i].fd, tries[i].vector, tries[i].count, 10);
            int plain_error = plain < 0 ? errno : 0;
            struct aiocb cb = vector_request(tries[i].fd, tries[i].vector, tries[i].count, 10);
            if ((writing ? writev_(&cb) : readv_(&cb)) == -1) {
                CHECK_EQ(errno, plain_error);
                continue;
            }
            int error = wait_done(&cb);
            ssize_t got = aio_return(&cb);
            CHECK(got == plain && error == plain_error, "%s, try %zu: %zd, error %d; the plain call %zd, errno %d",
                  writing ? "write" : "read", i, got, error, plain, plain_error);
        }
    vector[1].iov_base = (void *)16;
    vector[1].iov_len = 100;
    struct aiocb cb = vector_request(fd, vector, 2, 0);
    CHECK_EQ(writev_(&cb), 0);
    int error = wait_done(&cb);
    CHECK(error == EFAULT || (error == 0 && aio_return(&cb) == 1), "%d", error);
}

CASE(39, vectors_in_lists, SHIM_ONLY, 20)
{
    struct iovec parts[4][3];
    struct aiocb cbs[4], *list[4];
    int fd = temp_file(ON_DISK, 4096, 1, 0), to = temp_file(ON_DISK, 4096, 0, 0);
    pattern_fill(out, 4096, 0, 2);
    for (int i = 0; i < 4; i++) {
        unsigned char *memory = (i % 2 ? out : in) + i * 300;
        for (int k = 0; k < 3; k++)
            parts[i][k] = (struct iovec){memory + k * 100, 100};
        cbs[i] = vector_request(i % 2 ? to : fd, parts[i], 3, i * 300);
        cbs[i].aio_lio_opcode = i % 2 ? LIO_WRITEV : LIO_READV;
        list[i] = &cbs[i];
    }
    CHECK_EQ(lio_listio(LIO_WAIT, list, 4, NULL), 0);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(aio_return(&cbs[i]), 300);
        if (i % 2)
            SETUP(pread(to, in + i * 300, 300, i * 300) == 300);
        CHECK_EQ(pattern_wrong(in + i * 300, 300, (size_t)i * 300, i % 2 ? 2 : 1), -1);
        CHECK_EQ(cbs[i].aio_lio_opcode, i % 2 ? LIO_WRITEV : LIO_READV);
    }
}

CASE(39, waiting_vector_reads_are_cancelled, SHIM_ONLY, 20)
{
    for (enum kind kind = 0; kind < STREAM_KINDS; kind++) {
        struct pair pair = make_pair(kind);
        struct iovec vector[2] = {{in, 1}, {in + 1, 5}};
        struct aiocb cb = vector_request(pair.ends[0], vector, 2, 0);
        CHECK_EQ(readv_(&cb), 0);
        sleep_ms(5);
        CHECK_EQ(aio_cancel(pair.ends[0], &cb), AIO_CANCELED);
        CHECK_ENDS(&cb, ECANCELED);
        close_pair(&pair);
    }
}

CASE(39, nonblocking_vector_reads, SHIM_ONLY, 20)
{
    for (enum kind kind = 0; kind < STREAM_KINDS; kind++) {
        struct pair pair = make_pair(kind);
        struct iovec vector[2] = {{in, 1}, {in + 1, 5}};
        struct aiocb cb = vector_request(pair.ends[0], vector, 2, 0);
        set_nonblocking(pair.ends[0], true);
        CHECK_EQ(readv_(&cb), 0);
        CHECK_ENDS(&cb, EAGAIN);
        close_pair(&pair);
    }
}
