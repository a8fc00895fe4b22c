/* order_stream.c - reads and writes on what cannot seek: served in call order, whole, each direction on its own.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"

enum { READS = 64, MOST = 96 };

/* 64 reads wait on nothing, then the stream is fed in pieces that fit none of them: the data lies in the buffers
 * in the order of the calls. The offsets go backwards: they must not matter. */
static void reads_get_slices(enum stream kind)
{
    struct ends ends = open_stream(kind);
    static struct aiocb cb[READS];
    static unsigned char data[READS][MOST];
    uint64_t seed = chance_seed(), state = seed;
    size_t wanted = 0, place = 0;
    for (int i = 0; i < READS; i++) {
        cb[i] = request(ends.reader, data[i], 1 + below(&state, MOST), (READS - i) * 4096);
        wanted += cb[i].aio_nbytes;
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    settle();
    for (int i = 0; i < READS; i++)
        CHECK(aio_error(&cb[i]) == EINPROGRESS, "read %d of an empty %s: %d", i, stream_name(kind), aio_error(&cb[i]));
    for (size_t fed = 0; fed < wanted;) {
        size_t part = 1 + below(&state, 200);
        part = part < wanted - fed ? part : wanted - fed;
        feed(ends.writer, part, fed, 3);
        fed += part;
        if (chance(&state) % 4 == 0)
            sched_yield();
    }
    for (int i = 0; i < READS; i++) {
        CHECK_EQ(wait_done(&cb[i]), 0);
        ssize_t got = aio_return(&cb[i]);
        CHECK(got > 0 && got <= (ssize_t)cb[i].aio_nbytes, "read %d: %zd", i, got);
        ssize_t wrong = pattern_wrong(data[i], (size_t)got, place, 3);
        CHECK(wrong < 0, "%s, seed %#llx: read %d has not its slice at %zu", stream_name(kind), (unsigned long long)seed,
              i, place + (size_t)wrong);
        place += (size_t)got;
    }
    drain(ends.reader, wanted - place, place, 3); /* what short reads have left is still there */
}

CASE(14, reads_of_a_pipe_get_slices_in_call_order, GLIBC_OK, 20) { reads_get_slices(PIPE); }
CASE(14, reads_of_a_fifo_get_slices_in_call_order, GLIBC_OK, 20) { reads_get_slices(FIFO); }
CASE(14, reads_of_a_unix_socket_get_slices_in_call_order, GLIBC_OK, 20) { reads_get_slices(UNIX_SOCKET); }
CASE(14, reads_of_a_tcp_socket_get_slices_in_call_order, GLIBC_OK, 20) { reads_get_slices(TCP_SOCKET); }
CASE(14, reads_of_a_tty_get_slices_in_call_order, GLIBC_OK, 20) { reads_get_slices(PTY_SLAVE); }
CASE(14, reads_of_a_pty_master_get_slices_in_call_order, GLIBC_OK, 20) { reads_get_slices(PTY_MASTER); }

/* All the data at once, so that every read can be, and is, full. */
CASE(14, reads_fed_at_once_are_full, GLIBC_OK, 20)
{
    for (int round = 0; round < 50; round++) {
        struct ends ends = open_stream(round % 2 ? PIPE : UNIX_SOCKET);
        struct aiocb cb[READS];
        unsigned char data[READS][64];
        for (int i = 0; i < READS; i++) {
            cb[i] = request(ends.reader, data[i], 64, 0);
            CHECK_EQ(aio_read(&cb[i]), 0);
        }
        feed(ends.writer, READS * 64, 0, 5);
        for (int i = 0; i < READS; i++) {
            CHECK_DONE(&cb[i], 64);
            CHECK(pattern_wrong(data[i], 64, (size_t)i * 64, 5) < 0, "round %d, read %d", round, i);
        }
        close(ends.reader);
        close(ends.writer);
    }
}

CASE(14, reads_of_datagrams_are_served_in_call_order, GLIBC_OK, 20)
{
    int fds[2];
    SETUP(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds) == 0);
    struct aiocb cb[READS];
    char data[READS][32];
    for (int i = 0; i < READS; i++) {
        cb[i] = request(fds[0], data[i], sizeof data[i], 0);
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    for (int i = 0; i < READS; i++) {
        char message[32];
        int bytes = snprintf(message, sizeof message, "datagram %d", i);
        CHECK_EQ(send(fds[1], message, (size_t)bytes, 0), bytes);
    }
    for (int i = 0; i < READS; i++) {
        char message[32];
        int bytes = snprintf(message, sizeof message, "datagram %d", i);
        CHECK_DONE(&cb[i], bytes);
        CHECK(memcmp(data[i], message, (size_t)bytes) == 0, "read %d has \"%.12s\"", i, data[i]);
    }
}

/* Each descriptor of one open pipe is the same queue. */
CASE(14, reads_through_dup_are_served_in_call_order, GLIBC_RACY, 20)
{
    for (int round = 0; round < 20; round++) {
        struct ends ends = open_stream(PIPE);
        int fds[3] = {ends.reader, dup(ends.reader), dup(ends.reader)};
        struct aiocb cb[READS];
        unsigned char data[READS][16];
        for (int i = 0; i < READS; i++) {
            cb[i] = request(fds[i % 3], data[i], 16, 0);
            CHECK_EQ(aio_read(&cb[i]), 0);
        }
        feed(ends.writer, READS * 16, 0, 5);
        for (int i = 0; i < READS; i++) {
            CHECK_DONE(&cb[i], 16);
            CHECK(pattern_wrong(data[i], 16, (size_t)i * 16, 5) < 0, "round %d, read %d", round, i);
        }
        for (int i = 0; i < 3; i++)
            close(fds[i]);
        close(ends.writer);
    }
}

CASE(14, waiting_reads_all_see_the_end_of_the_stream, GLIBC_OK, 20)
{
    struct ends ends = open_stream(PIPE);
    struct aiocb cb[READS];
    unsigned char data[READS][16];
    for (int i = 0; i < READS; i++) {
        cb[i] = request(ends.reader, data[i], 16, 0);
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    feed(ends.writer, 16 * 3 + 5, 0, 2);
    for (int i = 0; i < 3; i++)
        CHECK_DONE(&cb[i], 16);
    CHECK_DONE(&cb[3], 5);
    close(ends.writer);
    for (int i = 4; i < READS; i++)
        CHECK_DONE(&cb[i], 0);
}

/* ---- writes ------------------------------------------------------------------------------------------- */

enum { WRITES = 16 };

/* Writes each larger than the stream can hold: none is cut, none is mixed with another. */
static void writes_come_out_whole(enum stream kind, size_t bytes, bool through_dup)
{
    struct ends ends = open_stream(kind);
    int again = dup(ends.writer);
    static struct aiocb cb[WRITES];
    unsigned char *data = pages(bytes * WRITES);
    SETUP(again >= 0);
    pattern_fill(data, bytes * WRITES, 0, 7);
    for (int i = 0; i < WRITES; i++) {
        cb[i] = request(through_dup && i % 2 ? again : ends.writer, data + bytes * (size_t)i, bytes, 12345);
        CHECK_EQ(aio_write(&cb[i]), 0);
    }
    drain(ends.reader, bytes * WRITES, 0, 7);
    for (int i = 0; i < WRITES; i++)
        CHECK_DONE(&cb[i], bytes);
}

CASE(14, writes_to_a_pipe_come_out_whole_and_in_order, GLIBC_OK, 30) { writes_come_out_whole(PIPE, 150001, false); }
CASE(14, writes_to_a_fifo_come_out_whole_and_in_order, GLIBC_OK, 30) { writes_come_out_whole(FIFO, 150001, false); }
CASE(14, writes_to_a_unix_socket_come_out_whole_and_in_order, GLIBC_OK, 30) { writes_come_out_whole(UNIX_SOCKET, 400001, false); }
CASE(14, writes_to_a_tcp_socket_come_out_whole_and_in_order, GLIBC_OK, 30) { writes_come_out_whole(TCP_SOCKET, 700001, false); }
CASE(14, writes_to_a_tty_come_out_whole_and_in_order, GLIBC_OK, 30) { writes_come_out_whole(PTY_MASTER, 20001, false); }
CASE(14, writes_to_a_pty_master_come_out_whole_and_in_order, GLIBC_OK, 30) { writes_come_out_whole(PTY_SLAVE, 20001, false); }
CASE(14, writes_through_dup_come_out_whole_and_in_order, GLIBC_RACY, 30) { writes_come_out_whole(PIPE, 150001, true); }

/* Writers in several threads: whose turn comes first is open, but no write is torn. */
static struct ends shared_ends;
static void *write_letters(void *argument)
{
    enum { PIECE = 100000, TIMES = 8 };
    char letter = (char)('A' + (intptr_t)argument), *text = pages(PIECE);
    memset(text, letter, PIECE);
    struct aiocb cb[TIMES];
    for (int i = 0; i < TIMES; i++) {
        cb[i] = request(shared_ends.writer, text, PIECE, 0);
        CHECK_EQ(aio_write(&cb[i]), 0);
    }
    for (int i = 0; i < TIMES; i++)
        CHECK_DONE(&cb[i], PIECE);
    return NULL;
}
CASE(14, writes_of_several_threads_are_not_torn, GLIBC_OK, 30)
{
    enum { THREADS = 4, PIECE = 100000, TIMES = 8 };
    static char text[PIECE];
    pthread_t thread[THREADS];
    shared_ends = open_stream(PIPE);
    for (intptr_t i = 0; i < THREADS; i++)
        thread[i] = start_thread(write_letters, (void *)i);
    for (int i = 0; i < THREADS * TIMES; i++) {
        read_all(shared_ends.reader, text, PIECE);
        for (int k = 1; k < PIECE; k++)
            CHECK(text[k] == text[0], "write %d is torn at byte %d: %c in %c", i, k, text[k], text[0]);
    }
    for (int i = 0; i < THREADS; i++)
        join_thread(thread[i]);
}

/* ---- the two directions ------------------------------------------------------------------------------- */

/* 100 reads wait; writes on the same descriptor come through; then the reads get their slices. */
static void waiting_reads_hold_up_no_write(enum stream kind)
{
    enum { WAITING = 100, BYTES = 32 };
    struct ends ends = open_stream(kind);
    static struct aiocb reads[WAITING];
    static unsigned char data[WAITING][BYTES], out[2000];
    for (int i = 0; i < WAITING; i++) {
        reads[i] = request(ends.reader, data[i], BYTES, 0);
        CHECK_EQ(aio_read(&reads[i]), 0);
    }
    for (int i = 0; i < 50; i++) {
        struct aiocb cb = request(ends.reader, out, sizeof out, 0);
        pattern_fill(out, sizeof out, (size_t)i * sizeof out, 4);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, sizeof out);
        drain(ends.writer, sizeof out, (size_t)i * sizeof out, 4);
    }
    for (int i = 0; i < WAITING; i++)
        CHECK_EQ(aio_error(&reads[i]), EINPROGRESS);
    size_t place = 0;
    for (int i = 0; i < WAITING; i++)
        feed(ends.writer, BYTES, (size_t)i * BYTES, 6);
    for (int i = 0; i < WAITING; i++) {
        CHECK_EQ(wait_done(&reads[i]), 0);
        size_t got = (size_t)aio_return(&reads[i]);
        CHECK(got > 0 && got <= BYTES && pattern_wrong(data[i], got, place, 6) < 0, "read %d", i);
        place += got;
    }
    drain(ends.reader, WAITING * BYTES - place, place, 6);
}

CASE(14, waiting_reads_of_a_unix_socket_hold_up_no_write, GLIBC_DEFECT, 20) { waiting_reads_hold_up_no_write(UNIX_SOCKET); }
CASE(14, waiting_reads_of_a_tcp_socket_hold_up_no_write, GLIBC_DEFECT, 20) { waiting_reads_hold_up_no_write(TCP_SOCKET); }
CASE(14, waiting_reads_of_a_tty_hold_up_no_write, GLIBC_DEFECT, 20) { waiting_reads_hold_up_no_write(PTY_SLAVE); }
CASE(14, waiting_reads_of_a_pty_master_hold_up_no_write, GLIBC_DEFECT, 20) { waiting_reads_hold_up_no_write(PTY_MASTER); }

/* Writes that nobody takes; what has arrived can be read on the same descriptor. */
static void blocked_writes_hold_up_no_read(enum stream kind, size_t bytes)
{
    enum { BLOCKED = 5 };
    struct ends ends = open_stream(kind);
    static struct aiocb writes[BLOCKED];
    unsigned char *data = pages(bytes * BLOCKED), in[500];
    pattern_fill(data, bytes * BLOCKED, 0, 8);
    for (int i = 0; i < BLOCKED; i++) {
        writes[i] = request(ends.writer, data + bytes * (size_t)i, bytes, 0);
        CHECK_EQ(aio_write(&writes[i]), 0);
    }
    settle();
    CHECK_EQ(aio_error(&writes[0]), EINPROGRESS);
    for (int i = 0; i < 50; i++) {
        struct aiocb cb = request(ends.writer, in, sizeof in, 0);
        CHECK_EQ(aio_read(&cb), 0);
        feed(ends.reader, sizeof in, (size_t)i * sizeof in, 9);
        CHECK_EQ(wait_done(&cb), 0);
        size_t got = (size_t)aio_return(&cb);
        CHECK(got > 0 && got <= sizeof in && pattern_wrong(in, got, (size_t)i * sizeof in, 9) < 0, "read %d: %zu", i, got);
        drain(ends.writer, sizeof in - got, (size_t)i * sizeof in + got, 9);
    }
    CHECK_EQ(aio_error(&writes[0]), EINPROGRESS);
    drain(ends.reader, bytes * BLOCKED, 0, 8);
    for (int i = 0; i < BLOCKED; i++)
        CHECK_DONE(&writes[i], bytes);
}
CASE(14, blocked_writes_to_a_unix_socket_hold_up_no_read, GLIBC_DEFECT, 30) { blocked_writes_hold_up_no_read(UNIX_SOCKET, 1 << 20); }
CASE(14, blocked_writes_to_a_tcp_socket_hold_up_no_read, GLIBC_DEFECT, 30) { blocked_writes_hold_up_no_read(TCP_SOCKET, 8 << 20); }
CASE(14, blocked_writes_to_a_tty_hold_up_no_read, GLIBC_DEFECT, 30) { blocked_writes_hold_up_no_read(PTY_MASTER, 50000); }

/* Waiting on 400 streams costs no file its turn. */
CASE(15, waiting_reads_starve_no_file, GLIBC_DEFECT, 20)
{
    enum { WAITING = 400 };
    static struct ends ends[WAITING];
    static struct aiocb reads[WAITING];
    static char bytes[WAITING], page[4096];
    int file = temp_file(ON_DISK, 1 << 20, 11, 0);
    for (int i = 0; i < WAITING; i++) {
        ends[i] = open_stream(i % 2 ? PIPE : UNIX_SOCKET);
        reads[i] = request(ends[i].reader, &bytes[i], 1, 0);
        CHECK_EQ(aio_read(&reads[i]), 0);
    }
    for (int i = 0; i < 100; i++) {
        struct aiocb cb = request(file, page, sizeof page, i * 4096);
        CHECK_EQ(i % 2 ? aio_read(&cb) : aio_fsync(O_SYNC, &cb), 0);
        CHECK_DONE(&cb, i % 2 ? (ssize_t)sizeof page : 0);
    }
    for (int i = 0; i < WAITING; i++) {
        char letter = (char)i;
        write_all(ends[i].writer, &letter, 1);
    }
    for (int i = 0; i < WAITING; i++) {
        CHECK_DONE(&reads[i], 1);
        CHECK_EQ(bytes[i], (char)i);
    }
}
