/* order_gate.c - what runs beside what, what waits for what, and who goes first, seen from a file system that
 * finishes requests when the test says so. SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "gate.h"

enum { BLOCK = 4096 };

static struct aiocb block(int fd, unsigned char *data, int number)
{
    return request(fd, data, BLOCK, (off_t)number * BLOCK);
}

/* ---- parallel ----------------------------------------------------------------------------------------- */

/* While the file's first block is being transferred, the ten behind it are: the first of them begins where that ends. */
static void ten_run_beside_one(int (*held_call)(struct aiocb *), int (*call)(struct aiocb *))
{
    struct gate *gate = gate_start();
    int fd = gate_open(0, O_RDWR), held = gate_hold(gate, held_call == aio_write ? GATE_WRITE : GATE_READ, 0, 0, BLOCK);
    unsigned char *data = pages(11 * BLOCK);
    struct aiocb first = block(fd, data, 0), cb[10];
    CHECK_EQ(held_call(&first), 0);
    for (int i = 0; i < 10; i++) {
        cb[i] = block(fd, data + (i + 1) * BLOCK, i + 1);
        CHECK_EQ(call(&cb[i]), 0);
    }
    for (int i = 0; i < 10; i++)
        CHECK_DONE(&cb[i], BLOCK);
    CHECK_EQ(aio_error(&first), EINPROGRESS);
    gate_release(gate, held);
    CHECK_DONE(&first, BLOCK);
}
CASE(15, reads_run_beside_a_read_of_the_same_descriptor, GLIBC_DEFECT | NEEDS_ROOT, 20) { ten_run_beside_one(aio_read, aio_read); }
CASE(15, writes_of_disjoint_ranges_run_side_by_side, GLIBC_DEFECT | NEEDS_ROOT, 20) { ten_run_beside_one(aio_write, aio_write); }
CASE(15, reads_run_beside_a_write_elsewhere, GLIBC_DEFECT | NEEDS_ROOT, 20) { ten_run_beside_one(aio_write, aio_read); }

/* Reads of the very bytes that a read is busy with need not wait either. */
CASE(15, overlapping_reads_run_side_by_side, GLIBC_DEFECT | NEEDS_ROOT, 20)
{
    struct gate *gate = gate_start();
    int fd = gate_open(0, O_RDWR), held = gate_hold(gate, GATE_READ, 0, 0, BLOCK);
    unsigned char *data = pages(64 * BLOCK);
    struct aiocb cb[5];
    for (int i = 0; i < 5; i++) {
        cb[i] = request(fd, data + i * 2 * BLOCK, 2 * BLOCK, 0);
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    WAIT_FOR(gate_arrived(gate, GATE_READ, 0, 0, BLOCK) == 5);
    gate_release(gate, held);
    for (int i = 0; i < 5; i++)
        CHECK_DONE(&cb[i], 2 * BLOCK);
}

CASE(15, other_files_run_beside_a_held_one, GLIBC_OK | NEEDS_ROOT, 20)
{
    struct gate *gate = gate_start();
    int fd = gate_open(0, O_RDWR), other = gate_open(1, O_RDWR), held = gate_hold(gate, GATE_ANY, 0, 0, GATE_BYTES);
    unsigned char *data = pages(64 * BLOCK);
    struct aiocb first = block(fd, data, 0), cb = block(other, data + BLOCK, 0);
    CHECK_EQ(aio_write(&first), 0);
    for (int i = 0; i < 6; i++) {
        CHECK_EQ(i % 3 == 0 ? aio_write(&cb) : i % 3 == 1 ? aio_read(&cb) : aio_fsync(O_SYNC, &cb), 0);
        CHECK_DONE(&cb, i % 3 == 2 ? 0 : BLOCK);
    }
    CHECK_EQ(aio_error(&first), EINPROGRESS);
    gate_release(gate, held);
    CHECK_DONE(&first, BLOCK);
}

/* ---- held back ---------------------------------------------------------------------------------------- */

/* What overlaps the held write waits for it, through any descriptor of the file; what overlaps only those that
 * wait must wait, too; what touches neither does not. */
CASE(15, overlapping_requests_wait_for_a_write, GLIBC_DEFECT | NEEDS_ROOT, 20)
{
    struct gate *gate = gate_start();
    int fd = gate_open(0, O_RDWR), again = dup(fd), reopened = gate_open(0, O_RDWR);
    int held = gate_hold(gate, GATE_WRITE, 0, BLOCK, BLOCK + 1);
    unsigned char *a = pages(2 * BLOCK), *b = pages(2 * BLOCK), *in1 = pages(2 * BLOCK), *in2 = pages(2 * BLOCK), *in3 = pages(BLOCK);
    memset(a, 'a', 2 * BLOCK);
    memset(b, 'b', 2 * BLOCK);
    struct aiocb first = request(fd, a, 2 * BLOCK, 0), read1 = request(again, in1, 2 * BLOCK, 0);
    struct aiocb second = request(reopened, b, 2 * BLOCK, BLOCK), read2 = request(fd, in2, 2 * BLOCK, BLOCK);
    struct aiocb free_read = request(fd, in3, BLOCK, 5 * BLOCK);
    CHECK_EQ(aio_write(&first), 0);
    CHECK_EQ(aio_read(&read1), 0);
    CHECK_EQ(aio_write(&second), 0);
    CHECK_EQ(aio_read(&read2), 0);
    CHECK_EQ(aio_read(&free_read), 0);
    CHECK_DONE(&free_read, BLOCK);
    settle();
    CHECK_EQ(gate_arrived(gate, GATE_ANY, 0, 0, 3 * BLOCK), 1);
    CHECK_EQ(aio_error(&read1), EINPROGRESS);
    CHECK_EQ(aio_error(&second), EINPROGRESS);
    CHECK_EQ(aio_error(&read2), EINPROGRESS);
    gate_release(gate, held);
    CHECK_DONE(&first, 2 * BLOCK);
    CHECK_DONE(&read1, 2 * BLOCK);
    CHECK_DONE(&second, 2 * BLOCK);
    CHECK_DONE(&read2, 2 * BLOCK);
    CHECK(memcmp(in1, a, 2 * BLOCK) == 0, "the first read has not the first write's data");
    CHECK(memcmp(in2, b, 2 * BLOCK) == 0, "the second read has not the second write's data");
}

/* A write waits for the read before it: the read must not see what comes later. */
CASE(15, a_write_waits_for_an_overlapping_read, GLIBC_OK | NEEDS_ROOT, 20)
{
    struct gate *gate = gate_start();
    int fd = gate_open(0, O_RDWR), held = gate_hold(gate, GATE_READ, 0, 0, BLOCK);
    unsigned char *in = pages(BLOCK), *out = pages(BLOCK);
    memset(out, 'x', BLOCK);
    memset(in, '?', BLOCK);
    struct aiocb first = block(fd, in, 0), second = block(fd, out, 0);
    CHECK_EQ(aio_read(&first), 0);
    CHECK_EQ(aio_write(&second), 0);
    WAIT_FOR(gate_arrived(gate, GATE_READ, 0, 0, BLOCK) == 1);
    settle();
    CHECK_EQ(gate_arrived(gate, GATE_WRITE, 0, 0, BLOCK), 0);
    gate_release(gate, held);
    CHECK_DONE(&first, BLOCK);
    CHECK_DONE(&second, BLOCK);
    for (int i = 0; i < BLOCK; i++)
        CHECK(in[i] == 0, "byte %d is %#x", i, in[i]);
}

/* glibc's one at a time, for programs that lean on it. */
static void one_at_a_time(struct gate *gate)
{
    int fd = gate_open(0, O_RDWR), other = gate_open(1, O_RDWR), held = gate_hold(gate, GATE_WRITE, 0, 0, BLOCK);
    unsigned char *data = pages(20 * BLOCK);
    struct aiocb first = block(fd, data, 0), cb[10], elsewhere = block(other, data, 0);
    CHECK_EQ(aio_write(&first), 0);
    for (int i = 0; i < 10; i++) {
        cb[i] = block(fd, data + (i + 1) * BLOCK, i + 1);
        CHECK_EQ(i % 2 ? aio_read(&cb[i]) : aio_write(&cb[i]), 0);
    }
    CHECK_EQ(aio_write(&elsewhere), 0);
    CHECK_DONE(&elsewhere, BLOCK);
    settle();
    CHECK_EQ(gate_arrived(gate, GATE_ANY, 0, 0, GATE_BYTES), 1);
    gate_release(gate, held);
    CHECK_DONE(&first, BLOCK);
    for (int i = 0; i < 10; i++)
        CHECK_DONE(&cb[i], BLOCK);
    int last = -1;
    for (int i = 0; i < gate->logged; i++)
        if (gate->log[i].file == 0) {
            CHECK(gate->log[i].offset / BLOCK == last + 1, "block %lld came behind block %d", (long long)gate->log[i].offset / BLOCK, last);
            last++;
        }
    CHECK_EQ(last, 10);
}
CASE(15, order_fd_runs_one_at_a_time, GLIBC_OK | NEEDS_ROOT, 20)
{
    with_environment("AIO_SHIM_ORDER", "fd");
    one_at_a_time(gate_start());
}

/* ---- fsync -------------------------------------------------------------------------------------------- */

/* Writes held, then an fsync of another kind of caller: it must not have begun before the last write ended. */
static void fsync_behind_writes(int op, int sync_fd_kind, int write_priority)
{
    enum { WRITES = 8 };
    struct gate *gate = gate_start();
    int fd = gate_open(0, O_RDWR), rule[WRITES];
    int sync_fd = sync_fd_kind == 0 ? fd : sync_fd_kind == 1 ? dup(fd) : gate_open(0, sync_fd_kind == 2 ? O_RDWR : O_RDONLY);
    unsigned char *data = pages(WRITES * BLOCK);
    struct aiocb cb[WRITES], sync = request(sync_fd, NULL, 0, 0);
    for (int i = 0; i < WRITES; i++) {
        rule[i] = gate_hold(gate, GATE_WRITE, 0, i * BLOCK, (i + 1) * BLOCK);
        cb[i] = block(fd, data, i);
        cb[i].aio_reqprio = write_priority;
        CHECK_EQ(aio_write(&cb[i]), 0);
    }
    CHECK_EQ(aio_fsync(op, &sync), 0);
    for (int i = WRITES - 1; i >= 0; i--) { /* backwards where they run side by side, else in turn */
        settle();
        CHECK_EQ(gate_arrived(gate, GATE_FSYNC, 0, 0, 0), 0);
        CHECK_EQ(aio_error(&sync), EINPROGRESS);
        gate_release(gate, rule[on_glibc() ? WRITES - 1 - i : i]);
        CHECK_DONE(&cb[on_glibc() ? WRITES - 1 - i : i], BLOCK);
    }
    CHECK_DONE(&sync, 0);
    CHECK_EQ(gate_arrived(gate, GATE_FSYNC, 0, 0, 0), 1);
}
CASE(17, fsync_waits_for_earlier_writes, GLIBC_OK | NEEDS_ROOT, 20) { fsync_behind_writes(O_SYNC, 0, 0); }
CASE(17, datasync_waits_for_earlier_writes, GLIBC_OK | NEEDS_ROOT, 20) { fsync_behind_writes(O_DSYNC, 0, 0); }
CASE(17, fsync_waits_for_writes_of_lower_priority, GLIBC_DEFECT | NEEDS_ROOT, 20) { fsync_behind_writes(O_SYNC, 0, 20); }
CASE(17, fsync_waits_for_writes_through_dup, GLIBC_DEFECT | NEEDS_ROOT, 20) { fsync_behind_writes(O_SYNC, 1, 0); }
CASE(17, fsync_waits_for_writes_through_another_open, GLIBC_DEFECT | NEEDS_ROOT, 20) { fsync_behind_writes(O_SYNC, 2, 0); }
CASE(17, fsync_by_a_reader_waits_for_writes, GLIBC_DEFECT | NEEDS_ROOT, 20) { fsync_behind_writes(O_DSYNC, 3, 7); }

/* One write fails while the fsync waits for another. */
CASE(17, fsync_carries_a_failed_writes_error, GLIBC_DEFECT | NEEDS_ROOT, 20)
{
    static const int errors[] = {EIO, ENOSPC, EDQUOT};
    struct gate *gate = gate_start();
    int fd = gate_open(0, O_RDWR);
    unsigned char *data = pages(4 * BLOCK);
    for (size_t k = 0; k < COUNT(errors); k++) {
        int held = gate_hold(gate, GATE_WRITE, 0, 0, BLOCK), fails = gate_hold(gate, GATE_WRITE, 0, BLOCK, 2 * BLOCK);
        struct aiocb first = block(fd, data, 0), bad = block(fd, data, 1), sync = request(fd, NULL, 0, 0), after = sync;
        CHECK_EQ(aio_write(&bad), 0);
        CHECK_EQ(aio_write(&first), 0);
        CHECK_EQ(aio_fsync(k % 2 ? O_DSYNC : O_SYNC, &sync), 0);
        WAIT_FOR(gate_arrived(gate, GATE_WRITE, 0, BLOCK, 2 * BLOCK) == (int)k + 1);
        gate_release_failed(gate, fails, errors[k]);
        CHECK_ENDS(&bad, errors[k]);
        CHECK_EQ(aio_error(&sync), EINPROGRESS);
        gate_release(gate, held);
        CHECK_DONE(&first, BLOCK);
        CHECK_ENDS(&sync, errors[k]);
        CHECK_EQ(aio_fsync(O_SYNC, &after), 0); /* told once; not for ever */
        CHECK_DONE(&after, 0);
    }
}

CASE(17, fsync_tells_its_own_error, GLIBC_OK | NEEDS_ROOT, 20)
{
    struct gate *gate = gate_start();
    int fd = gate_open(0, O_RDWR);
    struct aiocb sync = request(fd, NULL, 0, 0);
    gate_rule(gate, GATE_FSYNC, 0, 0, 0, EIO);
    CHECK_EQ(aio_fsync(O_SYNC, &sync), 0);
    CHECK_ENDS(&sync, EIO);
}

CASE(17, fsync_waits_for_no_other_file, GLIBC_OK | NEEDS_ROOT, 20)
{
    struct gate *gate = gate_start();
    int fd = gate_open(0, O_RDWR), other = gate_open(1, O_RDWR), held = gate_hold(gate, GATE_WRITE, 0, 0, BLOCK);
    unsigned char *data = pages(BLOCK);
    struct aiocb first = block(fd, data, 0), sync = request(other, NULL, 0, 0);
    CHECK_EQ(aio_write(&first), 0);
    CHECK_EQ(aio_fsync(O_SYNC, &sync), 0);
    CHECK_DONE(&sync, 0);
    CHECK_EQ(aio_error(&first), EINPROGRESS);
    gate_release(gate, held);
    CHECK_DONE(&first, BLOCK);
}

/* An fsync is for the writes queued before it: it waits for no read, and for nothing that comes later. (Later writes are
 * not asked about: the kernel itself lets fsync wait for them on some file systems.) */
CASE(17, fsync_waits_for_no_read_and_nothing_later, GLIBC_DEFECT | NEEDS_ROOT, 20)
{
    struct gate *gate = gate_start();
    int fd = gate_open(0, O_RDWR);
    unsigned char *data = pages(4 * BLOCK);
    struct aiocb before = block(fd, data + BLOCK, 5), first = block(fd, data, 0), sync = request(fd, NULL, 0, 0);
    struct aiocb later = block(fd, data + 2 * BLOCK, 1);
    int held = gate_hold(gate, GATE_READ, 0, 0, 20 * BLOCK);
    CHECK_EQ(aio_read(&before), 0);
    CHECK_EQ(aio_write(&first), 0);
    CHECK_EQ(aio_fsync(O_SYNC, &sync), 0);
    CHECK_EQ(aio_read(&later), 0);
    CHECK_DONE(&first, BLOCK);
    CHECK_DONE(&sync, 0);
    CHECK_EQ(aio_error(&before), EINPROGRESS);
    CHECK_EQ(aio_error(&later), EINPROGRESS);
    gate_release(gate, held);
    CHECK_DONE(&before, BLOCK);
    CHECK_DONE(&later, BLOCK);
}
CASE(15, reads_run_beside_an_fsync, GLIBC_DEFECT | NEEDS_ROOT, 20)
{
    struct gate *gate = gate_start();
    int fd = gate_open(0, O_RDWR), held = gate_hold(gate, GATE_FSYNC, 0, 0, 0);
    unsigned char *data = pages(BLOCK);
    struct aiocb sync = request(fd, NULL, 0, 0), later = block(fd, data, 1);
    CHECK_EQ(aio_fsync(O_SYNC, &sync), 0);
    WAIT_FOR(gate_arrived(gate, GATE_FSYNC, 0, 0, 0) == 1);
    CHECK_EQ(aio_read(&later), 0);
    CHECK_DONE(&later, BLOCK);
    CHECK_EQ(aio_error(&sync), EINPROGRESS);
    gate_release(gate, held);
    CHECK_DONE(&sync, 0);
}

/* A cancelled write is no reason to wait, nor a failure to report... nor to forget the others. */
CASE(17, fsync_outlives_cancelled_writes, GLIBC_OK | NEEDS_ROOT, 20)
{
    struct gate *gate = gate_start();
    int fd = gate_open(0, O_RDWR), held = gate_hold(gate, GATE_WRITE, 0, 0, BLOCK);
    unsigned char *data = pages(4 * BLOCK);
    struct aiocb first = block(fd, data, 0), behind = block(fd, data, 0), sync = request(fd, NULL, 0, 0);
    CHECK_EQ(aio_write(&first), 0);
    CHECK_EQ(aio_write(&behind), 0);
    CHECK_EQ(aio_fsync(O_SYNC, &sync), 0);
    WAIT_FOR(gate_arrived(gate, GATE_WRITE, 0, 0, BLOCK) == 1);
    CHECK_EQ(aio_cancel(fd, &behind), AIO_CANCELED);
    CHECK_ENDS(&behind, ECANCELED);
    settle();
    CHECK_EQ(gate_arrived(gate, GATE_FSYNC, 0, 0, 0), 0);
    CHECK_EQ(aio_error(&sync), EINPROGRESS);
    gate_release(gate, held);
    CHECK_DONE(&first, BLOCK);
    int error = wait_done(&sync);
    CHECK(error == 0 || error == ECANCELED, "error %d", error); /* POSIX: a write that failed; ours to choose */
    CHECK_EQ(gate_arrived(gate, GATE_WRITE, 0, 0, BLOCK), 1);
}

CASE(17, fsync_refuses_at_once_what_it_cannot_do, GLIBC_OK, 10)
{
    int fd = temp_file(ON_DISK, 4096, 1, 0);
    struct aiocb sync = request(fd, NULL, 0, 0);
    CHECK_FAILS(aio_fsync(0x7f, &sync), EINVAL);
    CHECK_FAILS(aio_fsync(-1, &sync), EINVAL);
    sync.aio_fildes = -1;
    CHECK_FAILS(aio_fsync(O_SYNC, &sync), EBADF);
    sync.aio_fildes = 9999;
    CHECK_FAILS(aio_fsync(O_DSYNC, &sync), EBADF);
    int reader = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    SETUP(reader >= 0);
    sync.aio_fildes = reader;
    CHECK_EQ(aio_fsync(O_SYNC, &sync), 0);
    CHECK_DONE(&sync, 0);
}

/* The same for a write that had to wait for another first. */
CASE(17, fsync_carries_a_held_back_writes_error, GLIBC_DEFECT | NEEDS_ROOT, 20)
{
    struct gate *gate = gate_start();
    int fd = gate_open(0, O_RDWR), held = gate_hold(gate, GATE_WRITE, 0, 0, BLOCK);
    unsigned char *data = pages(4 * BLOCK);
    struct aiocb first = request(fd, data, 2 * BLOCK, 0), bad = request(fd, data, BLOCK, BLOCK), sync = request(fd, NULL, 0, 0);
    gate_rule(gate, GATE_WRITE, 0, BLOCK + 1, BLOCK + 2, ENOSPC);
    CHECK_EQ(aio_write(&first), 0);
    WAIT_FOR(gate_arrived(gate, GATE_WRITE, 0, 0, BLOCK) == 1);
    CHECK_EQ(aio_write(&bad), 0);
    CHECK_EQ(aio_fsync(O_SYNC, &sync), 0);
    gate_release(gate, held);
    CHECK_DONE(&first, 2 * BLOCK);
    CHECK_ENDS(&bad, ENOSPC);
    CHECK_ENDS(&sync, ENOSPC);
}

/* ---- priority ----------------------------------------------------------------------------------------- */

/* Reads that wait for the same pipe: the higher priority, which is the lower number, is fed first. */
CASE(16, of_waiting_reads_the_higher_priority_goes_first, GLIBC_OK, 20)
{
    enum { READS = 60, BYTES = 8 };
    struct ends ends = open_stream(PIPE);
    static struct aiocb cb[READS];
    static unsigned char data[READS][BYTES];
    uint64_t seed = chance_seed(), state = seed;
    for (int i = 0; i < READS; i++) {
        cb[i] = request(ends.reader, data[i], BYTES, 0);
        cb[i].aio_reqprio = i == 0 ? 0 : 1 + (int)below(&state, 20);
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    settle();
    feed(ends.writer, READS * BYTES, 0, 3);
    for (int i = 0; i < READS; i++)
        CHECK_DONE(&cb[i], BYTES);
    size_t place = 0;
    for (int priority = 0; priority <= 20; priority++)
        for (int i = 0; i < READS; i++)
            if (cb[i].aio_reqprio == priority) {
                CHECK(pattern_wrong(data[i], BYTES, place, 3) < 0, "seed %#llx: read %d of priority %d is not the one at %zu",
                      (unsigned long long)seed, i, priority, place / BYTES);
                place += BYTES;
            }
}

/* One worker, busy: what waits for it goes by priority, first come among equals. */
CASE(16, of_what_waits_for_a_worker_the_higher_priority_goes_first, SHIM_ONLY | NEEDS_WORKERS | NEEDS_ROOT | AS_BUILT, 20)
{
    enum { READS = 60 };
    with_environment("AIO_SHIM_THREADS", "1");
    struct gate *gate = gate_start();
    int fd = gate_open(0, O_RDWR), held = gate_hold(gate, GATE_READ, 0, 0, BLOCK);
    unsigned char *data = pages((READS + 1) * BLOCK);
    struct aiocb first = block(fd, data, 0), cb[READS];
    uint64_t state = chance_seed();
    CHECK_EQ(aio_read(&first), 0);
    WAIT_FOR(gate_arrived(gate, GATE_READ, 0, 0, BLOCK) == 1);
    for (int i = 0; i < READS; i++) {
        cb[i] = block(fd, data + (i + 1) * BLOCK, i + 1);
        cb[i].aio_reqprio = (int)below(&state, 21);
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    settle();
    CHECK_EQ(gate->logged, 1);
    gate_release(gate, held);
    for (int i = 0; i < READS; i++)
        CHECK_DONE(&cb[i], BLOCK);
    int at = 1;
    for (int priority = 0; priority <= 20; priority++)
        for (int i = 0; i < READS; i++)
            if (cb[i].aio_reqprio == priority) {
                CHECK(gate->log[at].offset == (i + 1) * BLOCK, "request %d served is block %lld, expected %d of priority %d", at,
                      (long long)gate->log[at].offset / BLOCK, i + 1, priority);
                at++;
            }
}

/* Priority never breaks what overlap demands. */
CASE(16, priority_does_not_reorder_overlapping_requests, GLIBC_DEFECT | NEEDS_ROOT, 20)
{
    struct gate *gate = gate_start();
    int fd = gate_open(0, O_RDWR), held = gate_hold(gate, GATE_WRITE, 0, 0, BLOCK);
    unsigned char *a = pages(BLOCK), *b = pages(BLOCK), *in = pages(BLOCK);
    memset(a, 'a', BLOCK);
    memset(b, 'b', BLOCK);
    struct aiocb first = block(fd, a, 0), read = block(fd, in, 0), second = block(fd, b, 0);
    first.aio_reqprio = 20;
    read.aio_reqprio = 20;
    CHECK_EQ(aio_write(&first), 0);
    CHECK_EQ(aio_read(&read), 0);
    CHECK_EQ(aio_write(&second), 0);
    settle();
    gate_release(gate, held);
    CHECK_DONE(&first, BLOCK);
    CHECK_DONE(&read, BLOCK);
    CHECK_DONE(&second, BLOCK);
    CHECK(memcmp(in, a, BLOCK) == 0, "the read saw '%c'", in[0]);
    CHECK(gate->data[0][0] == 'b', "'%c' is what is left", gate->data[0][0]);
}
