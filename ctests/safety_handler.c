/* safety_handler.c - every call from a signal handler that interrupts the very same calls.
 * AIO_TEST_LONG=1 lasts the full ten seconds. SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"
#include <sys/time.h>

/* One hammer is a few requests on a file region and a pipe of its own, driven step by step and never waiting. The main
 * program swings one, the handler that interrupts it another, so that any call interrupts any other. */
enum { SLOTS = 6, BYTES = 1024 };
enum what { IDLE, READING, WRITING, SYNCING, STREAM_READING, STREAM_WRITING };
struct slot {
    struct aiocb cb;
    enum what what;
    bool cancelled;
    size_t place;
    unsigned char data[BYTES];
};
struct hammer {
    struct slot slots[SLOTS];
    int file;
    off_t base;
    unsigned seed;
    uint64_t state;
    size_t fed, taken;      /* of the pipe's stream; whole slices only, so that order can be checked */
    struct ends ends;
    long done, cancelled, refused;
};
static struct hammer main_hammer, handler_hammer;

static void hammer_make(struct hammer *hammer, int file, off_t base, unsigned seed)
{
    unsigned char data[BYTES];
    memset(hammer, 0, sizeof *hammer);
    hammer->file = file, hammer->base = base, hammer->seed = seed;
    hammer->state = chance_seed() + seed;
    hammer->ends = open_stream(PIPE);
    for (int i = 0; i < SLOTS; i++) {
        pattern_fill(data, BYTES, (size_t)base + (size_t)i * BYTES, seed);
        SETUP(pwrite(file, data, BYTES, base + i * BYTES) == BYTES);
    }
}

static void slot_begin(struct hammer *hammer, int i)
{
    struct slot *slot = &hammer->slots[i];
    off_t at = hammer->base + i * BYTES;
    int result;
    slot->cancelled = false;
    switch (chance(&hammer->state) % 8) {
    case 0: case 1: case 2:
        slot->what = READING;
        slot->cb = request(hammer->file, slot->data, BYTES, at);
        memset(slot->data, 0, BYTES);
        result = aio_read(&slot->cb);
        break;
    case 3: case 4: case 5:
        slot->what = WRITING;
        slot->cb = request(hammer->file, slot->data, BYTES, at);
        pattern_fill(slot->data, BYTES, (size_t)at, hammer->seed);
        result = aio_write(&slot->cb);
        break;
    case 6:
        slot->what = SYNCING;
        slot->cb = request(hammer->file, NULL, 0, 0);
        result = aio_fsync(O_DSYNC, &slot->cb);
        break;
    default:
        if (i != 0) { /* one slot owns the pipe */
            slot->what = IDLE;
            return;
        }
        slot->what = STREAM_READING;
        slot->cb = request(hammer->ends.reader, slot->data, 16, 0);
        result = aio_read(&slot->cb);
    }
    if (result != 0) {
        CHECK(errno == EAGAIN, "refused with errno %d", errno);
        hammer->refused++;
        slot->what = IDLE;
    }
}

static void slot_end(struct hammer *hammer, int i, int error)
{
    struct slot *slot = &hammer->slots[i];
    ssize_t got = aio_return(&slot->cb);
    off_t at = hammer->base + i * BYTES;
    if (error == ECANCELED && slot->what == SYNCING && !slot->cancelled) {
        hammer->done++; /* a write before it was cancelled, by the other hammer perhaps */
    } else if (error == ECANCELED) {
        CHECK(slot->cancelled && got == -1, "slot %d: ECANCELED, but nobody cancelled it (returns %zd)", i, got);
        hammer->cancelled++;
    } else {
        CHECK(error == 0 && !slot->cancelled, "slot %d: error %d", i, error);
        if (slot->what == READING || slot->what == WRITING)
            CHECK(got == BYTES && pattern_wrong(slot->data, BYTES, (size_t)at, hammer->seed) < 0, "slot %d: %zd bytes, or wrong ones", i, got);
        if (slot->what == STREAM_READING) {
            CHECK(got == 16 && pattern_wrong(slot->data, 16, hammer->taken, hammer->seed) < 0, "slot %d: the stream at %zu", i, hammer->taken);
            hammer->taken += 16;
        }
        hammer->done++;
    }
    slot->what = IDLE;
}

/* One step with a slot chosen by chance. Nothing here may wait long: the handler is to end. */
static void hammer_step(struct hammer *hammer)
{
    int i = (int)below(&hammer->state, SLOTS);
    struct slot *slot = &hammer->slots[i];
    if (slot->what == IDLE) {
        slot_begin(hammer, i);
        return;
    }
    int error = aio_error(&slot->cb);
    if (error == EINPROGRESS) {
        const struct aiocb *awaited[SLOTS];
        struct timespec briefly = {0, (long)below(&hammer->state, 3) * 40000};
        switch (chance(&hammer->state) % 8) {
        case 0:
            for (int k = 0; k < SLOTS; k++)
                awaited[k] = hammer->slots[k].what != IDLE ? &hammer->slots[k].cb : NULL;
            if (aio_suspend(awaited, SLOTS, &briefly) != 0)
                CHECK(errno == EAGAIN || errno == EINTR, "aio_suspend: errno %d", errno);
            break;
        case 1: {
            int verdict = aio_cancel(slot->cb.aio_fildes, &slot->cb);
            CHECK(verdict >= 0 && verdict <= 2, "aio_cancel: %d, errno %d", verdict, errno);
            if (verdict == AIO_CANCELED) {
                slot->cancelled = true;
                CHECK_EQ(aio_error(&slot->cb), ECANCELED);
            }
            break;
        }
        case 2: case 3:
            if (slot->what == STREAM_READING && hammer->fed == hammer->taken) {
                unsigned char bytes[16];
                pattern_fill(bytes, 16, hammer->fed, hammer->seed);
                hammer->fed += write(hammer->ends.writer, bytes, 16) == 16 ? 16 : 0;
            }
            break;
        default:
            break;
        }
        return;
    }
    slot_end(hammer, i, error);
}

static void hammer_finish(struct hammer *hammer)
{
    for (int i = 0; i < SLOTS; i++) {
        struct slot *slot = &hammer->slots[i];
        if (slot->what == IDLE)
            continue;
        if (slot->what == STREAM_READING && hammer->fed == hammer->taken && aio_error(&slot->cb) == EINPROGRESS) {
            feed(hammer->ends.writer, 16, hammer->fed, hammer->seed);
            hammer->fed += 16;
        }
        slot_end(hammer, i, wait_done(&slot->cb));
    }
    drain(hammer->ends.reader, hammer->fed - hammer->taken, hammer->taken, hammer->seed);
}

static atomic_bool in_handler_wrong_thread;
static pid_t hammered_thread;
static atomic_long handler_runs;
static void hammer_in_handler(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)info, (void)context;
    int saved = errno;
    if (thread_id() != hammered_thread)
        in_handler_wrong_thread = true;
    for (int i = 0; i < 4; i++)
        hammer_step(&handler_hammer);
    for (int i = 0; i < SLOTS; i++) { /* what the interrupted program has on the way may be asked for, too */
        int error = aio_error(&main_hammer.slots[i].cb);
        CHECK(error >= 0, "%d", error);
    }
    atomic_fetch_add(&handler_runs, 1);
    errno = saved;
}

static timer_t start_ticks(int signo, pid_t thread, long nanoseconds)
{
    timer_t timer;
    struct sigevent event;
    memset(&event, 0, sizeof event);
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = signo;
    event._sigev_un._tid = thread;
    SETUP(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    struct itimerspec ticks = {{0, nanoseconds}, {0, nanoseconds}};
    SETUP(timer_settime(timer, 0, &ticks, NULL) == 0);
    return timer;
}

CASE(20, a_handler_at_2_khz_beside_a_busy_main, GLIBC_RACY, 25)
{
    int file = temp_file(ON_DISK, 1 << 16, 0, 0);
    hammer_make(&main_hammer, file, 0, 3);
    hammer_make(&handler_hammer, file, 32768, 4);
    hammered_thread = thread_id();
    on_signal(SIGALRM, hammer_in_handler, 0);
    int64_t until = now_ns() + (int64_t)(scaled_seconds(2, 10) * 1e9);
    timer_t timer = start_ticks(SIGALRM, hammered_thread, 500000);
    while (now_ns() < until)
        hammer_step(&main_hammer);
    timer_delete(timer);
    block_signal(SIGALRM);
    hammer_finish(&main_hammer);
    hammer_finish(&handler_hammer);
    CHECK(!in_handler_wrong_thread, "the handler ran in another thread");
    CHECK(handler_runs > 20 && handler_hammer.done > 20 && main_hammer.done > 100, "%ld runs, %ld and %ld requests", handler_runs,
          handler_hammer.done, main_hammer.done);
    fprintf(stderr, "%ld handler runs; main: %ld done, %ld cancelled; handler: %ld done, %ld cancelled\n", handler_runs,
            main_hammer.done, main_hammer.cancelled, handler_hammer.done, handler_hammer.cancelled);
}

/* The same in three threads, each interrupted by a timer of its own. */
static struct hammer thread_hammers[3][2];
static __thread struct hammer *my_hammers;
static void hammer_of_thread(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)info, (void)context;
    int saved = errno;
    for (int i = 0; i < 3; i++)
        hammer_step(&my_hammers[1]);
    atomic_fetch_add(&handler_runs, 1);
    errno = saved;
}
static void *hammered(void *argument)
{
    my_hammers = thread_hammers[(intptr_t)argument];
    int64_t until = now_ns() + (int64_t)(scaled_seconds(2, 10) * 1e9);
    timer_t timer = start_ticks(SIGUSR1, thread_id(), 700000);
    while (now_ns() < until)
        hammer_step(&my_hammers[0]);
    timer_delete(timer);
    block_signal(SIGUSR1);
    hammer_finish(&my_hammers[0]);
    hammer_finish(&my_hammers[1]);
    return NULL;
}
CASE(20, handlers_in_three_busy_threads, GLIBC_RACY, 25)
{
    pthread_t thread[3];
    int file = temp_file(ON_DISK, 1 << 17, 0, 0);
    on_signal(SIGUSR1, hammer_of_thread, 0);
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 2; k++)
            hammer_make(&thread_hammers[i][k], file, (i * 2 + k) * 16384, (unsigned)(10 + i * 2 + k));
    for (intptr_t i = 0; i < 3; i++)
        thread[i] = start_thread(hammered, (void *)i);
    for (int i = 0; i < 3; i++)
        join_thread(thread[i]);
    CHECK(handler_runs > 20, "%ld handler runs", handler_runs);
}

/* A wait inside a handler that interrupted a wait. */
static struct aiocb inner_cb;
static unsigned char inner_data[512];
static int inner_file;
static void wait_in_handler(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)info, (void)context;
    int saved = errno;
    const struct aiocb *const awaited[1] = {&inner_cb};
    struct aiocb *list[1] = {&inner_cb};
    inner_cb = request(inner_file, inner_data, sizeof inner_data, 512);
    CHECK_EQ(aio_read(&inner_cb), 0);
    while (aio_suspend(awaited, 1, NULL) != 0)
        CHECK_EQ(errno, EINTR);
    CHECK_EQ(aio_return(&inner_cb), sizeof inner_data);
    inner_cb.aio_lio_opcode = LIO_WRITE;
    CHECK_EQ(lio_listio(LIO_WAIT, list, 1, NULL), 0);
    atomic_fetch_add(&handler_runs, 1);
    errno = saved;
}
CASE(20, waits_in_a_handler_that_interrupted_a_wait, GLIBC_RACY, 25)
{
    inner_file = temp_file(ON_DISK, 4096, 2, 0);
    struct ends ends = open_stream(PIPE);
    on_signal(SIGALRM, wait_in_handler, 0);
    timer_t timer = start_ticks(SIGALRM, thread_id(), 2000000);
    for (int i = 0; i < 100; i++) {
        char byte;
        struct aiocb cb = request(ends.reader, &byte, 1, 0);
        const struct aiocb *const awaited[1] = {&cb};
        long before = handler_runs;
        CHECK_EQ(aio_read(&cb), 0);
        while (handler_runs < before + 2) {
            struct timespec limit = {5, 0};
            CHECK(aio_suspend(awaited, 1, &limit) == -1 && errno == EINTR, "errno %d", errno);
        }
        write_all(ends.writer, "i", 1);
        CHECK_DONE(&cb, 1);
    }
    timer_delete(timer);
}

/* close and its family from a handler beside submissions; and submissions beside closes. */
static int shared_right, shared_wrong;
static void close_in_handler(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)info, (void)context;
    int saved = errno;
    static long turn;
    int fd = dup(shared_right);
    static struct aiocb cb[8];
    static long places[8];
    long i = turn++ % 8;
    if (fd < 0)
        return;
    if (cb[i].aio_fildes && aio_error(&cb[i]) == EINPROGRESS) { /* still busy: next time */
        close(fd);
        errno = saved;
        return;
    }
    places[i] = (long)(i * (long)sizeof(long));
    cb[i] = request(fd, &places[i], sizeof(long), 4096 + places[i]);
    if (aio_write(&cb[i]) == 0)
        atomic_fetch_add(&handler_runs, 1);
    if (turn % 2)
        dup2(shared_wrong, fd);
    close(fd);
    errno = saved;
}
CASE(20, close_and_dup2_in_a_handler_beside_submissions, GLIBC_RACY, 25)
{
    shared_right = temp_file(ON_DISK, 8192, 0, 0);
    shared_wrong = temp_file(ON_DISK, 0, 0, 0);
    on_signal(SIGALRM, close_in_handler, 0);
    int64_t until = now_ns() + (int64_t)(scaled_seconds(2, 10) * 1e9);
    timer_t timer = start_ticks(SIGALRM, thread_id(), 500000);
    long rounds = 0;
    for (; now_ns() < until; rounds++) {
        int fd = dup(shared_right);
        long value = rounds;
        struct aiocb cb = request(fd, &value, sizeof value, (rounds % 100) * (off_t)sizeof value);
        SETUP(fd >= 0);
        CHECK_EQ(aio_write(&cb), 0);
        if (rounds % 3 == 0)
            CHECK_EQ(dup2(shared_wrong, fd), fd);
        CHECK_EQ(close(fd), 0);
        CHECK_DONE(&cb, sizeof value);
    }
    timer_delete(timer);
    block_signal(SIGALRM);
    sleep_ms(100);
    struct stat is;
    SETUP(fstat(shared_wrong, &is) == 0);
    CHECK_EQ(is.st_size, 0);
    CHECK(on_valgrind() || (handler_runs > 20 && rounds > 100), "%ld runs, %ld rounds", handler_runs, rounds);
}
