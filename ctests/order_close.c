/* order_close.c - a request belongs to the file that was open when it was made, whatever becomes of the descriptor's
 * number. SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "gate.h"
#include <linux/close_range.h>

enum { BLOCK = 4096 };

/* ---- what close and its family do to requests that are queued, held back or running --------------------- */

enum way { BY_CLOSE, BY_DUP2, BY_DUP3, BY_CLOSE_RANGE, BY_CLOSEFROM };

/* Takes the number away from its file and gives it to `other`'s. */
static void replace(int fd, int other, enum way way)
{
    switch (way) {
    case BY_CLOSE: CHECK_EQ(close(fd), 0); break;
    case BY_DUP2: CHECK_EQ(dup2(other, fd), fd); return;
    case BY_DUP3: CHECK_EQ(dup3(other, fd, O_CLOEXEC), fd); return;
    case BY_CLOSE_RANGE: CHECK_EQ(close_range((unsigned)fd, (unsigned)fd, 0), 0); break;
    case BY_CLOSEFROM: closefrom(fd); break;
    }
    CHECK_FAILS(fcntl(fd, F_GETFD), EBADF);
    int got = dup(other); /* the lowest free number: that one */
    CHECK_EQ(got, fd);
}

static void requests_stay_with_their_file(enum way way)
{
    struct gate *gate = gate_start();
    int other = gate_open(1, O_RDWR), fd = gate_open(0, O_RDWR); /* closefrom(fd) spares the other */
    int held = gate_hold(gate, GATE_WRITE, 0, 0, BLOCK);
    unsigned char *a = pages(BLOCK), *b = pages(BLOCK), *in = pages(BLOCK);
    memset(a, 'a', BLOCK);
    memset(b, 'b', BLOCK);
    struct aiocb running = request(fd, a, BLOCK, 0), behind = request(fd, b, BLOCK, 0), read = request(fd, in, BLOCK, 0);
    struct aiocb sync = request(fd, NULL, 0, 0), beside = request(fd, b, BLOCK, 8 * BLOCK);
    CHECK_EQ(aio_write(&running), 0);
    CHECK_EQ(aio_write(&behind), 0);
    CHECK_EQ(aio_read(&read), 0);
    CHECK_EQ(aio_fsync(O_SYNC, &sync), 0);
    CHECK_EQ(aio_write(&beside), 0);
    replace(fd, other, way);
    struct aiocb later = request(fd, b, BLOCK, 16 * BLOCK); /* of the new file, and not held up by the old one */
    CHECK_EQ(aio_write(&later), 0);
    CHECK_DONE(&later, BLOCK);
    CHECK_EQ(aio_error(&running), EINPROGRESS);
    gate_release(gate, held);
    CHECK_DONE(&running, BLOCK);
    CHECK_DONE(&behind, BLOCK);
    CHECK_DONE(&read, BLOCK);
    CHECK_DONE(&sync, 0);
    CHECK_DONE(&beside, BLOCK);
    CHECK(memcmp(in, b, BLOCK) == 0, "the read has '%c'", in[0]);
    CHECK(memcmp(gate->data[0], b, BLOCK) == 0, "the file has '%c'", gate->data[0][0]);
    CHECK_EQ(gate_arrived(gate, GATE_ANY, 1, 0, GATE_BYTES), 1);
    CHECK_EQ(gate->data[1][0], 0);
    CHECK_EQ(gate->data[1][16 * BLOCK], 'b');
}
CASE(18, requests_survive_close, GLIBC_DEFECT | NEEDS_ROOT, 20) { requests_stay_with_their_file(BY_CLOSE); }
CASE(18, requests_survive_dup2, GLIBC_DEFECT | NEEDS_ROOT, 20) { requests_stay_with_their_file(BY_DUP2); }
CASE(18, requests_survive_dup3, GLIBC_DEFECT | NEEDS_ROOT, 20) { requests_stay_with_their_file(BY_DUP3); }
CASE(18, requests_survive_close_range, GLIBC_DEFECT | NEEDS_ROOT, 20) { requests_stay_with_their_file(BY_CLOSE_RANGE); }
CASE(18, requests_survive_closefrom, GLIBC_DEFECT | NEEDS_ROOT, 20) { requests_stay_with_their_file(BY_CLOSEFROM); }

/* Reads that wait on a stream, and the next stream under the same number. */
static void reads_stay_with_their_stream(enum stream kind, enum way way)
{
    enum { READS = 10, BYTES = 16 };
    struct ends old = open_stream(kind), fresh = open_stream(kind);
    int spare = dup(fresh.reader), fd = fcntl(old.reader, F_DUPFD_CLOEXEC, 200);
    unsigned char data[READS][BYTES], mine[BYTES];
    struct aiocb cb[READS], later;
    SETUP(spare >= 0 && fd == 200);
    close(old.reader);
    int low = fcntl(spare, F_DUPFD_CLOEXEC, 100); /* below fd, for closefrom */
    for (int i = 0; i < READS; i++) {
        cb[i] = request(fd, data[i], BYTES, 0);
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    if (way == BY_CLOSE || way == BY_CLOSE_RANGE || way == BY_CLOSEFROM) {
        if (way == BY_CLOSE)
            CHECK_EQ(close(fd), 0);
        else if (way == BY_CLOSE_RANGE)
            CHECK_EQ(close_range(150, ~0u, 0), 0);
        else
            closefrom(150);
        CHECK_FAILS(fcntl(fd, F_GETFD), EBADF);
        CHECK_EQ(fcntl(low, F_DUPFD_CLOEXEC, fd), fd);
    } else {
        replace(fd, low, way);
    }
    later = request(fd, mine, BYTES, 0);
    CHECK_EQ(aio_read(&later), 0);
    feed(fresh.writer, BYTES, 1000, 4); /* for the new stream's read, though the old one's are older */
    CHECK_DONE(&later, BYTES);
    CHECK(pattern_wrong(mine, BYTES, 1000, 4) < 0);
    for (int i = 0; i < READS; i++)
        CHECK_EQ(aio_error(&cb[i]), EINPROGRESS);
    feed(old.writer, READS * BYTES, 0, 3);
    for (int i = 0; i < READS; i++) {
        CHECK_DONE(&cb[i], BYTES);
        CHECK(pattern_wrong(data[i], BYTES, (size_t)i * BYTES, 3) < 0, "read %d", i);
    }
}
CASE(18, waiting_pipe_reads_survive_close, GLIBC_DEFECT, 20) { reads_stay_with_their_stream(PIPE, BY_CLOSE); }
CASE(18, waiting_pipe_reads_survive_dup2, GLIBC_DEFECT, 20) { reads_stay_with_their_stream(PIPE, BY_DUP2); }
CASE(18, waiting_fifo_reads_survive_dup3, GLIBC_DEFECT, 20) { reads_stay_with_their_stream(FIFO, BY_DUP3); }
CASE(18, waiting_socket_reads_survive_close_range, GLIBC_DEFECT, 20) { reads_stay_with_their_stream(UNIX_SOCKET, BY_CLOSE_RANGE); }
CASE(18, waiting_pipe_reads_survive_closefrom, GLIBC_DEFECT, 20) { reads_stay_with_their_stream(PIPE, BY_CLOSEFROM); }
CASE(18, waiting_tcp_reads_survive_close, GLIBC_DEFECT, 20) { reads_stay_with_their_stream(TCP_SOCKET, BY_CLOSE); }

/* Writes that block on a full pipe come out whole though their descriptor is gone. */
CASE(18, blocked_writes_survive_close, GLIBC_DEFECT, 20)
{
    enum { WRITES = 6, BYTES = 100000 };
    struct ends ends = open_stream(PIPE);
    struct aiocb cb[WRITES];
    unsigned char *data = pages(WRITES * BYTES);
    pattern_fill(data, WRITES * BYTES, 0, 6);
    for (int i = 0; i < WRITES; i++) {
        cb[i] = request(ends.writer, data + i * BYTES, BYTES, 0);
        CHECK_EQ(aio_write(&cb[i]), 0);
    }
    CHECK_EQ(close(ends.writer), 0);
    int other = temp_file(ON_DISK, 0, 0, 0);
    CHECK_EQ(other, ends.writer);
    drain(ends.reader, WRITES * BYTES, 0, 6);
    for (int i = 0; i < WRITES; i++)
        CHECK_DONE(&cb[i], BYTES);
    struct stat is;
    SETUP(fstat(other, &is) == 0);
    CHECK_EQ(is.st_size, 0);
    char none;
    struct pollfd end = {.fd = ends.reader, .events = POLLIN};
    CHECK(poll(&end, 1, 5000) == 1 && read(ends.reader, &none, 1) == 0, "the pipe is kept open when its writes are done");
}

/* When the last request is done, the file that only it kept open is closed. */
CASE(18, a_finished_request_lets_go_of_its_file, GLIBC_RACY, 20)
{
    signal(SIGPIPE, SIG_IGN);
    for (int round = 0; round < 30; round++) {
        struct ends ends = open_stream(round % 2 ? PIPE : UNIX_SOCKET);
        unsigned char data[8];
        struct aiocb cb = request(ends.reader, data, sizeof data, 0);
        CHECK_EQ(aio_read(&cb), 0);
        CHECK_EQ(close(ends.reader), 0);
        feed(ends.writer, sizeof data, 0, 1);
        CHECK_DONE(&cb, sizeof data);
        char letter = 'x';
        WAIT_FOR(write(ends.writer, &letter, 1) == -1 && errno == EPIPE);
        close(ends.writer);
    }
}

/* ---- the loop of BZ 14942 ----------------------------------------------------------------------------- */

/* write, close, and another file takes the number, ten thousand times. */
static void write_close_reuse(int (*submit)(struct aiocb *), bool by_dup2)
{
    enum { ROUNDS = 10000, BYTES = 16 };
    char path[4096], wrong[4096];
    snprintf(path, sizeof path, "%s/close-%d-a", place_path(ON_DISK), (int)getpid());
    snprintf(wrong, sizeof wrong, "%s/close-%d-b", place_path(ON_DISK), (int)getpid());
    int check = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int check_wrong = open(wrong, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    SETUP(check >= 0 && check_wrong >= 0);
    char name[64], name_wrong[64]; /* opens by way of /proc need no names on disk, which a failed test would leave */
    SETUP(unlink(path) == 0 && unlink(wrong) == 0);
    snprintf(name, sizeof name, "/proc/self/fd/%d", check);
    snprintf(name_wrong, sizeof name_wrong, "/proc/self/fd/%d", check_wrong);
    for (int i = 0; i < ROUNDS; i++) {
        unsigned char data[BYTES];
        pattern_fill(data, BYTES, (size_t)i * BYTES, 9);
        int fd = open(name, O_RDWR | O_CLOEXEC);
        SETUP(fd >= 0);
        struct aiocb cb = request(fd, data, BYTES, (off_t)i * BYTES);
        CHECK_EQ(submit(&cb), 0);
        if (by_dup2) {
            CHECK_EQ(dup2(check_wrong, fd), fd);
        } else {
            CHECK_EQ(close(fd), 0);
            CHECK_EQ(open(name_wrong, O_RDWR | O_CLOEXEC), fd);
        }
        CHECK_DONE(&cb, BYTES);
        CHECK_EQ(close(fd), 0);
        if (i % 100 == 0) {
            struct stat is;
            SETUP(fstat(check_wrong, &is) == 0);
            CHECK(is.st_size == 0, "round %d: the write went to the other file", i);
        }
    }
    static unsigned char found[ROUNDS * BYTES];
    struct stat is;
    SETUP(fstat(check_wrong, &is) == 0);
    CHECK_EQ(is.st_size, 0);
    CHECK_EQ(pread(check, found, sizeof found, 0), sizeof found);
    CHECK_EQ(pattern_wrong(found, sizeof found, 0, 9), -1);
}
static int by_list(struct aiocb *cb)
{
    struct aiocb *list[3] = {NULL, cb, NULL};
    cb->aio_lio_opcode = LIO_WRITE;
    return lio_listio(LIO_NOWAIT, list, 3, NULL);
}
CASE(18, write_close_reuse_10000_times, GLIBC_DEFECT, 60) { write_close_reuse(aio_write, false); }
CASE(18, write_dup2_10000_times, GLIBC_DEFECT, 60) { write_close_reuse(aio_write, true); }
CASE(18, list_close_reuse_10000_times, GLIBC_DEFECT, 60) { write_close_reuse(by_list, false); }

/* The same by four threads that take each other's numbers. Each write carries its writer and its place. */
enum { CROWD = 4, CROWD_ROUNDS = 1500, CROWD_BYTES = 64 };
static int crowd_file[CROWD];
static void *crowd(void *argument)
{
    intptr_t me = (intptr_t)argument;
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", crowd_file[me]);
    for (int i = 0; i < CROWD_ROUNDS; i++) {
        unsigned char data[CROWD_BYTES];
        pattern_fill(data, CROWD_BYTES, (size_t)i * CROWD_BYTES, (unsigned)me + 1);
        int fd = open(name, O_RDWR | O_CLOEXEC);
        SETUP(fd >= 0);
        struct aiocb cb = request(fd, data, CROWD_BYTES, (off_t)i * CROWD_BYTES);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_EQ(close(fd), 0);
        CHECK_DONE(&cb, CROWD_BYTES);
    }
    return NULL;
}
CASE(18, threads_that_close_do_not_mix_files, GLIBC_DEFECT, 60)
{
    pthread_t thread[CROWD];
    for (int i = 0; i < CROWD; i++)
        crowd_file[i] = temp_file(ON_DISK, 0, 0, 0);
    for (intptr_t i = 0; i < CROWD; i++)
        thread[i] = start_thread(crowd, (void *)i);
    for (int i = 0; i < CROWD; i++)
        join_thread(thread[i]);
    static unsigned char found[CROWD_ROUNDS * CROWD_BYTES];
    for (int i = 0; i < CROWD; i++) {
        CHECK_EQ(pread(crowd_file[i], found, sizeof found, 0), sizeof found);
        CHECK_EQ(pattern_wrong(found, sizeof found, 0, (unsigned)i + 1), -1);
    }
}

/* read, close, and another file takes the number. */
CASE(18, read_close_reuse_3000_times, GLIBC_DEFECT, 60)
{
    enum { ROUNDS = 3000, BYTES = 32 };
    int right = temp_file(ON_DISK, ROUNDS * BYTES, 5, 0), wrong = temp_file(ON_DISK, ROUNDS * BYTES, 6, 0);
    for (int i = 0; i < ROUNDS; i++) {
        unsigned char data[BYTES];
        int fd = dup(right);
        struct aiocb cb = request(fd, data, BYTES, (off_t)i * BYTES);
        notify_by_signal(&cb, 0, NULL);
        CHECK_EQ(aio_read(&cb), 0);
        CHECK_EQ(close(fd), 0);
        CHECK_EQ(dup(wrong), fd);
        CHECK_DONE(&cb, BYTES);
        CHECK(pattern_wrong(data, BYTES, (size_t)i * BYTES, 5) < 0, "round %d read the other file", i);
        CHECK_EQ(close(fd), 0);
    }
}

/* ---- the family itself -------------------------------------------------------------------------------- */

CASE(18, the_close_family_answers_as_ever, GLIBC_OK, 10)
{
    struct ends ends = open_stream(PIPE);
    char byte;
    struct aiocb cb = request(ends.reader, &byte, 1, 0);
    CHECK_EQ(aio_read(&cb), 0); /* something is queued: the long way round */
    CHECK_FAILS(close(-1), EBADF);
    CHECK_FAILS(close(9000), EBADF);
    CHECK_FAILS(dup2(9000, ends.reader), EBADF); /* and the target lives */
    CHECK_FAILS(dup2(ends.reader, -1), EBADF);
    CHECK_FAILS(dup3(ends.reader, ends.reader, 0), EINVAL);
    CHECK_FAILS(dup3(ends.reader, 300, 0x7777), EINVAL);
    CHECK_EQ(dup2(ends.reader, ends.reader), ends.reader);
    CHECK_FAILS(close_range(10, 9, 0), EINVAL);
    CHECK_FAILS(close_range(10, 11, 0x7000), EINVAL);
    CHECK(fcntl(ends.reader, F_GETFD) == FD_CLOEXEC);
    CHECK_EQ(dup3(ends.reader, 300, O_CLOEXEC), 300);
    CHECK_EQ(fcntl(300, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(dup2(ends.reader, 301), 301);
    CHECK_EQ(fcntl(301, F_GETFD), 0);
    CHECK_EQ(close_range(300, 305, CLOSE_RANGE_CLOEXEC), 0); /* marks, closes nothing */
    CHECK_EQ(fcntl(301, F_GETFD), FD_CLOEXEC);
    errno = 77;
    closefrom(300);
    CHECK_EQ(errno, 77);
    CHECK_FAILS(fcntl(300, F_GETFD), EBADF);
    CHECK_FAILS(fcntl(301, F_GETFD), EBADF);
    errno = 78;
    CHECK_EQ(close(dup(1)), 0);
    CHECK_EQ(errno, 78);
    write_all(ends.writer, "z", 1);
    CHECK_DONE(&cb, 1);
    CHECK_EQ(byte, 'z');
}

CASE(18, close_range_unshare_leaves_requests_alone, GLIBC_OK, 10)
{
    struct ends ends = open_stream(PIPE);
    unsigned char data[4];
    struct aiocb cb = request(ends.reader, data, 4, 0);
    CHECK_EQ(aio_read(&cb), 0);
    settle(); /* glibc: let its thread be inside read(2) */
    CHECK_EQ(close_range((unsigned)ends.reader, (unsigned)ends.reader, CLOSE_RANGE_UNSHARE), 0);
    CHECK_FAILS(fcntl(ends.reader, F_GETFD), EBADF);
    feed(ends.writer, 4, 0, 3);
    CHECK_DONE(&cb, 4);
    CHECK(pattern_wrong(data, 4, 0, 3) < 0);
}

/* close stays a cancellation point, also when it has to look after a request. */
static struct ends cancel_ends;
static atomic_int cleaned_up;
static void clean_up(void *unused) { (void)unused; atomic_fetch_add(&cleaned_up, 1); }
static void *close_while_cancelled(void *unused)
{
    (void)unused;
    char byte;
    static struct aiocb cb;
    cb = request(cancel_ends.reader, &byte, 0, 0);
    pthread_cleanup_push(clean_up, NULL);
    pthread_cancel(pthread_self());
    CHECK_EQ(aio_read(&cb), 0); /* not a cancellation point */
    close(cancel_ends.reader);
    pthread_cleanup_pop(0);
    return NULL;
}
CASE(18, close_is_a_cancellation_point, GLIBC_OK, 10)
{
    static char byte;
    for (int queued = 0; queued < 2; queued++) {
        static struct aiocb cb;
        cancel_ends = open_stream(PIPE);
        cb = request(cancel_ends.reader, &byte, 1, 0);
        if (queued)
            CHECK_EQ(aio_read(&cb), 0);
        CHECK(join_thread(start_thread(close_while_cancelled, NULL)) == PTHREAD_CANCELED);
        CHECK_EQ(cleaned_up, queued + 1);
        write_all(cancel_ends.writer, "y", 1);
        if (queued)
            CHECK_DONE(&cb, 1);
    }
}

/* A handler closes what main has just made requests on. */
static int handler_fd = -1;
static atomic_int handler_closed;
static void close_in_handler(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)info, (void)context;
    int saved = errno;
    atomic_store(&handler_closed, close(handler_fd) == 0 ? 1 : -1);
    errno = saved;
}
CASE(18, close_in_a_handler_keeps_requests_with_their_file, GLIBC_DEFECT, 20)
{
    enum { ROUNDS = 2000 };
    int right = temp_file(ON_DISK, 0, 0, 0), wrong = temp_file(ON_DISK, 0, 0, 0);
    on_signal(SIGUSR1, close_in_handler, 0);
    for (int i = 0; i < ROUNDS; i++) {
        int fd = dup(right);
        struct aiocb cb = request(fd, &i, sizeof i, (off_t)i * (off_t)sizeof i);
        handler_fd = fd;
        handler_closed = 0;
        CHECK_EQ(aio_write(&cb), 0);
        raise(SIGUSR1);
        CHECK_EQ(handler_closed, 1);
        CHECK_EQ(dup(wrong), fd);
        CHECK_DONE(&cb, sizeof i);
        close(fd);
    }
    struct stat is;
    SETUP(fstat(wrong, &is) == 0);
    CHECK_EQ(is.st_size, 0);
    for (int i = 0; i < ROUNDS; i++) {
        int found = -1;
        CHECK_EQ(pread(right, &found, sizeof found, (off_t)i * (off_t)sizeof i), sizeof found);
        CHECK_EQ(found, i);
    }
}
