// aio_waitcomplete of FreeBSD and aio_waitn of illumos, in a program that imports them.
// SPDX-License-Identifier: MIT OR Apache-2.0
// libs: -Wl,-z,dynamic-undefined-weak
#include "kinds.h"
#include <aio_shim.h>
#include <stdatomic.h>

/* Weak, so that this starts without the library; imported all the same, which is how the library knows at the
 * first request that completions are to be kept. */
#pragma weak aio_waitcomplete
#pragma weak aio_waitn

static struct timespec at_once = {0, 0};

static void feed(int fd, size_t count)
{
    while (count > 0) {
        static const char bytes[4096] = "fed";
        ssize_t written = write(fd, bytes, count < sizeof bytes ? count : sizeof bytes);
        SETUP(written > 0);
        count -= (size_t)written;
    }
}

/* Nothing to report now. */
#define CHECK_NONE()                                                                                           \
    do {                                                                                                       \
        struct aiocb *none_ = (struct aiocb *)1;                                                               \
        CHECK_FAILS(aio_waitcomplete(&none_, &at_once), EAGAIN);                                               \
        CHECK(none_ == NULL);                                                                                  \
    } while (0)

/* The next one to be reported, whatever its result. */
static struct aiocb *next(ssize_t *result)
{
    struct aiocb *done = NULL;
    struct timespec patience = {patience_ns() / 1000000000, 0};
    *result = aio_waitcomplete(&done, &patience);
    CHECK(done != NULL, "waited in vain");
    return done;
}

CASE(39, waitcomplete_judges_its_arguments, SHIM_ONLY, 10)
{
    struct aiocb *done = (struct aiocb *)1;
    struct timespec bad[] = {{0, 1000000000}, {0, -1}, {-1, 0}}, soon = {0, 20000000};
    CHECK_NONE(); /* there was no request yet */
    CHECK_FAILS(aio_waitcomplete(&done, &soon), EAGAIN);
    CHECK(done == NULL);
    char byte;
    struct pair pair = make_pair(PIPE);
    struct aiocb cb = request(pair.ends[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    for (size_t i = 0; i < 3; i++) {
        done = (struct aiocb *)1;
        CHECK_FAILS(aio_waitcomplete(&done, &bad[i]), EINVAL);
        CHECK(done == NULL);
    }
    CHECK_FAILS(aio_waitcomplete(NULL, &at_once), EFAULT);
    CHECK_NONE();
    int64_t before = now_ns();
    CHECK_FAILS(aio_waitcomplete(&done, &soon), EAGAIN);
    CHECK(now_ns() - before >= soon.tv_nsec);
    feed(pair.ends[1], 1);
    errno = 1234;
    CHECK_EQ(aio_waitcomplete(&done, NULL), 1);
    CHECK(done == &cb && errno == 1234);
    CHECK_EQ(aio_error(&cb), 0);
    CHECK_NONE();
}

CASE(39, completions_are_reported_in_their_order, SHIM_ONLY, 20)
{
    enum { COUNT = 50 };
    static struct aiocb cb[COUNT];
    static char byte[COUNT][COUNT];
    struct pair pairs[COUNT];
    ssize_t result;
    for (int i = 0; i < COUNT; i++) {
        pairs[i] = make_pair(PIPE);
        cb[i] = request(pairs[i].ends[0], byte[i], COUNT, 0);
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    for (int round = 0; round < 2; round++) {
        /* One after the other by hand, then all before the first is asked for. */
        for (int i = 0; i < COUNT; i++) {
            int which = (i * 7 + 3) % COUNT;
            feed(pairs[which].ends[1], (size_t)which + 1);
            if (round == 0) {
                CHECK(next(&result) == &cb[which]);
                CHECK_EQ(result, which + 1);
            } else {
                CHECK_EQ(wait_done(&cb[which]), 0);
            }
        }
        for (int i = 0; round == 1 && i < COUNT; i++) {
            CHECK(next(&result) == &cb[(i * 7 + 3) % COUNT]);
            CHECK_EQ(result, (i * 7 + 3) % COUNT + 1);
        }
        CHECK_NONE();
        for (int i = 0; round == 0 && i < COUNT; i++)
            CHECK_EQ(aio_read(&cb[i]), 0);
    }
}

/* Also what was served at once in the call, long before. */
CASE(39, completions_before_the_first_call_are_reported, SHIM_ONLY, 20)
{
    enum { COUNT = 1000 };
    static struct aiocb cb[COUNT];
    static char data[COUNT];
    int fd = temp_file(ON_DISK, COUNT, 3, 0);
    ssize_t result;
    for (int i = 0; i < COUNT; i++) {
        cb[i] = request(fd, &data[i], 1, i);
        CHECK_EQ(aio_read(&cb[i]), 0);
        CHECK_EQ(wait_done(&cb[i]), 0);
    }
    for (int i = 0; i < COUNT; i++) {
        CHECK(next(&result) == &cb[i]);
        CHECK_EQ(result, 1);
    }
    CHECK_NONE();
    CHECK_EQ(pattern_wrong(data, COUNT, 0, 3), -1);
}

CASE(39, errors_and_cancelled_requests_are_reported, SHIM_ONLY, 20)
{
    char byte;
    struct pair pair = make_pair(PIPE);
    struct aiocb bad = request(-1, &byte, 1, 0), waiting = request(pair.ends[0], &byte, 1, 0), *done;
    struct aiocb refused = request(pair.ends[0], &byte, 1, 0);
    refused.aio_reqprio = 99;
    CHECK_FAILS(aio_read(&refused), EINVAL); /* not accepted, so never reported */
    CHECK_EQ(aio_read(&bad), 0);
    CHECK_FAILS(aio_waitcomplete(&done, NULL), EBADF);
    CHECK(done == &bad);
    CHECK_EQ(aio_read(&waiting), 0);
    CHECK_EQ(aio_cancel(pair.ends[0], &waiting), AIO_CANCELED);
    CHECK_FAILS(aio_waitcomplete(&done, NULL), ECANCELED);
    CHECK(done == &waiting);
    CHECK_NONE();
}

CASE(39, aio_return_takes_a_request_away, SHIM_ONLY, 20)
{
    char byte[8];
    int fd = temp_file(ON_DISK, 8, 1, 0);
    struct aiocb cb[8];
    ssize_t result;
    for (int i = 0; i < 8; i++) {
        cb[i] = request(fd, &byte[i], 1, i);
        CHECK_EQ(aio_read(&cb[i]), 0);
        CHECK_EQ(wait_done(&cb[i]), 0);
    }
    for (int i = 0; i < 8; i += 2)
        CHECK_EQ(aio_return(&cb[i]), 1);
    CHECK_EQ(aio_return(&cb[0]), 1); /* again, as glibc allows */
    for (int i = 1; i < 8; i += 2)
        CHECK(next(&result) == &cb[i]);
    CHECK_NONE();
}

/* By whichever thread it was carried out: who has seen the end takes it away, and nobody else gets it. */
CASE(39, aio_return_follows_at_once, SHIM_ONLY | AS_BUILT, 60)
{
    enum { COUNT = 20000 };
    static char byte;
    struct pair pair = make_pair(PIPE);
    struct aiocb cb;
    for (int i = 0; i < COUNT; i++) {
        cb = request(pair.ends[0], &byte, 1, 0);
        CHECK_EQ(aio_read(&cb), 0);
        feed(pair.ends[1], 1);
        while (aio_error(&cb) == EINPROGRESS) { }
        CHECK_EQ(aio_return(&cb), 1);
        CHECK_NONE();
    }
}

CASE(39, a_request_submitted_again_is_reported_once, SHIM_ONLY, 20)
{
    char byte = 0;
    int fd = temp_file(ON_DISK, 8, 1, 0);
    struct pair pair = make_pair(PIPE);
    ssize_t result;
    for (int way = 0; way < 3; way++) {
        struct aiocb cb = request(fd, &byte, 1, 0);
        CHECK_EQ(aio_read(&cb), 0);
        CHECK_EQ(wait_done(&cb), 0);
        /* Its result was never asked for; now the control block does something else. */
        if (way == 0)
            memset(&cb, 0, sizeof cb);
        cb = request(pair.ends[0], &byte, 1, 0);
        if (way == 2) {
            cb.aio_reqprio = 21; /* refused: there is no request any more */
            CHECK_FAILS(aio_read(&cb), EINVAL);
            CHECK(next(&result) == &cb); /* the first one was accepted, and complete */
            CHECK_NONE();
            break;
        }
        CHECK_EQ(aio_read(&cb), 0);
        CHECK_NONE();
        feed(pair.ends[1], 1);
        CHECK(next(&result) == &cb);
        CHECK_EQ(result, 1);
        CHECK_NONE();
    }
}

/* After aio_return, and after having been reported, the memory is the program's. */
CASE(39, control_blocks_may_be_unmapped, SHIM_ONLY, 20)
{
    static char byte;
    int fd = temp_file(ON_TMPFS, 8, 1, 0);
    ssize_t result;
    for (int i = 0; i < 500; i++) {
        struct aiocb *cb = pages(4096);
        *cb = request(fd, &byte, 1, 0);
        CHECK_EQ(aio_read(cb), 0);
        if (i % 2) {
            CHECK_EQ(wait_done(cb), 0);
            CHECK_EQ(aio_return(cb), 1);
        } else {
            CHECK(next(&result) == cb);
        }
        munmap(cb, 4096);
    }
    CHECK_NONE();
}

CASE(39, lists_are_reported_one_by_one, SHIM_ONLY, 20)
{
    enum { COUNT = 200 };
    static struct aiocb cb[COUNT], *list[COUNT];
    static char data[COUNT];
    int fd = temp_file(ON_DISK, COUNT, 7, 0);
    for (int mode = 0; mode < 2; mode++) {
        static int seen[COUNT];
        memset(seen, 0, sizeof seen);
        for (int i = 0; i < COUNT; i++) {
            cb[i] = request(fd, &data[i], 1, i);
            cb[i].aio_lio_opcode = i % 10 == 9 ? LIO_NOP : LIO_READ;
            list[i] = &cb[i];
        }
        CHECK_EQ(lio_listio(mode == 0 ? LIO_WAIT : LIO_NOWAIT, list, COUNT, NULL), 0);
        for (int i = 0; i < COUNT * 9 / 10; i++) {
            ssize_t result;
            struct aiocb *done = next(&result);
            CHECK_EQ(result, 1);
            CHECK(done >= cb && done < cb + COUNT && done->aio_lio_opcode == LIO_READ);
            CHECK_EQ(seen[done - cb]++, 0);
        }
        CHECK_NONE();
    }
}

/* ---- many threads ------------------------------------------------------------------------------------------ */

enum { CROWD = 8, CROWDED = 20000 };
static struct aiocb crowd_cb[CROWDED];
static atomic_int crowd_seen[CROWDED], crowd_left;

static void *collect(void *unused)
{
    struct timespec patience = {30, 0};
    for (;;) {
        struct aiocb *done;
        ssize_t result = aio_waitcomplete(&done, &patience);
        CHECK(done != NULL, "errno %d with %d left", errno, crowd_left);
        if (done->aio_nbytes == 0)
            return unused; /* the end, one for each thread */
        CHECK_EQ(result, 1);
        CHECK_EQ(atomic_fetch_add(&crowd_seen[done - crowd_cb], 1), 0);
        atomic_fetch_sub(&crowd_left, 1);
    }
}
static void *submit_quarter(void *argument)
{
    static char sink[CROWDED];
    int quarter = (int)(intptr_t)argument;
    static int tmpfs = -1, disk, streams[4][2];
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    if (tmpfs < 0) {
        disk = temp_file(ON_DISK, CROWDED, 1, 0);
        for (int i = 0; i < 4; i++)
            SETUP(pipe2(streams[i], O_CLOEXEC) == 0);
        tmpfs = temp_file(ON_TMPFS, CROWDED, 1, 0);
    }
    pthread_mutex_unlock(&lock);
    for (int i = quarter; i < CROWDED; i += 4) {
        int kind = i / 4 % 4; /* served at once, by the engine, by ring or workers, when fed */
        crowd_cb[i] = request(kind == 0 ? tmpfs : kind == 3 ? streams[quarter][0] : disk, &sink[i], 1, i);
        CHECK_EQ(kind == 2 ? aio_write(&crowd_cb[i]) : aio_read(&crowd_cb[i]), 0);
        if (kind == 3)
            feed(streams[quarter][1], 1);
    }
    return NULL;
}
CASE(39, many_threads_share_the_completions, SHIM_ONLY, 60)
{
    pthread_t collectors[CROWD], submitters[4];
    char byte;
    struct pair pair = make_pair(PIPE);
    struct aiocb ends[CROWD];
    crowd_left = CROWDED;
    for (int i = 0; i < CROWD; i++)
        collectors[i] = start_thread(collect, NULL);
    for (int i = 0; i < 4; i++)
        submitters[i] = start_thread(submit_quarter, (void *)(intptr_t)i);
    for (int i = 0; i < 4; i++)
        join_thread(submitters[i]);
    WAIT_FOR(crowd_left == 0, "%d left", crowd_left);
    for (int i = 0; i < CROWD; i++) {
        ends[i] = request(pair.ends[0], &byte, 0, 0);
        CHECK_EQ(aio_read(&ends[i]), 0);
    }
    for (int i = 0; i < CROWD; i++)
        join_thread(collectors[i]);
    for (int i = 0; i < CROWDED; i++)
        CHECK_EQ(crowd_seen[i], 1);
    CHECK_NONE();
}

/* ---- interruptions ----------------------------------------------------------------------------------------- */

static atomic_int handled;
static struct aiocb *from_handler;
static void handle(int signo)
{
    (void)signo;
    struct aiocb *done;
    if (aio_waitcomplete(&done, &at_once) >= 0)
        from_handler = done;
    handled++;
}
static void on_signal(int flags)
{
    struct sigaction action = {.sa_handler = handle, .sa_flags = flags};
    SETUP(sigaction(SIGUSR1, &action, NULL) == 0);
}

struct caller {
    atomic_int began, error;
    struct aiocb *done;
    struct timespec *limit;
};
static void *call(void *argument)
{
    struct caller *caller = argument;
    caller->began = 1;
    caller->error = aio_waitcomplete(&caller->done, caller->limit) == -1 ? errno : -1;
    return NULL;
}

CASE(39, a_handler_interrupts_and_may_collect_itself, SHIM_ONLY, 20)
{
    char byte[2];
    struct pair pair = make_pair(PIPE);
    struct aiocb cb = request(pair.ends[0], byte, 1, 0);
    struct timespec long_time = {100, 0};
    on_signal(0);
    CHECK_EQ(aio_read(&cb), 0);
    for (int i = 0; i < 2; i++) {
        struct caller caller = {.limit = i ? &long_time : NULL};
        pthread_t thread = start_thread(call, &caller);
        WAIT_FOR(caller.began);
        sleep_ms(20);
        int before = handled;
        pthread_kill(thread, SIGUSR1);
        WAIT_FOR(handled > before);
        join_thread(thread);
        CHECK_EQ(caller.error, EINTR);
        CHECK(caller.done == NULL);
    }
    /* A request completes while a handler sits in the middle of the call. */
    struct caller caller = {0};
    pthread_t thread = start_thread(call, &caller);
    WAIT_FOR(caller.began);
    feed(pair.ends[1], 1);
    join_thread(thread);
    CHECK_EQ(caller.error, -1);
    CHECK(caller.done == &cb && from_handler == NULL);
}

CASE(39, handlers_at_every_moment_lose_nothing, SHIM_ONLY, 60)
{
    enum { COUNT = 20000 };
    static struct aiocb cb;
    static char byte;
    int fd = temp_file(ON_TMPFS, 8, 1, 0), mine = 0, theirs = 0;
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct itimerspec often = {{0, 200000}, {0, 200000}};
    on_signal(SA_RESTART);
    cb = request(fd, &byte, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    ssize_t result;
    next(&result);
    SETUP(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0 && timer_settime(timer, 0, &often, NULL) == 0);
    for (int i = 0; i < COUNT; i++) {
        from_handler = NULL;
        CHECK_EQ(aio_read(&cb), 0);
        struct aiocb *done = NULL;
        while (aio_waitcomplete(&done, &at_once) == -1 && *(struct aiocb *volatile *)&from_handler == NULL) { }
        mine += done != NULL;
        theirs += from_handler != NULL;
        CHECK((done != NULL) + (from_handler != NULL) == 1, "turn %d: %p and %p", i, (void *)done, (void *)from_handler);
    }
    SETUP(timer_delete(timer) == 0);
    CHECK_EQ(mine + theirs, COUNT);
    CHECK(handled > 0);
}

CASE(39, a_cancelled_waiter_takes_nothing_with_it, SHIM_ONLY, 60)
{
    enum { ROUNDS = 300 };
    char byte;
    struct pair pair = make_pair(PIPE);
    struct aiocb cb = request(pair.ends[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    feed(pair.ends[1], 1);
    ssize_t result;
    next(&result);
    for (int round = 0; round < ROUNDS; round++) {
        struct caller callers[2] = {{0}, {0}};
        pthread_t threads[2];
        CHECK_EQ(aio_read(&cb), 0);
        for (int i = 0; i < 2; i++)
            threads[i] = start_thread(call, &callers[i]);
        WAIT_FOR(callers[0].began && callers[1].began);
        if (round % 3 == 0)
            sleep_ms(1);
        /* Both at once: the wake may be for the one that is being cancelled. */
        if (round % 2)
            feed(pair.ends[1], 1);
        pthread_cancel(threads[0]);
        if (round % 2 == 0)
            feed(pair.ends[1], 1);
        if (join_thread(threads[0]) == PTHREAD_CANCELED) {
            join_thread(threads[1]);
            CHECK(callers[1].error == -1 && callers[1].done == &cb, "round %d", round);
        } else {
            CHECK(callers[0].done == &cb, "round %d", round);
            pthread_cancel(threads[1]);
            CHECK(join_thread(threads[1]) == PTHREAD_CANCELED);
        }
        CHECK_NONE();
    }
}

CASE(39, a_child_collects_its_own, SHIM_ONLY, 20)
{
    char byte[2];
    int fd = temp_file(ON_DISK, 8, 1, 0);
    struct aiocb cb = request(fd, byte, 1, 0), *done;
    ssize_t result;
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_EQ(wait_done(&cb), 0);
    pid_t child = fork();
    if (child == 0) {
        CHECK_FAILS(aio_waitcomplete(&done, &at_once), EAGAIN);
        struct aiocb own = request(fd, byte + 1, 1, 0);
        CHECK_EQ(aio_read(&own), 0);
        CHECK(next(&result) == &own);
        CHECK_NONE();
        _exit(0);
    }
    CHECK_CHILD(child);
    CHECK(next(&result) == &cb);
}

/* ---- cost -------------------------------------------------------------------------------------------------- */

static int64_t time_of_rounds(int fd, char *byte)
{
    enum { ROUNDS = 50, TRIES = 500 }; /* short: between two interruptions */
    int64_t best = INT64_MAX;
    for (int try = 0; try < TRIES; try++) {
        int64_t begin = now_ns();
        for (int i = 0; i < ROUNDS; i++) {
            struct aiocb cb = request(fd, byte, 1, 0), *done;
            CHECK_EQ(aio_read(&cb), 0);
            CHECK_EQ(aio_waitcomplete(&done, NULL), 1);
            CHECK(done == &cb);
        }
        int64_t taken = now_ns() - begin;
        best = taken < best ? taken : best;
    }
    return best / ROUNDS;
}
CASE(39, cost_does_not_grow_with_what_is_outstanding, SHIM_ONLY | ALONE | NO_VALGRIND, 120)
{
    enum { MANY = 100000 };
    struct aiocb *cbs = pages(MANY * sizeof *cbs);
    static char byte, sink[MANY];
    int fd = temp_file(ON_TMPFS, 8, 1, 0);
    struct pair pair = make_pair(PIPE);
    ssize_t result;
    int64_t few = time_of_rounds(fd, &byte);
    for (int i = 0; i < MANY; i++) {
        cbs[i] = request(pair.ends[0], &sink[i], 1, 0);
        CHECK_EQ(aio_read(&cbs[i]), 0);
    }
    int64_t many = time_of_rounds(fd, &byte);
    fprintf(stderr, "1 outstanding: %lld ns, %d: %lld ns\n", (long long)few, MANY, (long long)many);
    CHECK(many < few * 2, "%lld ns, and %lld ns with %d outstanding", (long long)few, (long long)many, MANY);
    /* All completed and not collected: what is newest is as quick to take away. */
    for (int i = 0; i < MANY; i += 1000) {
        feed(pair.ends[1], 1000);
        CHECK_EQ(wait_done(&cbs[i + 999]), 0);
    }
    int64_t begin = now_ns();
    for (int i = MANY - 1; i >= MANY / 2; i--)
        CHECK_EQ(aio_return(&cbs[i]), 1);
    int64_t returns = (now_ns() - begin) / (MANY / 2);
    begin = now_ns();
    for (int i = 0; i < MANY / 2; i++)
        CHECK(next(&result) == &cbs[i]);
    int64_t takes = (now_ns() - begin) / (MANY / 2);
    CHECK_NONE();
    CHECK(returns < 50 * few && takes < 50 * few, "%lld and %lld ns", (long long)returns, (long long)takes);
}

/* ---- aio_waitn --------------------------------------------------------------------------------------------- */

CASE(39, waitn_judges_its_arguments, SHIM_ONLY, 10)
{
    struct aiocb *list[4], cb;
    unsigned want = 1;
    struct timespec bad = {0, -1};
    char byte;
    struct pair pair = make_pair(PIPE);
    CHECK_FAILS(aio_waitn(list, 4, &want, NULL), EAGAIN);
    CHECK_EQ(want, 0);
    cb = request(pair.ends[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    want = 0;
    CHECK_FAILS(aio_waitn(list, 4, &want, NULL), EINVAL);
    want = 5;
    CHECK_FAILS(aio_waitn(list, 4, &want, NULL), EINVAL);
    CHECK_EQ(want, 5);
    want = 1;
    CHECK_FAILS(aio_waitn(list, 0, &want, NULL), EINVAL);
    CHECK_FAILS(aio_waitn(list, 4, &want, &bad), EINVAL);
    CHECK_EQ(want, 0);
    want = 1;
    CHECK_FAILS(aio_waitn(NULL, 4, &want, NULL), EFAULT);
    CHECK_FAILS(aio_waitn(list, 4, NULL, NULL), EFAULT);
    CHECK_FAILS(aio_waitn(list, 4, &want, &at_once), ETIME);
    CHECK_EQ(want, 0);
    feed(pair.ends[1], 1);
    want = 1;
    CHECK_EQ(aio_waitn(list, 4, &want, NULL), 0);
    CHECK(want == 1 && list[0] == &cb);
    CHECK_EQ(aio_return(&cb), 1);
    want = 1;
    CHECK_FAILS(aio_waitn(list, 4, &want, NULL), EAGAIN);
}

enum { LINE = 10 };
static struct aiocb line_cb[LINE];
static char line_byte[LINE];
static struct pair line_pair;
static void line_up(void)
{
    if (line_pair.ends[1] == 0)
        line_pair = make_pair(PIPE);
    for (int i = 0; i < LINE; i++) {
        line_cb[i] = request(line_pair.ends[0], &line_byte[i], 1, 0);
        CHECK_EQ(aio_read(&line_cb[i]), 0);
    }
}

CASE(39, waitn_gives_what_there_is_up_to_the_room, SHIM_ONLY, 20)
{
    struct aiocb *list[LINE];
    struct timespec soon = {0, 20000000};
    line_up();
    feed(line_pair.ends[1], 6);
    CHECK_EQ(wait_done(&line_cb[5]), 0);
    unsigned want = 2;
    CHECK_EQ(aio_waitn(list, 4, &want, NULL), 0); /* more than it waits for */
    CHECK_EQ(want, 4);
    for (int i = 0; i < 4; i++)
        CHECK(list[i] == &line_cb[i]);
    want = 5;
    CHECK_FAILS(aio_waitn(list, LINE, &want, &soon), ETIME); /* fewer: they are given all the same */
    CHECK_EQ(want, 2);
    CHECK(list[0] == &line_cb[4] && list[1] == &line_cb[5]);
    feed(line_pair.ends[1], 4);
    want = LINE; /* more than are outstanding: returns when none is any more */
    CHECK_EQ(aio_waitn(list, LINE, &want, NULL), 0);
    CHECK_EQ(want, 4);
    for (int i = 0; i < LINE; i++)
        CHECK_EQ(aio_return(&line_cb[i]), 1);
}

struct waitn_call {
    struct aiocb *list[LINE];
    unsigned want;
    atomic_int began, error;
};
static void *call_waitn(void *argument)
{
    struct waitn_call *one = argument;
    one->began = 1;
    int result = aio_waitn(one->list, LINE, &one->want, NULL);
    one->error = result == 0 ? -1 : errno;
    return NULL;
}
static void do_nothing(int signo) { (void)signo; }
CASE(39, waitn_is_interrupted_cancelled_and_shared, SHIM_ONLY, 30)
{
    struct sigaction action = {.sa_handler = do_nothing};
    SETUP(sigaction(SIGUSR1, &action, NULL) == 0);
    line_up();
    struct waitn_call one = {.want = 5};
    pthread_t thread = start_thread(call_waitn, &one);
    WAIT_FOR(one.began);
    feed(line_pair.ends[1], 3);
    CHECK_EQ(wait_done(&line_cb[2]), 0);
    sleep_ms(20);
    pthread_kill(thread, SIGUSR1);
    join_thread(thread);
    CHECK_EQ(one.error, EINTR);
    CHECK(one.want == 3 && one.list[0] == &line_cb[0] && one.list[2] == &line_cb[2]);
    /* A cancelled call leaves the requests to others. */
    one = (struct waitn_call){.want = 5};
    thread = start_thread(call_waitn, &one);
    WAIT_FOR(one.began);
    feed(line_pair.ends[1], 2);
    CHECK_EQ(wait_done(&line_cb[4]), 0);
    pthread_cancel(thread);
    CHECK(join_thread(thread) == PTHREAD_CANCELED);
    /* One that wants four and one that wants one, beside each other. */
    struct waitn_call two = {.want = 4}, three = {.want = 1};
    thread = start_thread(call_waitn, &two);
    WAIT_FOR(two.began);
    sleep_ms(10);
    CHECK_EQ(two.error, 0);
    call_waitn(&three);
    CHECK(three.error == -1 && three.want == 2);
    feed(line_pair.ends[1], 5);
    join_thread(thread);
    CHECK(two.error == -1 && two.want >= 4 && two.want <= 5, "%u", two.want);
    for (int i = 0; i < LINE; i++)
        CHECK_EQ(wait_done(&line_cb[i]), 0);
}

/* The last outstanding one ends by being cancelled, in another thread. */
CASE(39, waitn_ends_when_nothing_is_outstanding, SHIM_ONLY, 30)
{
    for (int round = 0; round < 100; round++) {
        line_up();
        struct waitn_call one = {.want = LINE};
        feed(line_pair.ends[1], LINE - 2);
        pthread_t thread = start_thread(call_waitn, &one);
        WAIT_FOR(one.began);
        CHECK_EQ(wait_done(&line_cb[LINE - 3]), 0);
        CHECK_EQ(aio_cancel(line_pair.ends[0], &line_cb[LINE - 1]), AIO_CANCELED);
        CHECK_EQ(aio_cancel(line_pair.ends[0], &line_cb[LINE - 2]), AIO_CANCELED);
        join_thread(thread);
        CHECK_EQ(one.error, -1);
        CHECK_EQ(one.want, LINE);
    }
}
