/* process_signals.c - the application's threads notice nothing: no EINTR, no short count, no changed mask or errno; and
 * its signals are taken by its own threads. SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "exercise.h"
#include <setjmp.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/sem.h>

/* ---- calls that a completion in this thread would interrupt -------------------------------------------------------- */

/* Each thread submits, then sits in the call while its own requests, and the others', complete. */
static atomic_bool quiet_over;
static atomic_long quiet_calls;

/* Requests that are done at about the time when the thread is inside the call. */
struct burst {
    struct aiocb cb[12];
    struct ends ends;
    unsigned char data[12][4096];
    int file;
    atomic_bool over;
};
static void burst_begin(struct burst *burst, long round)
{
    for (int i = 0; i < 12; i++) {
        bool stream = i % 3 == 2;
        burst->cb[i] = request(stream ? burst->ends.reader : burst->file, burst->data[i], stream ? 16 : 4096, (off_t)((round + i) % 64) * 4096);
        if (i % 4 == 1)
            notify_by_thread(&burst->cb[i], exercise_called, NULL);
        CHECK_EQ(i % 3 == 1 ? aio_write(&burst->cb[i]) : aio_read(&burst->cb[i]), 0);
    }
}
static void burst_end(struct burst *burst)
{
    for (int i = 0; i < 12; i++)
        CHECK_DONE(&burst->cb[i], i % 3 == 2 ? 16 : 4096);
}
/* Feeds the waiting reads a little later, from another thread, so that they complete inside the call. */
static void *burst_feeder(void *argument)
{
    struct burst *burst = argument;
    while (!burst->over) {
        unsigned char bytes[16] = {0};
        struct pollfd room = {.fd = burst->ends.writer, .events = POLLOUT};
        if (poll(&room, 1, 10) == 1 && readable_bytes(burst->ends.reader) < 64)
            write_all(burst->ends.writer, bytes, 16);
        sleep_ms(1);
    }
    return NULL;
}

enum call { EPOLL, SIGWAIT, SEMAPHORE, RECEIVE_TIMEOUT, POLL, SLEEP, PIPE_WRITE, RECEIVE_ALL, RANDOM, CALLS };
static void *sink_all(void *argument)
{
    static unsigned char data[1 << 16];
    int fd = (int)(intptr_t)argument;
    while (read(fd, data, sizeof data) > 0) { }
    return NULL;
}
static void *source_all(void *argument)
{
    unsigned char *data = pages(1 << 16);
    int fd = (int)(intptr_t)argument;
    while (write(fd, data, 1 << 16) > 0) { }
    return NULL;
}

static void *sit_in_call(void *argument)
{
    enum call call = (enum call)(intptr_t)argument;
    struct burst *burst = calloc(1, sizeof *burst);
    struct ends quiet = open_stream(UNIX_SOCKET), big = open_stream(PIPE), all = open_stream(UNIX_SOCKET);
    unsigned char *much = pages(1 << 20);
    int epoll = epoll_create1(EPOLL_CLOEXEC), semaphore = -1;
    struct epoll_event event = {.events = EPOLLIN};
    struct timeval brief = {.tv_usec = 15000};
    sigset_t set, before, after;
    burst->file = temp_file(ON_DISK, 65 * 4096, 1, 0);
    burst->ends = open_stream(PIPE);
    SETUP(epoll_ctl(epoll, EPOLL_CTL_ADD, quiet.reader, &event) == 0);
    SETUP(setsockopt(quiet.reader, SOL_SOCKET, SO_RCVTIMEO, &brief, sizeof brief) == 0);
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 7);
    SETUP(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
    pthread_t feeder = start_thread(burst_feeder, burst), helper = feeder;
    if (call == PIPE_WRITE)
        helper = start_thread(sink_all, (void *)(intptr_t)big.reader);
    if (call == RECEIVE_ALL)
        helper = start_thread(source_all, (void *)(intptr_t)all.writer);
    if (call == SEMAPHORE)
        SETUP((semaphore = semget(IPC_PRIVATE, 1, 0600)) >= 0);
    for (long round = 0; !quiet_over; round++) {
        SETUP(pthread_sigmask(SIG_BLOCK, NULL, &before) == 0);
        burst_begin(burst, round);
        struct timespec rest = {0, 15000000};
        struct pollfd nothing = {.fd = quiet.reader, .events = POLLIN};
        char byte;
        struct sembuf down = {0, -1, 0};
        errno = 0;
        switch (call) {
        case EPOLL: {
            int got = epoll_wait(epoll, &event, 1, 15);
            CHECK(got == 0, "epoll_wait: %d", got);
            break;
        }
        case SIGWAIT:
            CHECK(sigtimedwait(&set, NULL, &rest) == -1 && errno == EAGAIN, "sigtimedwait: %d", errno);
            break;
        case SEMAPHORE:
            CHECK(semtimedop(semaphore, &down, 1, &rest) == -1 && errno == EAGAIN, "semtimedop: %d", errno);
            break;
        case RECEIVE_TIMEOUT:
            CHECK(recv(quiet.reader, &byte, 1, 0) == -1 && errno == EAGAIN, "recv: %d", errno);
            break;
        case POLL:
            CHECK_EQ(poll(&nothing, 1, 15), 0);
            break;
        case SLEEP:
            CHECK_EQ(nanosleep(&rest, NULL), 0);
            break;
        case PIPE_WRITE:
            CHECK_EQ(write(big.writer, much, 1 << 20), 1 << 20);
            break;
        case RECEIVE_ALL:
            CHECK_EQ(recv(all.reader, much, 1 << 20, MSG_WAITALL), 1 << 20);
            break;
        default:
            CHECK_EQ(getrandom(much, 1 << 20, 0), 1 << 20);
        }
        burst_end(burst);
        SETUP(pthread_sigmask(SIG_BLOCK, NULL, &after) == 0);
        CHECK(memcmp(&before, &after, sizeof(unsigned long)) == 0, "the signal mask changed");
        atomic_fetch_add(&quiet_calls, 1);
    }
    burst->over = true;
    join_thread(feeder);
    shutdown(all.writer, SHUT_RDWR);
    shutdown(all.reader, SHUT_RDWR);
    close(big.writer);
    if (helper != feeder)
        join_thread(helper);
    if (semaphore >= 0)
        semctl(semaphore, 0, IPC_RMID);
    return NULL;
}
static void nothing_is_interrupted(enum call first, enum call last)
{
    pthread_t thread[CALLS];
    signal(SIGPIPE, SIG_IGN);
    for (intptr_t i = first; i <= (intptr_t)last; i++)
        thread[i] = start_thread(sit_in_call, (void *)i);
    sleep_ms((long)(scaled_seconds(2.5, 30) * 1000));
    quiet_over = true;
    for (int i = (int)first; i <= (int)last; i++)
        join_thread(thread[i]);
    CHECK(quiet_calls > 10, "%ld calls", quiet_calls);
}
CASE(45, waiting_calls_never_see_eintr, GLIBC_OK, 60) { nothing_is_interrupted(EPOLL, SLEEP); }
CASE(45, long_transfers_are_never_cut_short, GLIBC_OK, 60) { nothing_is_interrupted(PIPE_WRITE, RANDOM); }

/* Success leaves errno alone; nobody's mask or disposition of signals changes. */
CASE(45, errno_mask_and_handlers_stay, GLIBC_OK | AS_BUILT, 30)
{
    enum { ROUNDS = 200 };
    struct kit kit = make_kit();
    struct sigaction before[65], after[65];
    sigset_t mask, now, pending;
    unsigned char data[512];
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    sigaddset(&mask, SIGRTMIN + 5);
    SETUP(pthread_sigmask(SIG_SETMASK, &mask, NULL) == 0);
    on_signal(SIGUSR1, NULL, SA_RESTART);
    for (int i = 1; i < 65; i++)
        if (sigaction(i, NULL, &before[i]) != 0)
            memset(&before[i], 0, sizeof before[i]);
    for (int i = 0; i < ROUNDS; i++) {
        struct aiocb cb = request(kit.file, data, sizeof data, i * 512), *list[1] = {&cb};
        const struct aiocb *const awaited[1] = {&cb};
        cb.aio_lio_opcode = LIO_WRITE;
        errno = 4242;
        CHECK(aio_write(&cb) == 0 && errno == 4242, "aio_write: errno %d", errno);
        CHECK(aio_suspend(awaited, 1, NULL) == 0 && errno == 4242, "aio_suspend: errno %d", errno);
        CHECK(aio_error(&cb) == 0 && errno == 4242, "aio_error: errno %d", errno);
        CHECK(aio_return(&cb) == sizeof data && errno == 4242, "aio_return: errno %d", errno);
        CHECK(aio_read(&cb) == 0 && errno == 4242, "aio_read: errno %d", errno);
        wait_done(&cb);
        errno = 4242;
        CHECK(aio_fsync(O_DSYNC, &cb) == 0 && errno == 4242, "aio_fsync: errno %d", errno);
        wait_done(&cb);
        errno = 4242;
        CHECK(lio_listio(LIO_WAIT, list, 1, NULL) == 0 && errno == 4242, "lio_listio: errno %d", errno);
        CHECK(aio_cancel(kit.file, NULL) == AIO_ALLDONE && errno == 4242, "aio_cancel: errno %d", errno);
    }
    exercise(&kit, EXERCISE_PLAIN);
    SETUP(pthread_sigmask(SIG_BLOCK, NULL, &now) == 0 && sigpending(&pending) == 0);
    for (int i = 1; i < 65; i++) {
        CHECK(sigismember(&now, i) == sigismember(&mask, i), "signal %d in the mask", i);
        CHECK(sigismember(&pending, i) <= 0, "signal %d is pending", i);
        if (sigaction(i, NULL, &after[i]) == 0)
            CHECK(after[i].sa_sigaction == before[i].sa_sigaction && after[i].sa_flags == before[i].sa_flags, "handler of signal %d", i);
    }
}

/* A list that ends just when its caller goes to sleep is no error to the program either. (20 000 lists: few of them end
 * in that moment.) */
CASE(45, errno_stays_when_a_list_ends_at_once, GLIBC_OK, 60)
{
    struct kit kit = make_kit();
    unsigned char data[64];
    memset(data, 7, sizeof data);
    for (int i = 0; i < 20000; i++) {
        struct aiocb cb = request(kit.file, data, sizeof data, 0), *list[1] = {&cb};
        cb.aio_lio_opcode = LIO_WRITE;
        errno = 4242;
        int answer = lio_listio(LIO_WAIT, list, 1, NULL), seen = errno;
        CHECK(answer == 0 && seen == 4242, "list %d: lio_listio %d, errno %d", i, answer, seen);
        CHECK(aio_return(&cb) == sizeof data);
    }
}

/* ---- whose signals are they ----------------------------------------------------------------------------------------- */

/* A storm of signals for the process while the library's threads are there, and one ends: handlers run in the program's
 * threads only, each RT signal once. */
static _Atomic pid_t own_threads[3];
static atomic_int own_count, storm_runs, storm_wrong;
static atomic_bool storm_over;
static void note_thread(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)info, (void)context;
    pid_t me = thread_id();
    bool own = false;
    for (size_t i = 0; i < COUNT(own_threads); i++)
        own |= own_threads[i] == me;
    if (!own)
        atomic_store(&storm_wrong, me);
    atomic_fetch_add(&storm_runs, 1);
}
static void *work_under_storm(void *unused)
{
    (void)unused;
    own_threads[atomic_fetch_add(&own_count, 1)] = thread_id();
    unsigned char data[4096];
    int file = temp_file(ON_DISK, 65536, 4, 0);
    struct ends ends = open_stream(PIPE);
    for (long i = 0; !storm_over; i++) {
        struct aiocb cb = request(file, data, sizeof data, (i % 16) * 4096), waits = request(ends.reader, data, 1, 0);
        CHECK_EQ(aio_read(&waits), 0);
        CHECK_EQ(i % 2 ? aio_write(&cb) : aio_read(&cb), 0);
        CHECK_DONE(&cb, sizeof data);
        write_all(ends.writer, "s", 1);
        CHECK_DONE(&waits, 1);
    }
    return NULL;
}
CASE(45, the_programs_signals_run_in_its_own_threads, GLIBC_OK, 60)
{
    enum { STORM = 3000 };
    static const int signals[] = {SIGUSR1, SIGALRM, SIGCHLD, SIGIO, SIGPROF};
    pthread_t thread[2];
    struct kit kit = make_kit();
    own_threads[own_count++] = thread_id();
    for (size_t i = 0; i < COUNT(signals); i++)
        on_signal(signals[i], note_thread, SA_RESTART);
    on_signal(SIGRTMIN + 6, note_thread, SA_RESTART);
    exercise(&kit, EXERCISE_PLAIN); /* also leaves an idle thread for notification functions */
    sleep_ms(300);
    for (int i = 0; i < 2; i++)
        thread[i] = start_thread(work_under_storm, NULL);
    WAIT_FOR(own_threads[1] != 0 && own_threads[2] != 0);
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        union sigval none = {.sival_int = 0};
        int64_t until = now_ns() + 1500000000; /* the idle thread ends meanwhile */
        for (int i = 0; i < STORM || now_ns() < until; i++) {
            while (sigqueue(parent, SIGRTMIN + 6, none) != 0) {
                if (errno != EAGAIN)
                    _exit(1);
                sleep_ms(1);
            }
            kill(parent, signals[(size_t)i % COUNT(signals)]);
            if (i % 50 == 0)
                sleep_ms(1);
        }
        _exit(0);
    }
    int status, got;
    while ((got = waitpid(child, &status, WNOHANG)) == 0)
        sleep_ms(1);
    CHECK(got == child && status == 0, "%#x", status);
    WAIT_FOR(storm_runs >= STORM);
    storm_over = true;
    for (int i = 0; i < 2; i++)
        join_thread(thread[i]);
    CHECK(storm_wrong == 0, "a handler ran in thread %d, which the program does not know", storm_wrong);
}

/* All of the program's threads block it: it stays pending until one asks. */
CASE(45, a_blocked_signal_stays_pending, GLIBC_OK, 30)
{
    struct kit kit = make_kit();
    siginfo_t info;
    sigset_t pending;
    block_signal(SIGUSR2);
    on_signal(SIGUSR2, note_thread, 0);
    for (int i = 0; i < 5; i++) {
        exercise(&kit, NO_THREADS); /* a notification function's thread has nothing blocked, and might take it */
        kill(getpid(), SIGUSR2);
        exercise(&kit, NO_THREADS);
        SETUP(sigpending(&pending) == 0);
        CHECK(sigismember(&pending, SIGUSR2), "round %d: taken by somebody", i);
        CHECK_EQ(storm_runs, 0);
        CHECK_EQ(take_signal(SIGUSR2, &info), SIGUSR2);
    }
}

/* Stopped and continued all the time by another process. */
CASE(45, stop_and_continue_lose_nothing, GLIBC_OK, 60)
{
    volatile int *over = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    SETUP(over != MAP_FAILED);
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        for (int i = 0; i < 150 && !*over && getppid() == parent; i++) {
            kill(parent, SIGSTOP);
            sleep_ms(2);
            kill(parent, SIGCONT);
            sleep_ms(5);
        }
        _exit(0);
    }
    struct kit kit = make_kit();
    int status;
    while (waitpid(child, &status, WNOHANG) == 0)
        CHECK_EQ(exercise(&kit, EXERCISE_PLAIN), 0);
    *over = 1;
}

/* ---- a handler that jumps out of a wait ------------------------------------------------------------------------------ */

static sigjmp_buf out;
static void jump(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)info, (void)context;
    siglongjmp(out, 1);
}
/* aio_suspend is async-signal-safe, so this is allowed; and the thread's end finds nothing of the frame that is gone. */
static void *jump_and_exit(void *argument)
{
    struct ends ends = open_stream(PIPE);
    static char data[8];
    struct aiocb waiting = request(ends.reader, data, 8, 0);
    const struct aiocb *list[] = {&waiting};
    CHECK_EQ(aio_read(&waiting), 0);
    for (volatile int i = 0; i < 3; i++)
        if (!sigsetjmp(out, 1)) {
            atomic_store((atomic_int *)argument, i + 1);
            aio_suspend(list, 1, NULL);
            CHECK(0, "aio_suspend came back");
        }
    volatile char deep[8192]; /* over what was the frame */
    memset((char *)deep, 0x5a, sizeof deep);
    feed(ends.writer, 8, 0, 1);
    CHECK_DONE(&waiting, 8);
    pthread_exit((void *)(intptr_t)7);
}
CASE(20, a_handler_may_jump_out_of_suspend, GLIBC_OK | NO_VALGRIND, 20)
{
    atomic_int round = 0;
    void *result;
    pthread_t thread;
    on_signal(SIGUSR1, jump, 0);
    SETUP(pthread_create(&thread, NULL, jump_and_exit, &round) == 0);
    for (int i = 1; i <= 3; i++) {
        WAIT_FOR(round == i);
        settle();
        SETUP(pthread_kill(thread, SIGUSR1) == 0);
    }
    SETUP(pthread_join(thread, &result) == 0);
    CHECK_EQ((intptr_t)result, 7);
}
