/* soak.c - everything at once, for as long as one likes: eight threads with all kinds of requests, notifications, cancels,
 * closes and forks on verified data, under a signal queue that is too small all the time. `make soak` runs it.
 *
 *     soak SECONDS      ends with a summary; status 0: no fault and nothing lost
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#define main harness_main /* this is a program of its own */
#include "exercise.h"
#undef main
__attribute__((constructor)) static void no_cases(void) { last_case = &first_case; }
#include <sys/file.h>

enum { THREADS = 8, BATCH = 48, REGION = 64 << 10, PIECE = 3000, QUEUE = 64 };

/* A request in the care of its notification: the thread that waits for all of them counts. */
struct ticket {
    struct aiocb cb;
    atomic_int notified;
};
struct worker {
    int number;
    uint64_t state;
    int disk, memory, direct, log;
    off_t log_end;
    struct ticket tickets[BATCH];
    unsigned char *data, *model;
    struct kit kit;
};

static struct worker workers[THREADS];
static int64_t end_at;
static atomic_long requests, reads_cancelled, not_cancelled, notifications, by_signal, by_call, forks, lists, closes, appends, syncs,
    streams, chains;

/* ---- notification ------------------------------------------------------------------------------------------------- */

static void tell(union sigval value)
{
    struct ticket *ticket = value.sival_ptr;
    CHECK(aio_error(&ticket->cb) != EINPROGRESS, "notified before it was done");
    CHECK(atomic_fetch_add(&ticket->notified, 1) == 0, "notified twice");
    atomic_fetch_add(&notifications, 1);
}
static void tell_by_call(union sigval value)
{
    atomic_fetch_add(&by_call, 1);
    tell(value);
}
static void tell_by_signal(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)context;
    int saved = errno;
    CHECK(info->si_code == SI_ASYNCIO && info->si_pid == getpid(), "signal %d with code %d", signo, info->si_code);
    atomic_fetch_add(&by_signal, 1);
    tell(info->si_value);
    errno = saved;
}
static int told_signals(int i)
{
    const int all[] = {SIGUSR1, SIGUSR2, SIGRTMIN + 1, SIGRTMIN + 2, SIGRTMIN + 3};
    return all[i % 5];
}
/* True when a notification is to be waited for. */
static bool choose_notification(struct worker *me, struct ticket *ticket)
{
    atomic_store(&ticket->notified, 0);
    unsigned how = (unsigned)below(&me->state, 10);
    if (how < 4)
        return false;
    if (how < 6)
        notify_by_thread(&ticket->cb, tell_by_call, ticket);
    else
        notify_by_signal(&ticket->cb, told_signals((int)how), ticket);
    return true;
}
static void wait_told(struct ticket *ticket, bool asked)
{
    if (asked)
        WAIT_FOR(atomic_load(&ticket->notified) == 1, "a notification is lost: signal %d", ticket->cb.aio_sigevent.sigev_signo);
}

/* The program's own thread for signals; all others block them, but for the threads of notification functions. */
static void *take_signals(void *unused)
{
    (void)unused;
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    for (;;)
        pause();
    return NULL;
}

/* ---- what a worker does ---------------------------------------------------------------------------------------------- */

/* Random overlapping reads and writes, some cancelled: memory and file are what the rest of them leave, in order. */
static void chain(struct worker *me)
{
    bool asked[BATCH], cancelled[BATCH], write[BATCH];
    int which = (int)below(&me->state, 3), fd = which == 0 ? me->disk : which == 1 ? me->memory : me->direct;
    size_t unit = which == 2 ? 4096 : 1, most = which == 2 ? 3 : PIECE;
    unsigned char *model = me->model + which * REGION;
    int count = 1 + (int)below(&me->state, BATCH);
    for (int i = 0; i < count; i++) {
        struct ticket *ticket = &me->tickets[i];
        size_t size = (1 + below(&me->state, most)) * unit, at = below(&me->state, (REGION - size) / unit + 1) * unit;
        unsigned char *mine = me->data + i * 3 * 4096;
        ticket->cb = request(fd, mine, size, (off_t)at);
        write[i] = chance(&me->state) & 1;
        cancelled[i] = false;
        if (write[i])
            pattern_fill(mine, size, at, (unsigned)chance(&me->state));
        asked[i] = choose_notification(me, ticket);
        CHECK(write[i] ? aio_write(&ticket->cb) == 0 : aio_read(&ticket->cb) == 0, "errno %d", errno);
        if (chance(&me->state) % 16 == 0) {
            size_t victim = below(&me->state, (size_t)i + 1);
            if (!cancelled[victim]) {
                cancelled[victim] = aio_cancel(fd, &me->tickets[victim].cb) == AIO_CANCELED;
                atomic_fetch_add(cancelled[victim] ? &reads_cancelled : &not_cancelled, 1);
            }
        }
    }
    for (int i = 0; i < count; i++) {
        struct ticket *ticket = &me->tickets[i];
        unsigned char *mine = me->data + i * 3 * 4096, *there = model + ticket->cb.aio_offset;
        if (cancelled[i]) {
            CHECK_ENDS(&ticket->cb, ECANCELED);
        } else {
            CHECK_DONE(&ticket->cb, ticket->cb.aio_nbytes);
            if (write[i])
                memcpy(there, mine, ticket->cb.aio_nbytes);
            else
                CHECK(memcmp(there, mine, ticket->cb.aio_nbytes) == 0, "worker %d: a read of file %d is wrong", me->number, which);
        }
        wait_told(ticket, asked[i]);
    }
    atomic_fetch_add(&requests, count);
    atomic_fetch_add(&chains, 1);
}

/* Reads wait on a stream of some kind, some are cancelled or their descriptor closed, then it is fed. */
static void stream(struct worker *me)
{
    struct ends ends = open_stream((enum stream)below(&me->state, 6));
    bool asked[BATCH], cancelled[BATCH];
    int count = 1 + (int)below(&me->state, BATCH), fd = ends.reader;
    size_t place = 0, wanted = 0, each = 1 + below(&me->state, 200);
    unsigned seed = (unsigned)chance(&me->state);
    for (int i = 0; i < count; i++) {
        struct ticket *ticket = &me->tickets[i];
        ticket->cb = request(fd, me->data + (size_t)i * each, each, 0);
        asked[i] = choose_notification(me, ticket);
        cancelled[i] = false;
        CHECK(aio_read(&ticket->cb) == 0, "errno %d", errno);
    }
    for (int i = 0; i < count; i++) {
        if (chance(&me->state) % 5 == 0) {
            int verdict = aio_cancel(fd, &me->tickets[i].cb);
            CHECK(verdict == AIO_CANCELED, "worker %d: a waiting read cannot be cancelled: %d", me->number, verdict);
            cancelled[i] = true;
            atomic_fetch_add(&reads_cancelled, 1);
        } else {
            wanted += each;
        }
    }
    bool closed = chance(&me->state) % 3 == 0;
    int keep = closed ? dup(fd) : -1;
    if (closed) {
        CHECK_EQ(close(fd), 0);
        atomic_fetch_add(&closes, 1);
    }
    for (size_t fed = 0; fed < wanted;) {
        size_t part = 1 + below(&me->state, 300);
        part = part < wanted - fed ? part : wanted - fed;
        struct aiocb out = request(ends.writer, NULL, part, 0);
        unsigned char bytes[300];
        pattern_fill(bytes, part, fed, seed);
        out.aio_buf = bytes;
        CHECK_EQ(aio_write(&out), 0);
        CHECK_DONE(&out, part);
        fed += part;
        atomic_fetch_add(&requests, 1);
    }
    for (int i = 0; i < count; i++) {
        struct ticket *ticket = &me->tickets[i];
        if (cancelled[i]) {
            CHECK_ENDS(&ticket->cb, ECANCELED);
        } else {
            CHECK_EQ(wait_done(&ticket->cb), 0);
            size_t got = (size_t)aio_return(&ticket->cb);
            CHECK(got > 0 && got <= each && pattern_wrong((void *)ticket->cb.aio_buf, got, place, seed) < 0,
                  "worker %d: read %d has not its slice", me->number, i);
            place += got;
        }
        wait_told(ticket, asked[i]);
    }
    drain(closed ? keep : fd, wanted - place, place, seed);
    close(closed ? keep : fd);
    close(ends.writer);
    atomic_fetch_add(&requests, count);
    atomic_fetch_add(&streams, 1);
}

/* Appends with an fsync behind them; the log is verified by reading it back. */
static void append(struct worker *me)
{
    bool asked[BATCH];
    int count = 1 + (int)below(&me->state, BATCH - 1);
    off_t at = me->log_end;
    for (int i = 0; i < count; i++) {
        struct ticket *ticket = &me->tickets[i];
        size_t size = 1 + below(&me->state, 500);
        unsigned char *mine = me->data + i * 512;
        pattern_fill(mine, size, (size_t)at, (unsigned)me->number);
        ticket->cb = request(me->log, mine, size, 0);
        asked[i] = choose_notification(me, ticket);
        CHECK_EQ(aio_write(&ticket->cb), 0);
        at += (off_t)size;
    }
    struct aiocb sync = request(me->log, NULL, 0, 0), back = request(me->log, me->data + BATCH * 512, (size_t)(at - me->log_end), me->log_end);
    CHECK_EQ(aio_fsync(chance(&me->state) & 1 ? O_SYNC : O_DSYNC, &sync), 0);
    CHECK_EQ(aio_read(&back), 0);
    CHECK_DONE(&sync, 0);
    CHECK_DONE(&back, at - me->log_end);
    CHECK(pattern_wrong((void *)back.aio_buf, back.aio_nbytes, (size_t)me->log_end, (unsigned)me->number) < 0, "worker %d: the log", me->number);
    for (int i = 0; i < count; i++) {
        CHECK_DONE(&me->tickets[i].cb, me->tickets[i].cb.aio_nbytes);
        wait_told(&me->tickets[i], asked[i]);
    }
    me->log_end = at;
    if (me->log_end > 8 << 20) {
        SETUP(ftruncate(me->log, 0) == 0);
        me->log_end = 0;
    }
    atomic_fetch_add(&requests, count + 2);
    atomic_fetch_add(&appends, count);
    atomic_fetch_add(&syncs, 1);
}

/* Lists in both modes, waited for or notified. */
static void list(struct worker *me)
{
    struct aiocb *elements[BATCH], cb[BATCH];
    struct ticket *whole = &me->tickets[0];
    int count = 1 + (int)below(&me->state, BATCH);
    size_t at = below(&me->state, REGION - BATCH * 64);
    for (int i = 0; i < count; i++) {
        cb[i] = request(me->disk, me->data + i * 64, 64, (off_t)at + i * 64);
        cb[i].aio_lio_opcode = i % 7 == 6 ? LIO_NOP : LIO_READ;
        elements[i] = i % 11 == 10 ? NULL : &cb[i];
    }
    bool wait = chance(&me->state) & 1, asked = false;
    if (wait) {
        CHECK(lio_listio(LIO_WAIT, elements, count, NULL) == 0, "errno %d", errno);
    } else {
        whole->cb = request(me->disk, NULL, 0, 0);
        asked = choose_notification(me, whole);
        CHECK(lio_listio(LIO_NOWAIT, elements, count, &whole->cb.aio_sigevent) == 0, "errno %d", errno);
    }
    for (int i = 0; i < count; i++) {
        if (!elements[i] || cb[i].aio_lio_opcode == LIO_NOP)
            continue;
        CHECK_DONE(&cb[i], 64);
        CHECK(memcmp((void *)cb[i].aio_buf, me->model + cb[i].aio_offset, 64) == 0, "worker %d: element %d", me->number, i);
    }
    wait_told(whole, asked);
    atomic_fetch_add(&requests, count);
    atomic_fetch_add(&lists, 1);
}

/* write, close, another file under the number. */
static void close_early(struct worker *me)
{
    int fd = dup(me->disk), other = me->memory;
    size_t at = below(&me->state, REGION - 256);
    unsigned char *mine = me->data;
    pattern_fill(mine, 256, at, (unsigned)chance(&me->state));
    struct aiocb cb = request(fd, mine, 256, (off_t)at);
    CHECK_EQ(aio_write(&cb), 0);
    if (chance(&me->state) & 1)
        CHECK_EQ(dup2(other, fd), fd);
    CHECK_EQ(close(fd), 0);
    CHECK_DONE(&cb, 256);
    memcpy(me->model + at, mine, 256);
    atomic_fetch_add(&requests, 1);
    atomic_fetch_add(&closes, 1);
}

static void make_child(struct worker *me)
{
    pid_t child = fork();
    if (child == 0) {
        exercise(&me->kit, NO_THREADS);
        _exit(0);
    }
    SETUP(child > 0);
    int status = wait_child(child, "child");
    CHECK(status == 0, "child: %#x", status);
    atomic_fetch_add(&forks, 1);
}

static void *work(void *argument)
{
    struct worker *me = argument;
    while (now_ns() < end_at)
        switch (below(&me->state, 64)) {
        case 0: make_child(me); break;
        case 1: case 2: case 3: case 4: close_early(me); break;
        default:
            switch (below(&me->state, 4)) {
            case 0: chain(me); break;
            case 1: stream(me); break;
            case 2: append(me); break;
            default: list(me);
            }
        }
    return NULL;
}

static void prepare(struct worker *me, int number)
{
    me->number = number;
    me->state = chance_seed() + (uint64_t)number;
    me->data = pages(1 << 20);
    me->model = pages(3 * REGION);
    me->disk = temp_file(ON_DISK, REGION, 100 + (unsigned)number, 0);
    me->memory = temp_file(ON_TMPFS, REGION, 200 + (unsigned)number, 0);
    me->direct = temp_file(DIRECT, REGION, 300 + (unsigned)number, 0);
    me->log = temp_file(ON_DISK, 0, 0, O_APPEND);
    me->kit = make_kit();
    for (unsigned i = 0; i < 3; i++)
        pattern_fill(me->model + i * REGION, REGION, 0, 100 * (i + 1) + (unsigned)number);
}

/* The files as read(2) finds them, once all is done. */
static void verify(struct worker *me)
{
    unsigned char *found = pages(REGION);
    const int fds[3] = {me->disk, me->memory, me->direct};
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(pread(fds[i], found, REGION, 0), REGION);
        CHECK(memcmp(found, me->model + i * REGION, REGION) == 0, "worker %d: file %d at the end", me->number, i);
    }
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 60;
    pthread_t thread[THREADS];
    sigset_t all;
    sigfillset(&all);
    setenv("AIO_TEST_PATIENCE", "60000", 0);
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 0; i < THREADS; i++)
        prepare(&workers[i], i);
    if (geteuid() == 0) {
        become_own_user();
        set_limit(RLIMIT_SIGPENDING, QUEUE / 4);
    }
    for (int i = 0; i < 5; i++)
        on_signal(told_signals(i), tell_by_signal, SA_RESTART);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    start_thread(take_signals, NULL);
    int64_t begin = now_ns(), next = begin + 30000000000;
    end_at = begin + (int64_t)(seconds * 1e9);
    for (int i = 0; i < THREADS; i++)
        thread[i] = start_thread(work, &workers[i]);
    while (now_ns() < end_at) {
        sleep_ms(200);
        if (now_ns() < next)
            continue;
        next += 30000000000;
        printf("%4.0f s: %ld requests, %ld notifications, %ld forks\n", (double)(now_ns() - begin) / 1e9, requests, notifications, forks);
    }
    for (int i = 0; i < THREADS; i++)
        join_thread(thread[i]);
    for (int i = 0; i < THREADS; i++)
        verify(&workers[i]);
    printf("%s: %.0f s, %d threads\n", backend(), (double)(now_ns() - begin) / 1e9, THREADS);
    printf("  operations     %ld requests in %ld chains, %ld streams, %ld lists; %ld appends, %ld fsyncs\n", requests, chains, streams,
           lists, appends, syncs);
    printf("  notifications  %ld (%ld by signal, %ld by call)\n", notifications, by_signal, by_call);
    printf("  hazards        %ld cancelled, %ld too late to cancel, %ld closed early, %ld forks\n", reads_cancelled, not_cancelled, closes, forks);
    uint64_t overflow[8] = {0};
    int (*ask)(void *, size_t) = (int (*)(void *, size_t))extension("aio_shim_overflow");
    if (ask && ask(overflow, sizeof overflow) == 0)
        printf("  full queue     %llu deferred, %llu late, %llu episodes, longest %.1f ms\n", (unsigned long long)overflow[1],
               (unsigned long long)overflow[2], (unsigned long long)overflow[7], (double)overflow[6] / 1e6);
    printf("  0 faults, 0 lost\n"); /* the first of either ends the program with its place */
    return 0;
}
