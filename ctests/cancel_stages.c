/* cancel_stages.c - aio_cancel wherever a request may be: held back, running, begun to block, done, or just about
 * to be. SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "gate.h"

enum { BLOCK = 4096 };

/* ---- files ------------------------------------------------------------------------------------------------ */

CASE(27, a_held_back_request_is_cancelled, GLIBC_OK | NEEDS_ROOT, 20)
{
    struct gate *gate = gate_start();
    int fd = gate_open(0, O_RDWR), held = gate_hold(gate, GATE_WRITE, 0, 0, BLOCK);
    unsigned char *a = pages(BLOCK), *b = pages(BLOCK), *in = pages(BLOCK);
    memset(a, 'a', BLOCK);
    memset(b, 'b', BLOCK);
    memset(in, '?', BLOCK);
    struct aiocb first = request(fd, a, BLOCK, 0), second = request(fd, b, BLOCK, 0), third = request(fd, in, BLOCK, 0);
    struct aiocb sync = request(fd, NULL, 0, 0);
    CHECK_EQ(aio_write(&first), 0);
    WAIT_FOR(gate_arrived(gate, GATE_WRITE, 0, 0, BLOCK) == 1);
    CHECK_EQ(aio_write(&second), 0);
    CHECK_EQ(aio_read(&third), 0);
    CHECK_EQ(aio_fsync(O_SYNC, &sync), 0);
    CHECK_EQ(aio_cancel(fd, &second), AIO_CANCELED);
    CHECK_ENDS(&second, ECANCELED);
    CHECK_EQ(aio_cancel(fd, &sync), AIO_CANCELED);
    CHECK_ENDS(&sync, ECANCELED);
    CHECK_EQ(aio_error(&third), EINPROGRESS);
    gate_release(gate, held);
    CHECK_DONE(&first, BLOCK);
    if (!on_glibc()) { /* glibc may lose what is behind a cancelled one */
        CHECK_DONE(&third, BLOCK);
        CHECK(in[0] == 'a' && in[BLOCK - 1] == 'a', "the read has '%c'", in[0]);
    }
    CHECK_EQ(gate->data[0][0], 'a');
    CHECK_EQ(gate_arrived(gate, GATE_WRITE, 0, 0, BLOCK), 1);
    CHECK_EQ(gate_arrived(gate, GATE_FSYNC, 0, 0, 0), 0);
}

CASE(28, a_running_transfer_is_not_cancelled, GLIBC_OK | NEEDS_ROOT, 20)
{
    struct gate *gate = gate_start();
    int fd = gate_open(0, O_RDWR);
    unsigned char *data = pages(BLOCK);
    for (int op = GATE_READ; op <= GATE_FSYNC; op *= 2) {
        int held = gate_hold(gate, op, 0, 0, BLOCK), before = gate->logged;
        struct aiocb cb = request(fd, data, op == GATE_FSYNC ? 0 : BLOCK, 0);
        CHECK_EQ(op == GATE_READ ? aio_read(&cb) : op == GATE_WRITE ? aio_write(&cb) : aio_fsync(O_SYNC, &cb), 0);
        WAIT_FOR(gate->logged == before + 1);
        CHECK_EQ(aio_cancel(fd, &cb), AIO_NOTCANCELED);
        CHECK_EQ(aio_error(&cb), EINPROGRESS);
        CHECK_EQ(aio_cancel(fd, NULL), AIO_NOTCANCELED);
        CHECK_EQ(aio_error(&cb), EINPROGRESS);
        gate_release(gate, held);
        CHECK_DONE(&cb, op == GATE_FSYNC ? 0 : BLOCK);
        CHECK_EQ(aio_cancel(fd, &cb), AIO_ALLDONE);
    }
}

/* Random writes over each other, some cancelled while the first is held: the file is what the others leave. */
CASE(29, cancelled_writes_leave_no_trace, GLIBC_RACY | NEEDS_ROOT, 30)
{
    enum { WRITES = 60 };
    struct gate *gate = gate_start();
    int fd = gate_open(0, O_RDWR);
    static unsigned char model[20 * BLOCK];
    unsigned char *data = pages(WRITES * 4 * BLOCK);
    uint64_t seed = chance_seed(), state = seed;
    for (int round = 0; round < 10; round++) {
        struct aiocb cb[WRITES];
        int held = gate_hold(gate, GATE_WRITE, 0, 0, 20 * BLOCK);
        for (int i = 0; i < WRITES; i++) {
            size_t size = 1 + below(&state, 4 * BLOCK), at = below(&state, 20 * BLOCK - size);
            cb[i] = request(fd, data + i * 4 * BLOCK, size, (off_t)at);
            memset(data + i * 4 * BLOCK, 1 + round * WRITES + i, size);
            CHECK_EQ(aio_write(&cb[i]), 0);
            if (chance(&state) % 3 == 0) {
                int victim = (int)below(&state, (size_t)i + 1), verdict = aio_cancel(fd, &cb[victim]);
                CHECK(verdict >= 0, "%d", verdict);
            }
        }
        gate_release(gate, held);
        for (int i = 0; i < WRITES; i++) {
            int error = wait_done(&cb[i]);
            CHECK(error == ECANCELED || (error == 0 && aio_return(&cb[i]) == (ssize_t)cb[i].aio_nbytes), "%d: %d", i, error);
            if (error == 0)
                memset(model + cb[i].aio_offset, 1 + round * WRITES + i, cb[i].aio_nbytes);
        }
        CHECK(memcmp(gate->data[0], model, sizeof model) == 0, "seed %#llx, round %d", (unsigned long long)seed, round);
    }
}

/* ---- writes that block -------------------------------------------------------------------------------------- */

/* Part of it went out: it cannot be undone, and ends with what went out. Nobody reads meanwhile. */
static void a_begun_write(enum stream kind, size_t bytes)
{
    struct ends ends = open_stream(kind);
    unsigned char *data = pages(bytes);
    pattern_fill(data, bytes, 0, 4);
    struct aiocb cb = request(ends.writer, data, bytes, 0), behind = request(ends.writer, data, 10, 0);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_EQ(aio_write(&behind), 0);
    int out = 0;
    WAIT_FOR((out = readable_bytes(ends.reader)) > 0);
    settle();
    CHECK_EQ(aio_error(&cb), EINPROGRESS);
    CHECK_EQ(aio_cancel(ends.writer, &behind), AIO_CANCELED);
    CHECK_ENDS(&behind, ECANCELED);
    CHECK_EQ(aio_cancel(ends.writer, &cb), AIO_NOTCANCELED);
    CHECK_EQ(wait_done(&cb), 0);
    ssize_t sent = aio_return(&cb);
    CHECK(sent > 0 && sent < (ssize_t)bytes, "%zd of %zu", sent, bytes);
    drain(ends.reader, (size_t)sent, 0, 4);
    close(ends.writer);
    char none;
    CHECK(read(ends.reader, &none, 1) <= 0, "more came out than was reported");
}
CASE(28, a_begun_pipe_write_ends_short, GLIBC_DEFECT, 20) { a_begun_write(PIPE, 300000); }
CASE(28, a_begun_fifo_write_ends_short, GLIBC_DEFECT, 20) { a_begun_write(FIFO, 300000); }
CASE(28, a_begun_unix_write_ends_short, GLIBC_DEFECT, 20) { a_begun_write(UNIX_SOCKET, 4 << 20); }
CASE(28, a_begun_tcp_write_ends_short, GLIBC_DEFECT, 20) { a_begun_write(TCP_SOCKET, 32 << 20); }

/* It blocks and nothing went out: whatever the verdict, the bytes agree with it. */
CASE(28, a_write_to_a_full_pipe_agrees_with_its_verdict, GLIBC_OK, 20)
{
    for (int round = 0; round < 40; round++) {
        struct ends ends = open_stream(round % 2 ? PIPE : UNIX_SOCKET);
        size_t filled = fill_up(ends.writer);
        struct aiocb cb = request(ends.writer, "ABCDEFGH", 8, 0);
        CHECK_EQ(aio_write(&cb), 0);
        if (round % 4 == 0)
            settle();
        int verdict = aio_cancel(ends.writer, &cb);
        CHECK(verdict == AIO_CANCELED || verdict == AIO_NOTCANCELED, "%d", verdict);
        if (verdict == AIO_CANCELED)
            CHECK_EQ(aio_error(&cb), ECANCELED);
        unsigned char *sink = pages(filled);
        read_all(ends.reader, sink, filled);
        char text[16] = "";
        if (verdict == AIO_CANCELED) {
            CHECK_ENDS(&cb, ECANCELED);
            CHECK_EQ(readable_bytes(ends.reader), 0);
        } else {
            CHECK_DONE(&cb, 8);
            read_all(ends.reader, text, 8);
            CHECK(memcmp(text, "ABCDEFGH", 8) == 0);
        }
        munmap(sink, filled);
        close(ends.reader);
        close(ends.writer);
    }
}

/* ---- the race -------------------------------------------------------------------------------------------------- */

/* A byte is written at about the moment the read for it is cancelled, 20 000 times: the verdict, the status, the
 * notification and the byte agree each time, and in the end every byte was taken exactly once. */
static struct ends race_ends;
static atomic_int race_go, race_written;
static void *race_writer(void *argument)
{
    int rounds = *(int *)argument;
    uint64_t state = chance_seed();
    for (int i = 0; i < rounds; i++) {
        while (atomic_load_explicit(&race_go, memory_order_acquire) <= i)
            if (chance(&state) % 64 == 0)
                sched_yield();
        for (size_t spin = below(&state, 400); spin > 0; spin--)
            __asm__ volatile("");
        unsigned char byte = (unsigned char)i;
        write_all(race_ends.writer, &byte, 1);
        atomic_fetch_add(&race_written, 1);
    }
    return NULL;
}
static void race(enum stream kind)
{
    static int rounds = 20000;
    int verdicts[3] = {0};
    uint64_t state = chance_seed();
    if (on_valgrind())
        rounds = 500;
    race_ends = open_stream(kind);
    block_signal(SIGRTMIN + 3);
    pthread_t thread = start_thread(race_writer, &rounds);
    for (int i = 0; i < rounds; i++) {
        unsigned char byte = 0, by_call = 0;
        struct aiocb cb = request(race_ends.reader, &byte, 1, 0);
        notify_by_signal(&cb, SIGRTMIN + 3, &cb);
        if (i % 2)
            atomic_store(&race_go, i + 1);
        CHECK_EQ(aio_read(&cb), 0);
        if (i % 2 == 0)
            atomic_store(&race_go, i + 1);
        for (size_t spin = below(&state, 2000); spin > 0; spin--)
            __asm__ volatile("");
        int verdict = aio_cancel(race_ends.reader, i % 3 ? &cb : NULL), status = aio_error(&cb);
        CHECK(verdict == AIO_CANCELED || verdict == AIO_NOTCANCELED || verdict == AIO_ALLDONE, "round %d: %d", i, verdict);
        verdicts[verdict]++;
        if (verdict == AIO_CANCELED)
            CHECK(status == ECANCELED, "round %d: cancelled, but status %d", i, status);
        if (verdict == AIO_ALLDONE)
            CHECK(status == 0, "round %d: all done, but status %d", i, status);
        int error = wait_done(&cb);
        ssize_t got = aio_return(&cb);
        if (error == ECANCELED) {
            CHECK(verdict == AIO_CANCELED && got == -1, "round %d: verdict %d, returns %zd", i, verdict, got);
            read_all(race_ends.reader, &by_call, 1); /* the byte is still there */
            CHECK_EQ(by_call, (unsigned char)i);
            CHECK_EQ(byte, 0);
        } else {
            CHECK(error == 0 && got == 1 && verdict != AIO_CANCELED, "round %d: verdict %d, error %d, returns %zd", i, verdict, error, got);
            CHECK_EQ(byte, (unsigned char)i);
        }
        siginfo_t info;
        CHECK(take_signal(SIGRTMIN + 3, &info) == SIGRTMIN + 3, "round %d: no notification, verdict %d", i, verdict);
        CHECK(info.si_value.sival_ptr == &cb);
    }
    join_thread(thread);
    CHECK_EQ(readable_bytes(race_ends.reader), 0);
    sigset_t pending;
    SETUP(sigpending(&pending) == 0);
    CHECK(!sigismember(&pending, SIGRTMIN + 3), "a notification too many");
    fprintf(stderr, "cancelled %d, not cancelled %d, all done %d\n", verdicts[0], verdicts[1], verdicts[2]);
}
CASE(27, cancel_against_completion_20000_times, GLIBC_OK, 120) { race(PIPE); }
CASE(27, cancel_against_completion_on_a_socket, GLIBC_OK, 120) { race(UNIX_SOCKET); }

/* Cancel from one thread, complete by another, wait in a third, on files: one outcome. */
static int storm_fd;
static atomic_bool storm_over;
static void *storm_canceller(void *unused)
{
    (void)unused;
    while (!storm_over) {
        int verdict = aio_cancel(storm_fd, NULL);
        CHECK(verdict >= 0 && verdict <= 2, "%d", verdict);
    }
    return NULL;
}
CASE(29, a_storm_of_cancels_loses_nothing, GLIBC_RACY, 60)
{
    enum { REQUESTS = 64, BYTES = 512 };
    storm_fd = temp_file(ON_DISK, REQUESTS * BYTES, 1, 0);
    static struct aiocb cb[REQUESTS];
    static unsigned char data[REQUESTS][BYTES];
    pthread_t thread = start_thread(storm_canceller, NULL);
    int64_t until = now_ns() + (int64_t)(scaled_seconds(1.5, 20) * 1e9);
    long done = 0, cancelled = 0;
    for (long round = 0; now_ns() < until; round++) {
        for (int i = 0; i < REQUESTS; i++) {
            cb[i] = request(storm_fd, data[i], BYTES, i * BYTES);
            if (round % 2)
                notify_by_signal(&cb[i], 0, NULL);
            CHECK_EQ((round + i) % 3 ? aio_read(&cb[i]) : aio_write(&cb[i]), 0);
        }
        for (int i = 0; i < REQUESTS; i++) {
            const struct aiocb *const awaited[1] = {&cb[i]};
            while (aio_error(&cb[i]) == EINPROGRESS)
                CHECK_EQ(aio_suspend(awaited, 1, NULL), 0);
            if (aio_error(&cb[i]) == ECANCELED) {
                CHECK_EQ(aio_return(&cb[i]), -1);
                cancelled++;
            } else {
                CHECK_DONE(&cb[i], BYTES);
                done++;
            }
        }
    }
    storm_over = true;
    join_thread(thread);
    fprintf(stderr, "done %ld, cancelled %ld\n", done, cancelled);
}

/* Many waiting reads, each cancelled in turn from the oldest on, and from the newest on. */
CASE(29, cancelling_20000_waiting_reads, GLIBC_DEFECT, 60)
{
    enum { READS = 20000 };
    struct ends ends = open_stream(PIPE);
    static struct aiocb cb[READS];
    static char data[READS];
    for (int backwards = 0; backwards < 2; backwards++) {
        for (int i = 0; i < READS; i++) {
            cb[i] = request(ends.reader, &data[i], 1, 0);
            CHECK_EQ(aio_read(&cb[i]), 0);
        }
        for (int i = 0; i < READS; i++)
            CHECK_EQ(aio_cancel(ends.reader, &cb[backwards ? READS - 1 - i : i]), AIO_CANCELED);
        for (int i = 0; i < READS; i++)
            CHECK_ENDS(&cb[i], ECANCELED);
        feed(ends.writer, 100, 0, 2);
        drain(ends.reader, 100, 0, 2);
    }
}
