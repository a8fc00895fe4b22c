/* waiter.c - a program that waits for its requests at once: its thread may carry them out itself, and that must not show.
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
// libs: -Wl,-z,dynamic-undefined-weak
#include "waiting.h"
#include <setjmp.h>
#include <stdatomic.h>

enum { TRAINING = 3000 };

/* ---- it is done ---------------------------------------------------------------------------------------- */

static void one_at_a_time(enum place where)
{
    int fd = temp_file(where, BLOCKS * BLOCK, 0, 0);
    unsigned char *block = pages(BLOCK);
    for (int i = 0; i < TRAINING; i++) {
        pattern_fill(block, BLOCK, (size_t)i, 7);
        write_block(fd, block, i % BLOCKS);
        memset(block, 0, BLOCK);
        struct aiocb cb = request(fd, block, BLOCK, i % BLOCKS * BLOCK);
        CHECK_EQ(aio_read(&cb), 0);
        wait_for(&cb);
        CHECK_DONE(&cb, BLOCK);
        CHECK_EQ(pattern_wrong(block, BLOCK, (size_t)i, 7), -1);
    }
}
CASE(35, one_at_a_time_on_disk, GLIBC_OK, 60) { one_at_a_time(ON_DISK); }
CASE(35, one_at_a_time_without_the_page_cache, GLIBC_OK, 60) { one_at_a_time(DIRECT); }

/* The point of it: neither thread nor wake. */
CASE(45, most_are_carried_out_by_who_waits, SHIM_ONLY | AS_BUILT | ALONE, 60)
{
    int fd = temp_file(DIRECT, BLOCKS * BLOCK, 1, 0);
    train(fd, TRAINING);
    uint64_t before = in_caller();
    train(fd, TRAINING);
    uint64_t share = (in_caller() - before) * 100 / TRAINING;
    CHECK(share > 50, "%d %% of them", (int)share);
}

/* ---- beside others ------------------------------------------------------------------------------------- */

static int shared_fd;
static atomic_int submitted, read_back;
static unsigned char fresh[BLOCK];

static void *read_what_was_submitted(void *unused)
{
    static unsigned char seen[BLOCK];
    for (int round = 1; round <= TRAINING; round++) {
        while (atomic_load(&submitted) < round) { }
        struct aiocb cb = request(shared_fd, seen, BLOCK, 0);
        CHECK_EQ(aio_read(&cb), 0);
        wait_for(&cb);
        CHECK_DONE(&cb, BLOCK);
        for (int i = 0; i < BLOCK; i += 512)
            CHECK(seen[i] == (unsigned char)round, "round %d: byte %d is %d", round, i, seen[i]);
        atomic_store(&read_back, round);
    }
    return unused;
}

/* A read that is submitted after a write, by another thread, sees what was written, whoever carries it out. */
CASE(15, what_is_submitted_meanwhile_comes_after, GLIBC_OK, 60)
{
    shared_fd = temp_file(ON_DISK, BLOCKS * BLOCK, 0, 0);
    train(shared_fd, TRAINING);
    pthread_t reader = start_thread(read_what_was_submitted, NULL);
    for (int round = 1; round <= TRAINING; round++) {
        memset(fresh, round, BLOCK);
        struct aiocb cb = request(shared_fd, fresh, BLOCK, 0);
        CHECK_EQ(aio_write(&cb), 0);
        atomic_store(&submitted, round);
        wait_for(&cb);
        CHECK_DONE(&cb, BLOCK);
        while (atomic_load(&read_back) < round)
            sched_yield();
    }
    join_thread(reader);
}

static void *one_by_one(void *fd)
{
    unsigned char *block = pages(BLOCK), *back = pages(BLOCK);
    int file = (int)(intptr_t)fd;
    for (int i = 0; i < TRAINING; i++) {
        pattern_fill(block, BLOCK, (size_t)i, (unsigned)file);
        write_block(file, block, i % BLOCKS);
        CHECK_EQ(pread(file, back, BLOCK, i % BLOCKS * BLOCK), BLOCK);
        CHECK_EQ(memcmp(block, back, BLOCK), 0);
        if (i % 97 == 0)
            sleep_ms(1);
    }
    return NULL;
}

/* Alone for a while, then beside others: all that is in between. */
CASE(15, threads_that_each_wait_for_their_own, GLIBC_OK, 60)
{
    pthread_t threads_[4];
    for (int i = 0; i < 4; i++)
        threads_[i] = start_thread(one_by_one, (void *)(intptr_t)temp_file(i % 2 ? ON_DISK : ON_TMPFS, BLOCKS * BLOCK, 0, 0));
    for (int i = 0; i < 4; i++)
        join_thread(threads_[i]);
}

/* One thread submits a request again and again, another waits for it all the while. */
static struct aiocb again;
static atomic_int no_more;
static void *waits_for_it(void *unused)
{
    (void)unused;
    while (!no_more)
        CHECK_EQ(suspend(&again), 0);
    return NULL;
}
CASE(25, waited_for_while_it_is_submitted, GLIBC_OK, 60)
{
    static unsigned char block[BLOCK];
    again = request(temp_file(ON_DISK, BLOCKS * BLOCK, 0, 0), block, BLOCK, 0);
    pthread_t waiter = start_thread(waits_for_it, NULL);
    for (int i = 0; i < TRAINING; i++) {
        CHECK_EQ(aio_write(&again), 0);
        CHECK_DONE(&again, BLOCK);
    }
    no_more = 1;
    join_thread(waiter);
}

static atomic_int closing_now, closed;
static void *close_what_is_written(void *unused)
{
    for (int round = 1; round <= TRAINING; round++) {
        int number;
        while ((number = atomic_load(&closing_now)) == 0) { }
        /* The same number, another file. */
        int other = temp_file(ON_TMPFS, BLOCK, 0, 0);
        CHECK_EQ(dup2(other, number), number);
        close(other);
        atomic_store(&closing_now, 0);
        atomic_store(&closed, number);
    }
    return unused;
}

CASE(18, closed_by_another_thread_while_it_is_waited_for, GLIBC_RACY, 120)
{
    int file = temp_file(ON_DISK, BLOCKS * BLOCK, 0, 0);
    unsigned char *block = pages(BLOCK), *back = pages(BLOCK);
    train(file, TRAINING);
    pthread_t closer = start_thread(close_what_is_written, NULL);
    for (int round = 1; round <= TRAINING; round++) {
        int number = dup(file);
        SETUP(number >= 0);
        memset(block, round, BLOCK);
        struct aiocb cb = request(number, block, BLOCK, round % BLOCKS * BLOCK);
        CHECK_EQ(aio_write(&cb), 0);
        atomic_store(&closing_now, number);
        wait_for(&cb);
        CHECK_DONE(&cb, BLOCK);
        while (atomic_load(&closed) != number)
            sched_yield();
        atomic_store(&closed, 0);
        CHECK_EQ(pread(file, back, BLOCK, round % BLOCKS * BLOCK), BLOCK);
        CHECK(memcmp(block, back, BLOCK) == 0, "round %d: it went to another file", round);
        close(number);
        for (int i = 0; i < 4; i++) /* so that there is something to expect */
            write_block(file, block, round % BLOCKS);
    }
    join_thread(closer);
}

static _Atomic(struct aiocb *) to_cancel;
static atomic_int cancelled;
static void *cancel_it(void *fd)
{
    for (;;) {
        struct aiocb *cb = atomic_exchange(&to_cancel, NULL);
        if (!cb)
            continue;
        if (cb == (struct aiocb *)fd)
            return NULL;
        int verdict = aio_cancel(shared_fd, cb);
        CHECK(verdict == AIO_CANCELED || verdict == AIO_NOTCANCELED || verdict == AIO_ALLDONE, "%d", verdict);
        if (verdict == AIO_ALLDONE)
            CHECK(aio_error(cb) != EINPROGRESS);
        cancelled = verdict == AIO_CANCELED ? 2 : 1;
    }
}

CASE(26, cancelled_by_another_thread_while_it_is_waited_for, GLIBC_OK, 120)
{
    static struct aiocb stop;
    shared_fd = temp_file(ON_DISK, BLOCKS * BLOCK, 0, 0);
    train(shared_fd, TRAINING);
    pthread_t canceller = start_thread(cancel_it, &stop);
    for (int round = 0; round < TRAINING; round++) {
        cancelled = 0;
        struct aiocb cb = request(shared_fd, fresh, BLOCK, round % BLOCKS * BLOCK);
        CHECK_EQ(aio_write(&cb), 0);
        to_cancel = &cb;
        wait_for(&cb);
        while (cancelled == 0) { }
        CHECK_EQ(aio_error(&cb), cancelled == 2 ? ECANCELED : 0);
        CHECK_EQ(aio_return(&cb), cancelled == 2 ? -1 : BLOCK);
        write_block(shared_fd, fresh, 0);
    }
    to_cancel = &stop;
    join_thread(canceller);
}

/* ---- the program does something else, all of a sudden ---------------------------------------------------- */

/* Nobody waits for it. */
CASE(4, not_waited_for_after_all, GLIBC_OK, 60)
{
    int fd = temp_file(ON_DISK, BLOCKS * BLOCK, 0, 0);
    for (int round = 0; round < 20; round++) {
        train(fd, TRAINING);
        struct aiocb cb = request(fd, fresh, BLOCK, 0);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, BLOCK); /* asks, and sleeps, and asks */
    }
}

/* Each way to wait, after the one that was expected. */
static void other_ways(int fd)
{
    struct timespec second = {1, 0};
    int ends[2];
    SETUP(pipe2(ends, O_CLOEXEC) == 0);
    for (int way = 0; way < 7; way++) {
        train(fd, TRAINING);
        struct aiocb cb = request(fd, fresh, BLOCK, 0), other = request(fd, fresh, BLOCK, BLOCK);
        const struct aiocb *list[2] = {&cb, NULL};
        struct aiocb *both[2] = {&other, NULL};
        CHECK_EQ(aio_write(&cb), 0);
        switch (way) {
        case 0:
            CHECK_EQ(aio_suspend(list, 1, &second), 0);
            break;
        case 1:
            CHECK_EQ(aio_suspend(list, 2, NULL), 0);
            break;
        case 2:
            other.aio_lio_opcode = LIO_WRITE;
            CHECK_EQ(lio_listio(LIO_WAIT, both, 2, NULL), 0);
            break;
        case 3:
            CHECK_EQ(aio_fsync(O_SYNC, &other), 0);
            wait_for(&other);
            CHECK(aio_error(&cb) != EINPROGRESS);
            break;
        case 4:
            CHECK(aio_cancel(fd, NULL) >= 0);
            break;
        case 5:
            other = request(ends[0], fresh, 1, 0);
            CHECK_EQ(aio_read(&other), 0);
            SETUP(write(ends[1], "x", 1) == 1);
            wait_for(&other);
            break;
        case 6: {
            int number = dup(fd);
            SETUP(number >= 0);
            other = request(number, fresh, BLOCK, BLOCK);
            CHECK_EQ(aio_write(&other), 0);
            close(number);
            wait_for(&other);
            break;
        }
        }
        wait_for(&cb);
    }
}
CASE(21, waited_for_in_another_way_on_disk, GLIBC_OK, 60) { other_ways(temp_file(ON_DISK, BLOCKS * BLOCK, 0, 0)); }
CASE(21, waited_for_in_another_way_on_tmpfs, GLIBC_OK, 60) { other_ways(temp_file(ON_TMPFS, BLOCKS * BLOCK, 0, 0)); }

CASE(39, waited_for_by_aio_waitcomplete, SHIM_ONLY, 60)
{
    ssize_t (*waitcomplete)(struct aiocb **, struct timespec *) =
        (ssize_t(*)(struct aiocb **, struct timespec *))extension("aio_waitcomplete");
    int fd = temp_file(ON_DISK, BLOCKS * BLOCK, 0, 0);
    struct aiocb *done = NULL;
    struct timespec poll = {0, 0};
    CHECK_FAILS(waitcomplete(&done, &poll), EWOULDBLOCK);
    for (int round = 0; round < 10; round++) {
        train(fd, TRAINING);
        struct aiocb cb = request(fd, fresh, BLOCK, 0);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_EQ(waitcomplete(&done, NULL), BLOCK);
        CHECK(done == &cb);
    }
}

/* ---- what cannot be finished ------------------------------------------------------------------------------ */

CASE(8, errors_of_requests_that_are_waited_for, GLIBC_OK, 60)
{
    int fd = temp_file(ON_DISK, BLOCKS * BLOCK, 0, 0), direct = temp_file(DIRECT, BLOCKS * BLOCK, 0, 0);
    char *block = pages(BLOCK);
    for (int round = 0; round < 10; round++) {
        train(direct, TRAINING);
        struct aiocb cb = request(direct, block, 100, 0); /* not a whole sector */
        CHECK_EQ(aio_write(&cb), 0);
        wait_for(&cb);
        CHECK_ENDS(&cb, EINVAL);
        train(fd, TRAINING);
        cb = request(fd, (void *)8, BLOCK, 0);
        CHECK_EQ(aio_write(&cb), 0);
        wait_for(&cb);
        CHECK_ENDS(&cb, EFAULT);
        write_block(fd, block, 1);
    }
}

static atomic_int too_large;
static void count_too_large(int signo) { (void)signo, too_large++; }
CASE(8, the_limit_to_the_size_of_files_raises_no_signal, GLIBC_OK, 60)
{
    int fd = temp_file(ON_DISK, BLOCKS * BLOCK, 0, 0);
    signal(SIGXFSZ, count_too_large);
    train(fd, TRAINING);
    struct rlimit limit = {BLOCKS * BLOCK, RLIM_INFINITY};
    SETUP(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    for (int i = 0; i < 100; i++) {
        struct aiocb cb = request(fd, fresh, BLOCK, (off_t)BLOCKS * BLOCK);
        CHECK_EQ(aio_write(&cb), 0);
        wait_for(&cb);
        CHECK_ENDS(&cb, EFBIG);
        write_block(fd, fresh, i % BLOCKS);
    }
    CHECK_EQ(too_large, 0);
}

/* ---- signals, cancelled threads, children ------------------------------------------------------------------ */

static int handler_fd;
static atomic_int handled;
static void use_in_handler(int signo)
{
    static unsigned char block[BLOCK];
    int saved = errno;
    write_block(handler_fd, block, signo);
    handled++;
    errno = saved;
}

static void alarms(void (*handler)(int), int microseconds)
{
    struct sigaction action = {.sa_handler = handler};
    struct itimerspec often = {{0, microseconds * 1000}, {0, microseconds * 1000}};
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 3};
    SETUP(sigaction(SIGRTMIN + 3, &action, NULL) == 0);
    SETUP(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0 && timer_settime(timer, 0, &often, NULL) == 0);
}

/* The handler does the same as what it interrupts. */
CASE(20, in_a_handler_that_interrupts_it, GLIBC_RACY, 20)
{
    int fd = temp_file(ON_DISK, BLOCKS * BLOCK, 0, 0);
    handler_fd = temp_file(ON_DISK, BLOCKS * BLOCK, 0, 0);
    train(fd, TRAINING);
    alarms(use_in_handler, 300);
    for (int i = 0; i < 3 || handled < 500; i++)
        train(fd, TRAINING);
}

static sigjmp_buf out;
static volatile sig_atomic_t may_jump;
static void jump_out(int signo)
{
    (void)signo;
    if (may_jump) {
        may_jump = 0;
        siglongjmp(out, 1);
    }
}

/* A handler that does not come back: the request ends all the same. */
CASE(31, left_by_a_jump, GLIBC_RACY, 60)
{
    int fd = temp_file(ON_DISK, BLOCKS * BLOCK, 0, 0);
    train(fd, TRAINING);
    alarms(jump_out, 200);
    static struct aiocb cb;
    volatile int jumps = 0;
    for (volatile int round = 0; round < 20000 && jumps < 300; round++) {
        cb = request(fd, fresh, BLOCK, round % BLOCKS * BLOCK);
        CHECK_EQ(aio_write(&cb), 0);
        if (sigsetjmp(out, 1) == 0) {
            may_jump = 1;
            (void)suspend(&cb);
        } else {
            jumps++;
        }
        may_jump = 0;
        CHECK_DONE(&cb, BLOCK);
    }
    CHECK(jumps > 0);
}

static struct aiocb victims;
static atomic_int go_on, came_back;
static void *is_cancelled(void *fd)
{
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    train((int)(intptr_t)fd, TRAINING);
    go_on = 1;
    while (go_on == 1) { }
    victims = request((int)(intptr_t)fd, fresh, BLOCK, 0);
    CHECK_EQ(aio_write(&victims), 0);
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    suspend(&victims); /* was cancelled before: acts on it, whatever becomes of the request */
    came_back++;
    return NULL;
}
CASE(24, a_thread_that_was_cancelled_before_it_waits, GLIBC_RACY, 60)
{
    int fd = temp_file(ON_DISK, BLOCKS * BLOCK, 0, 0);
    for (int round = 0; round < 10; round++) {
        go_on = 0;
        pthread_t thread = start_thread(is_cancelled, (void *)(intptr_t)fd);
        while (go_on == 0)
            sched_yield();
        SETUP(pthread_cancel(thread) == 0);
        go_on = 2;
        CHECK(join_thread(thread) == PTHREAD_CANCELED && came_back == 0);
        CHECK_DONE(&victims, BLOCK);
    }
}

static atomic_bool enough;
static void *works(void *fd)
{
    while (!enough)
        train((int)(intptr_t)fd, TRAINING);
    return NULL;
}
/* A child begins anew, whatever its parent was about to do. */
CASE(41, a_child_forked_meanwhile, GLIBC_DEFECT | GLIBC_RACY, 120)
{
    pthread_t worker = start_thread(works, (void *)(intptr_t)temp_file(ON_DISK, BLOCKS * BLOCK, 0, 0));
    int fd = temp_file(ON_DISK, BLOCKS * BLOCK, 0, 0);
    for (int i = 0; i < 50; i++) {
        pid_t child = fork();
        SETUP(child >= 0);
        if (child == 0) {
            static unsigned char block[BLOCK];
            for (int j = 0; j < 200; j++)
                write_block(fd, block, j);
            _exit(0);
        }
        CHECK_CHILD(child);
    }
    enough = true;
    join_thread(worker);
}
