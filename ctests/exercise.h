/* exercise.h - a short run through the whole interface, for tests that ask "does it still work here?".
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef CTESTS_EXERCISE_H
#define CTESTS_EXERCISE_H
#include "hostile.h"

/* What it works on; made beforehand, for where nothing can be opened any more. */
struct kit {
    int file;
    struct ends pipe, socket;
};
UNUSED static struct kit make_kit(void)
{
    return (struct kit){temp_file(ON_DISK, 1 << 16, 0, 0), open_stream(PIPE), open_stream(UNIX_SOCKET)};
}

static atomic_int exercise_calls;
static void exercise_called(union sigval value)
{
    (void)value;
    atomic_fetch_add(&exercise_calls, 1);
}

enum exercise_flags {
    EXERCISE_PLAIN = 0,
    MAY_REFUSE = 1,  /* EAGAIN at submission is an answer, too */
    NO_THREADS = 2,  /* without SIGEV_THREAD */
};

/* Submits; false when it was refused with EAGAIN and that is allowed. */
static bool exercise_submit(int result, int flags, const char *what)
{
    CHECK(result == 0 || ((flags & MAY_REFUSE) && result == -1 && errno == EAGAIN), "%s: %d, errno %d", what, result, errno);
    return result == 0;
}

/* Returns how many submissions were refused. Everything accepted has its one right result. */
UNUSED static int exercise(const struct kit *kit, int flags)
{
    enum { BYTES = 8192 };
    static unsigned turn;
    unsigned seed = ++turn + (unsigned)getpid();
    unsigned char *out = pages(BYTES), *in = pages(BYTES);
    int refused = 0, one = 1;
    pattern_fill(out, BYTES, 0, seed);

    struct aiocb write_cb = request(kit->file, out, BYTES, 4096);
    if (exercise_submit(aio_write(&write_cb), flags, "aio_write")) {
        CHECK_DONE(&write_cb, BYTES);
    } else {
        refused++;
        SETUP(pwrite(kit->file, out, BYTES, 4096) == BYTES);
    }

    struct aiocb sync_cb = request(kit->file, NULL, 0, 0);
    if (exercise_submit(aio_fsync(O_DSYNC, &sync_cb), flags, "aio_fsync"))
        CHECK_DONE(&sync_cb, 0);
    else
        refused++;

    for (int i = 0; i < 2; i++) { /* without notification, and with a signal number 0 as zeroed requests have */
        struct aiocb read_cb = request(kit->file, in, BYTES, 4096);
        memset(in, 0, BYTES);
        if (i)
            notify_by_signal(&read_cb, 0, NULL);
        if (exercise_submit(aio_read(&read_cb), flags, "aio_read")) {
            CHECK_DONE(&read_cb, BYTES);
            CHECK(memcmp(in, out, BYTES) == 0, "what was read is not what was written");
        } else {
            refused++;
        }
    }

    struct aiocb part[4], *list[6] = {&part[0], NULL, &part[1], &part[2], &part[3], NULL};
    memset(in, 0, BYTES);
    for (int i = 0; i < 4; i++) {
        part[i] = request(kit->file, in + i * (BYTES / 4), BYTES / 4, 4096 + i * (BYTES / 4));
        part[i].aio_lio_opcode = LIO_READ;
    }
    if (lio_listio(LIO_WAIT, list, 6, NULL) == 0) {
        CHECK(memcmp(in, out, BYTES) == 0, "what the list read is not what was written");
    } else {
        CHECK((flags & MAY_REFUSE) && (errno == EAGAIN || errno == EIO), "lio_listio: errno %d", errno);
        refused++;
        for (int i = 0; i < 4; i++) {
            int error = wait_done(&part[i]);
            CHECK(error == 0 || error == EAGAIN, "element %d: %d", i, error);
        }
    }

    for (int kind = 0; kind < 2; kind++) {
        const struct ends *ends = kind ? &kit->socket : &kit->pipe;
        struct aiocb waiting = request(ends->reader, in, 100, 0), next = request(ends->reader, in + 100, 50, 0);
        struct aiocb send = request(ends->writer, out, 150, 0);
        const struct aiocb *const awaited[2] = {&waiting, &next};
        struct timespec limit = {patience_ns() / 1000000000, 0};
        bool first = exercise_submit(aio_read(&waiting), flags, "aio_read of a stream");
        bool second = first && exercise_submit(aio_read(&next), flags, "aio_read of a stream");
        int early = first ? aio_error(&waiting) : EINPROGRESS;
        CHECK(early == EINPROGRESS, "a read of an empty %s ends at once: error %d, %zd bytes, the first %#x", kind ? "socket" : "pipe",
              early, aio_return(&waiting), in[0]);
        if (exercise_submit(aio_write(&send), flags, "aio_write to a stream")) {
            CHECK_DONE(&send, 150);
        } else {
            refused++;
            write_all(ends->writer, out, 150);
        }
        if (second)
            CHECK_EQ(aio_suspend(awaited, 2, &limit), 0);
        if (first)
            CHECK_DONE(&waiting, 100);
        if (second)
            CHECK_DONE(&next, 50);
        refused += !first + !second;
        read_all(ends->reader, in + (second ? 150 : first ? 100 : 0), second ? 0 : first ? 50 : 150);
        CHECK(memcmp(in, out, 150) == 0, "the stream's data");
    }

    if (!on_glibc()) { /* there, a waiting read cannot be cancelled */
        struct aiocb waiting = request(kit->pipe.reader, in, 1, 0);
        if (exercise_submit(aio_read(&waiting), flags, "aio_read to cancel")) {
            CHECK_EQ(aio_cancel(kit->pipe.reader, &waiting), AIO_CANCELED);
            CHECK_ENDS(&waiting, ECANCELED);
        } else {
            refused++;
        }
    }

    if (!(flags & NO_THREADS)) {
        int before = exercise_calls;
        struct aiocb told = request(kit->file, in, 10, 0);
        notify_by_thread(&told, exercise_called, &one);
        if (exercise_submit(aio_read(&told), flags, "aio_read with SIGEV_THREAD")) {
            CHECK_DONE(&told, 10);
            if (!(flags & MAY_REFUSE && on_glibc()))
                WAIT_FOR(exercise_calls == before + 1);
        } else {
            refused++;
        }
    }
    munmap(out, BYTES);
    munmap(in, BYTES);
    return refused;
}
#endif
