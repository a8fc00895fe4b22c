/* cancel_wait.c - a read that waits for data can be cancelled, costs no byte, and tells. Verdicts and errors of
 * aio_cancel. SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"
#include <sys/inotify.h>
#include <sys/time.h>
#include <sys/timerfd.h>

/* ---- every thing one can wait on ------------------------------------------------------------------------ */

/* The read waits; it is cancelled by name or with all of its descriptor; the data comes, and read(2) has it all. */
static void cancel_a_waiting_read(enum stream kind)
{
    struct ends ends = open_stream(kind);
    static unsigned char data[64];
    for (int round = 0; round < 40; round++) {
        struct aiocb cb = request(ends.reader, data, sizeof data, 0);
        memset(data, 0xee, sizeof data);
        CHECK_EQ(aio_read(&cb), 0);
        if (round % 4 == 0)
            settle(); /* surely waiting; else wherever it is by now */
        CHECK_EQ(aio_error(&cb), EINPROGRESS);
        CHECK_EQ(aio_cancel(ends.reader, round % 2 ? NULL : &cb), AIO_CANCELED);
        CHECK_EQ(aio_error(&cb), ECANCELED);
        CHECK_EQ(aio_return(&cb), -1);
        feed(ends.writer, 100, (size_t)round * 100, 2);
        drain(ends.reader, 100, (size_t)round * 100, 2);
        for (size_t i = 0; i < sizeof data; i++)
            CHECK(data[i] == 0xee, "the buffer of a cancelled read was written to");
    }
}
CASE(27, a_waiting_pipe_read_is_cancelled, GLIBC_DEFECT, 20) { cancel_a_waiting_read(PIPE); }
CASE(27, a_waiting_fifo_read_is_cancelled, GLIBC_DEFECT, 20) { cancel_a_waiting_read(FIFO); }
CASE(27, a_waiting_unix_read_is_cancelled, GLIBC_DEFECT, 20) { cancel_a_waiting_read(UNIX_SOCKET); }
CASE(27, a_waiting_tcp_read_is_cancelled, GLIBC_DEFECT, 20) { cancel_a_waiting_read(TCP_SOCKET); }
CASE(27, a_waiting_tty_read_is_cancelled, GLIBC_DEFECT, 20) { cancel_a_waiting_read(PTY_SLAVE); }
CASE(27, a_waiting_pty_master_read_is_cancelled, GLIBC_DEFECT, 20) { cancel_a_waiting_read(PTY_MASTER); }

CASE(27, a_waiting_counter_read_is_cancelled, GLIBC_DEFECT, 20)
{
    int fds[3] = {eventfd(0, EFD_CLOEXEC), timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), inotify_init1(IN_CLOEXEC)};
    static char data[4096];
    for (int i = 0; i < 3; i++) {
        struct aiocb cb = request(fds[i], data, i == 2 ? sizeof data : 8, 0);
        CHECK_EQ(aio_read(&cb), 0);
        settle();
        CHECK(aio_cancel(fds[i], &cb) == AIO_CANCELED, "descriptor %d", i);
        CHECK_ENDS(&cb, ECANCELED);
    }
    uint64_t three = 3, found = 0;
    SETUP(write(fds[0], &three, 8) == 8);
    CHECK_EQ(read(fds[0], &found, 8), 8);
    CHECK_EQ(found, 3);
}

CASE(27, a_waiting_datagram_read_is_cancelled, GLIBC_DEFECT, 20)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof here;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    char data[16] = "";
    SETUP(fd >= 0 && bind(fd, (struct sockaddr *)&here, sizeof here) == 0 && getsockname(fd, (struct sockaddr *)&here, &length) == 0);
    struct aiocb cb = request(fd, data, sizeof data, 0);
    CHECK_EQ(aio_read(&cb), 0);
    settle();
    CHECK_EQ(aio_cancel(fd, &cb), AIO_CANCELED);
    CHECK_ENDS(&cb, ECANCELED);
    SETUP(sendto(fd, "hello", 5, 0, (struct sockaddr *)&here, length) == 5);
    CHECK_EQ(recv(fd, data, sizeof data, 0), 5);
}

/* A tty in canonical mode: the line being typed is not taken by the cancelled read. */
CASE(27, a_half_typed_line_survives_cancel, GLIBC_DEFECT, 20)
{
    struct ends ends = open_stream(PTY_SLAVE);
    struct termios cooked;
    char line[32] = "";
    SETUP(tcgetattr(ends.reader, &cooked) == 0);
    cooked.c_lflag |= ICANON;
    SETUP(tcsetattr(ends.reader, TCSANOW, &cooked) == 0);
    struct aiocb cb = request(ends.reader, line, sizeof line, 0);
    CHECK_EQ(aio_read(&cb), 0);
    write_all(ends.writer, "hel", 3);
    settle();
    CHECK_EQ(aio_error(&cb), EINPROGRESS);
    CHECK_EQ(aio_cancel(ends.reader, &cb), AIO_CANCELED);
    CHECK_ENDS(&cb, ECANCELED);
    write_all(ends.writer, "lo\n", 3);
    CHECK_EQ(read(ends.reader, line, sizeof line), 6);
    CHECK(memcmp(line, "hello\n", 6) == 0, "\"%s\"", line);
}

/* ---- one of many ---------------------------------------------------------------------------------------- */

/* Any one of the reads on a pipe, the waiting head included, goes; all the others get their data. */
CASE(29, cancelling_one_leaves_the_others_alive, GLIBC_DEFECT, 30)
{
    enum { READS = 12, BYTES = 8 };
    for (int victim = 0; victim < READS; victim++) {
        struct ends ends = open_stream(victim % 2 ? PIPE : UNIX_SOCKET);
        struct aiocb cb[READS];
        unsigned char data[READS][BYTES];
        for (int i = 0; i < READS; i++) {
            cb[i] = request(ends.reader, data[i], BYTES, 0);
            CHECK_EQ(aio_read(&cb[i]), 0);
        }
        CHECK_EQ(aio_cancel(ends.reader, &cb[victim]), AIO_CANCELED);
        CHECK_ENDS(&cb[victim], ECANCELED);
        feed(ends.writer, (READS - 1) * BYTES, 0, 3);
        size_t place = 0;
        for (int i = 0; i < READS; i++) {
            if (i == victim)
                continue;
            CHECK_DONE(&cb[i], BYTES);
            CHECK(pattern_wrong(data[i], BYTES, place, 3) < 0, "victim %d: read %d has not the slice at %zu", victim, i, place);
            place += BYTES;
        }
        close(ends.reader);
        close(ends.writer);
    }
}

/* Half of a thousand waiting reads on a hundred pipes. */
CASE(29, cancelling_half_leaves_the_other_half_alive, GLIBC_DEFECT, 30)
{
    enum { PIPES = 100, EACH = 10 };
    static struct ends ends[PIPES];
    static struct aiocb cb[PIPES][EACH];
    static char data[PIPES][EACH];
    uint64_t seed = chance_seed(), state = seed;
    for (int k = 0; k < EACH; k++)
        for (int i = 0; i < PIPES; i++) {
            if (k == 0)
                ends[i] = open_stream(PIPE);
            cb[i][k] = request(ends[i].reader, &data[i][k], 1, 0);
            CHECK_EQ(aio_read(&cb[i][k]), 0);
        }
    static bool cancelled[PIPES][EACH];
    for (int n = 0; n < PIPES * EACH; n++) {
        int i = n / EACH, k = n % EACH;
        if (chance(&state) & 1) {
            cancelled[i][k] = true;
            CHECK_EQ(aio_cancel(ends[i].reader, &cb[i][k]), AIO_CANCELED);
        }
    }
    for (int i = 0; i < PIPES; i++) {
        char letter = 'a';
        for (int k = 0; k < EACH; k++)
            if (!cancelled[i][k])
                write_all(ends[i].writer, &letter, 1), letter++;
        letter = 'a';
        for (int k = 0; k < EACH; k++) {
            if (cancelled[i][k]) {
                CHECK_ENDS(&cb[i][k], ECANCELED);
            } else {
                CHECK_DONE(&cb[i][k], 1);
                CHECK(data[i][k] == letter, "seed %#llx: pipe %d, read %d", (unsigned long long)seed, i, k);
                letter++;
            }
        }
    }
}

/* ---- NULL: all of the descriptor, and no other ---------------------------------------------------------- */

CASE(26, null_means_all_of_the_descriptor_and_no_other, GLIBC_DEFECT, 20)
{
    enum { READS = 30 };
    struct ends mine = open_stream(PIPE), other = open_stream(PIPE);
    int again = dup(mine.reader);
    static struct aiocb cb[READS], elsewhere, through_dup;
    static char data[READS], two[2];
    for (int i = 0; i < READS; i++) {
        cb[i] = request(mine.reader, &data[i], 1, 0);
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    elsewhere = request(other.reader, &two[0], 1, 0);
    through_dup = request(again, &two[1], 1, 0);
    CHECK_EQ(aio_read(&elsewhere), 0);
    CHECK_EQ(aio_read(&through_dup), 0);
    CHECK_EQ(aio_cancel(mine.reader, NULL), AIO_CANCELED);
    for (int i = 0; i < READS; i++)
        CHECK_ENDS(&cb[i], ECANCELED);
    CHECK_EQ(aio_error(&elsewhere), EINPROGRESS);
    CHECK_EQ(aio_error(&through_dup), EINPROGRESS);
    write_all(mine.writer, "m", 1);
    write_all(other.writer, "o", 1);
    CHECK_DONE(&through_dup, 1);
    CHECK_DONE(&elsewhere, 1);
    CHECK(two[0] == 'o' && two[1] == 'm');
    CHECK_EQ(aio_cancel(mine.reader, NULL), AIO_ALLDONE);
}

/* Some cannot be cancelled any more: NOTCANCELED, the others are gone all the same. */
CASE(26, null_tells_when_one_could_not_be_cancelled, GLIBC_OK, 20)
{
    enum { BYTES = 100000, WRITES = 5 };
    struct ends ends = open_stream(PIPE);
    static struct aiocb cb[WRITES];
    unsigned char *data = pages(WRITES * BYTES);
    pattern_fill(data, WRITES * BYTES, 0, 5);
    for (int i = 0; i < WRITES; i++) {
        cb[i] = request(ends.writer, data + i * BYTES, BYTES, 0);
        CHECK_EQ(aio_write(&cb[i]), 0);
    }
    WAIT_FOR(readable_bytes(ends.reader) == 65536); /* the first has begun, and blocks */
    CHECK_EQ(aio_cancel(ends.writer, NULL), AIO_NOTCANCELED);
    for (int i = 1; i < WRITES; i++)
        CHECK_ENDS(&cb[i], ECANCELED);
    size_t bytes = on_glibc() ? BYTES : 65536;
    drain(ends.reader, bytes, 0, 5);
    CHECK_DONE(&cb[0], bytes);
    CHECK_EQ(readable_bytes(ends.reader), 0);
}

/* ---- verdicts and errors -------------------------------------------------------------------------------- */

CASE(26, verdicts_for_what_is_done_or_never_was, GLIBC_OK, 10)
{
    int fd = temp_file(ON_DISK, 4096, 1, 0);
    char data[16];
    struct aiocb cb = request(fd, data, sizeof data, 0), never = request(fd, data, sizeof data, 0);
    CHECK_EQ(aio_cancel(fd, NULL), AIO_ALLDONE); /* also as the very first call */
    CHECK_EQ(aio_cancel(fd, &never), AIO_ALLDONE);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, sizeof data);
    CHECK_EQ(aio_cancel(fd, &cb), AIO_ALLDONE);
    CHECK_EQ(aio_error(&cb), 0);
    CHECK_EQ(aio_return(&cb), sizeof data);
    CHECK_EQ(aio_cancel(fd, NULL), AIO_ALLDONE);
}

CASE(26, errors_for_what_is_not_there, GLIBC_OK, 10)
{
    struct ends ends = open_stream(PIPE);
    char byte;
    struct aiocb cb = request(ends.reader, &byte, 1, 0);
    CHECK_FAILS(aio_cancel(-1, NULL), EBADF);
    CHECK_FAILS(aio_cancel(9000, NULL), EBADF);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_FAILS(aio_cancel(ends.writer, &cb), EINVAL); /* not its descriptor */
    CHECK_FAILS(aio_cancel(9000, &cb), EBADF);
    CHECK_EQ(aio_error(&cb), EINPROGRESS); /* nothing happened to it */
    write_all(ends.writer, "q", 1);
    CHECK_DONE(&cb, 1);
    CHECK_EQ(byte, 'q');
}

CASE(26, success_leaves_errno_alone, GLIBC_OK, 10)
{
    int fd = temp_file(ON_DISK, 4096, 1, 0);
    char data[16];
    struct aiocb cb = request(fd, data, sizeof data, 0);
    CHECK_EQ(aio_read(&cb), 0);
    wait_done(&cb);
    errno = 55;
    CHECK_EQ(aio_cancel(fd, &cb), AIO_ALLDONE);
    CHECK_EQ(errno, 55);
}

/* ---- they all tell --------------------------------------------------------------------------------------- */

CASE(27, a_cancelled_read_sends_its_signal, GLIBC_DEFECT, 20)
{
    enum { READS = 20 };
    struct ends ends = open_stream(PIPE);
    static struct aiocb cb[READS];
    static char data[READS], seen[READS];
    block_signal(SIGRTMIN + 1);
    for (int i = 0; i < READS; i++) {
        cb[i] = request(ends.reader, &data[i], 1, 0);
        notify_by_signal(&cb[i], SIGRTMIN + 1, &cb[i]);
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    CHECK_EQ(aio_cancel(ends.reader, NULL), AIO_CANCELED);
    for (int i = 0; i < READS; i++) {
        siginfo_t info;
        CHECK(take_signal(SIGRTMIN + 1, &info) == SIGRTMIN + 1, "signal %d never came", i);
        CHECK_EQ(info.si_code, SI_ASYNCIO);
        int which = (int)((struct aiocb *)info.si_value.sival_ptr - cb);
        CHECK(which >= 0 && which < READS && !seen[which], "signal %d is for %d", i, which);
        seen[which] = 1;
        CHECK_EQ(aio_error(&cb[which]), ECANCELED);
    }
}

static atomic_int called;
static void count_call(union sigval value)
{
    struct aiocb *cb = value.sival_ptr;
    CHECK_EQ(aio_error(cb), ECANCELED);
    atomic_fetch_add(&called, 1);
}
CASE(27, a_cancelled_read_calls_its_function, GLIBC_DEFECT, 20)
{
    enum { READS = 20 };
    struct ends ends = open_stream(UNIX_SOCKET);
    static struct aiocb cb[READS];
    static char data[READS];
    for (int i = 0; i < READS; i++) {
        cb[i] = request(ends.reader, &data[i], 1, 0);
        notify_by_thread(&cb[i], count_call, &cb[i]);
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    for (int i = 0; i < READS; i++)
        CHECK_EQ(aio_cancel(ends.reader, &cb[i]), AIO_CANCELED);
    WAIT_FOR(called == READS);
    settle();
    CHECK_EQ(called, READS);
}

/* The list is complete when its cancelled element is. */
CASE(27, a_list_with_cancelled_elements_is_notified, GLIBC_DEFECT, 20)
{
    struct ends ends = open_stream(PIPE);
    static struct aiocb cb[3], *list[3] = {&cb[0], &cb[1], &cb[2]};
    static char data[3];
    struct sigevent when = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 2, .sigev_value.sival_int = 4711};
    block_signal(SIGRTMIN + 2);
    for (int i = 0; i < 3; i++) {
        cb[i] = request(ends.reader, &data[i], 1, 0);
        cb[i].aio_lio_opcode = LIO_READ;
    }
    CHECK_EQ(lio_listio(LIO_NOWAIT, list, 3, &when), 0);
    CHECK_EQ(aio_cancel(ends.reader, &cb[1]), AIO_CANCELED);
    write_all(ends.writer, "a", 1);
    CHECK_DONE(&cb[0], 1);
    settle();
    sigset_t pending;
    SETUP(sigpending(&pending) == 0);
    CHECK(!sigismember(&pending, SIGRTMIN + 2), "notified before the last element was done");
    CHECK_EQ(aio_cancel(ends.reader, NULL), AIO_CANCELED);
    siginfo_t info;
    CHECK_EQ(take_signal(SIGRTMIN + 2, &info), SIGRTMIN + 2);
    CHECK_EQ(info.si_value.sival_int, 4711);
    CHECK_EQ(aio_error(&cb[1]), ECANCELED);
    CHECK_EQ(aio_error(&cb[2]), ECANCELED);
}

static int cancel_fd;
static void *cancel_later(void *unused)
{
    (void)unused;
    settle();
    CHECK_EQ(aio_cancel(cancel_fd, NULL), AIO_CANCELED);
    return NULL;
}
CASE(27, waiters_wake_when_their_request_is_cancelled, GLIBC_DEFECT, 20)
{
    struct ends ends = open_stream(PIPE);
    static char data[2];
    static struct aiocb cb[2];
    const struct aiocb *const awaited[1] = {&cb[1]};
    struct aiocb *list[2] = {&cb[0], &cb[1]};
    cancel_fd = ends.reader;
    for (int i = 0; i < 2; i++) {
        cb[i] = request(ends.reader, &data[i], 1, 0);
        cb[i].aio_lio_opcode = LIO_READ;
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    pthread_t thread = start_thread(cancel_later, NULL);
    CHECK_EQ(aio_suspend(awaited, 1, NULL), 0);
    join_thread(thread);
    CHECK_EQ(aio_error(&cb[0]), ECANCELED);
    CHECK_EQ(aio_error(&cb[1]), ECANCELED);
    thread = start_thread(cancel_later, NULL);
    CHECK_FAILS(lio_listio(LIO_WAIT, list, 2, NULL), EIO);
    join_thread(thread);
    CHECK_ENDS(&cb[0], ECANCELED);
    CHECK_ENDS(&cb[1], ECANCELED);
}

/* ---- from a handler --------------------------------------------------------------------------------------- */

static struct aiocb *handler_cb;
static volatile sig_atomic_t handler_verdict;
static void cancel_in_handler(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)info, (void)context;
    handler_verdict = aio_cancel(handler_cb->aio_fildes, handler_cb);
}
CASE(27, cancel_works_in_a_handler, GLIBC_DEFECT, 20)
{
    struct ends ends = open_stream(PIPE);
    char byte;
    on_signal(SIGUSR1, cancel_in_handler, 0);
    for (int i = 0; i < 500; i++) {
        struct aiocb cb = request(ends.reader, &byte, 1, 0);
        const struct aiocb *const awaited[1] = {&cb};
        handler_cb = &cb;
        handler_verdict = -1;
        CHECK_EQ(aio_read(&cb), 0);
        if (i % 2) { /* the handler interrupts the wait for what it cancels */
            struct itimerval soon = {.it_value.tv_usec = 300};
            signal(SIGALRM, SIG_DFL);
            on_signal(SIGALRM, cancel_in_handler, 0);
            SETUP(setitimer(ITIMER_REAL, &soon, NULL) == 0);
            int result = aio_suspend(awaited, 1, NULL);
            CHECK(result == 0 || errno == EINTR, "%d, errno %d", result, errno);
            WAIT_FOR(handler_verdict != -1);
        } else {
            raise(SIGUSR1);
        }
        CHECK_EQ(handler_verdict, AIO_CANCELED);
        CHECK_EQ(aio_error(&cb), ECANCELED);
        CHECK_EQ(aio_return(&cb), -1);
    }
}
