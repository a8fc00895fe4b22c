/* order_sync.c - an aio_fsync tells the error of a write that was in progress when it was queued, however soon the
 * write fails. SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"

enum { BLOCK = 4096, LIMIT = 1 << 20, ROUNDS = 400 };

static atomic_bool over;

/* Keeps the library's threads awake, so that a write may fail before the sync behind it is taken over. */
static void *write_without_pause(void *place)
{
    int fd = temp_file(*(enum place *)place, BLOCK, 1, 0);
    unsigned char *data = pages(BLOCK);
    while (!over) {
        struct aiocb cb = request(fd, data, BLOCK, 0);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, BLOCK);
    }
    close(fd);
    return NULL;
}

/* A write beyond RLIMIT_FSIZE needs no device and fails at once. */
static void writes_that_fail_at_once(enum place place, int flags)
{
    int fd = temp_file(place, BLOCK, 1, flags), caught = 0;
    unsigned char *data = pages(BLOCK);
    SETUP(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    set_limit(RLIMIT_FSIZE, LIMIT);
    pthread_t busy[2];
    for (int i = 0; i < 2; i++)
        busy[i] = start_thread(write_without_pause, &place);
    for (int i = 0; i < ROUNDS; i++) {
        struct aiocb bad = request(fd, data, BLOCK, LIMIT), sync = request(fd, NULL, 0, 0);
        CHECK_EQ(aio_write(&bad), 0);
        CHECK_EQ(aio_fsync(i % 2 ? O_DSYNC : O_SYNC, &sync), 0);
        bool was_in_progress = aio_error(&bad) == EINPROGRESS;
        CHECK_ENDS(&bad, EFBIG);
        int told = wait_done(&sync);
        if (was_in_progress)
            CHECK_EQ(told, EFBIG);
        else
            CHECK(told == 0 || told == EFBIG, "%s", strerror(told));
        caught += was_in_progress;
        struct aiocb after = request(fd, NULL, 0, 0); /* told once */
        CHECK_EQ(aio_fsync(O_SYNC, &after), 0);
        CHECK_DONE(&after, 0);
    }
    over = true;
    for (int i = 0; i < 2; i++)
        join_thread(busy[i]);
    CHECK(caught > ROUNDS / 20, "only %d writes were still in progress behind their aio_fsync", caught);
}
CASE(17, sync_behind_a_cached_write_that_fails, GLIBC_DEFECT, 30) { writes_that_fail_at_once(ON_DISK, 0); }
CASE(17, sync_behind_a_direct_write_that_fails, GLIBC_DEFECT, 30) { writes_that_fail_at_once(DIRECT, 0); }
CASE(17, sync_behind_a_synchronous_write_that_fails, GLIBC_DEFECT, 30) { writes_that_fail_at_once(ON_DISK, O_DSYNC); }

/* The same while another thread closes descriptors of other files, each with a request outstanding at that moment. */
static void *close_other_descriptors(void *argument)
{
    struct ends *ends = argument;
    while (!over) {
        char byte;
        int fd = dup(ends->reader);
        SETUP(fd >= 0);
        struct aiocb cb = request(fd, &byte, 1, 0);
        CHECK_EQ(aio_read(&cb), 0);
        CHECK_EQ(close(fd), 0);
        write_all(ends->writer, "x", 1);
        CHECK_DONE(&cb, 1);
    }
    return NULL;
}
CASE(17, sync_behind_a_failing_write_while_others_close, GLIBC_DEFECT, 30)
{
    enum { MOST = 20000 };
    int fd = temp_file(ON_DISK, BLOCK, 1, 0), caught = 0;
    struct ends ends = open_stream(PIPE);
    unsigned char data[16] = {0};
    int64_t until = now_ns() + 2000000000;
    SETUP(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    set_limit(RLIMIT_FSIZE, LIMIT);
    pthread_t closes = start_thread(close_other_descriptors, &ends);
    for (int i = 0; i < MOST && (now_ns() < until || caught < 10); i++) {
        struct aiocb bad = request(fd, data, sizeof data, LIMIT), sync = request(fd, NULL, 0, 0);
        CHECK_EQ(aio_write(&bad), 0);
        for (volatile int wait = 0; wait < i % 64 * 20; wait++) { } /* the close falls before, between or behind them */
        CHECK_EQ(aio_fsync(O_SYNC, &sync), 0);
        bool was_in_progress = aio_error(&bad) == EINPROGRESS;
        int told = wait_done(&sync);
        CHECK(told == EFBIG || (told == 0 && !was_in_progress), "round %d: the sync says %d", i, told);
        CHECK_ENDS(&bad, EFBIG);
        caught += was_in_progress;
    }
    over = true;
    join_thread(closes);
    CHECK(caught > 0, "no write was still in progress behind its aio_fsync");
}
