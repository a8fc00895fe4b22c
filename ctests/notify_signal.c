/* notify_signal.c - SIGEV_SIGNAL as POSIX has it: who gets the signal, what it carries, and when; and what asks for none.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"

enum { BYTES = 4096 };
static unsigned char data[BYTES];

static void check_info(const siginfo_t *info, int signo, int value)
{
    CHECK_EQ(info->si_signo, signo);
    CHECK_EQ(info->si_code, SI_ASYNCIO);
    CHECK_EQ(info->si_errno, 0);
    CHECK_EQ(info->si_pid, getpid());
    CHECK_EQ(info->si_uid, getuid());
    CHECK_EQ(info->si_value.sival_int, value);
}
static struct aiocb told(int fd, int signo, int value)
{
    struct aiocb cb = request(fd, data, BYTES, 0);
    notify_by_signal(&cb, signo, NULL);
    cb.aio_sigevent.sigev_value.sival_int = value;
    return cb;
}

/* ---- what it carries ------------------------------------------------------------------------------------------------ */

static void carries(int signo)
{
    siginfo_t info;
    int fd = temp_file(ON_DISK, BYTES, 1, 0), value = 0;
    block_signal(signo);
    struct aiocb read = told(fd, signo, ++value);
    CHECK_EQ(aio_read(&read), 0);
    CHECK_EQ(take_signal(signo, &info), signo);
    check_info(&info, signo, value);
    CHECK_EQ(aio_error(&read), 0);
    CHECK_EQ(aio_return(&read), BYTES);
    struct aiocb write = told(fd, signo, ++value);
    CHECK_EQ(aio_write(&write), 0);
    CHECK_EQ(take_signal(signo, &info), signo);
    check_info(&info, signo, value);
    CHECK_EQ(aio_return(&write), BYTES);
    struct aiocb sync = told(fd, signo, ++value);
    CHECK_EQ(aio_fsync(O_DSYNC, &sync), 0);
    CHECK_EQ(take_signal(signo, &info), signo);
    check_info(&info, signo, value);
    CHECK_EQ(aio_return(&sync), 0);
    struct aiocb failing = told(fd, signo, ++value); /* failures are told, too */
    failing.aio_fildes = open("/dev/null", O_WRONLY | O_CLOEXEC);
    CHECK_EQ(aio_read(&failing), 0);
    CHECK_EQ(take_signal(signo, &info), signo);
    check_info(&info, signo, value);
    CHECK_EQ(aio_error(&failing), EBADF);
    CHECK_EQ(aio_return(&failing), -1);
    sigset_t pending; /* and each came once */
    settle();
    SETUP(sigpending(&pending) == 0);
    CHECK(!sigismember(&pending, signo));
}
CASE(35, a_real_time_signal_carries_what_posix_says, GLIBC_OK, 20) { carries(SIGRTMIN + 4); }
CASE(35, a_standard_signal_carries_what_posix_says, GLIBC_OK, 20) { carries(SIGUSR2); }

static struct aiocb in_handler;
static volatile sig_atomic_t runs, error_seen = -1;
static volatile ssize_t bytes_seen;
static siginfo_t info_seen;
static void on_completion(int signo, siginfo_t *info, void *context)
{
    (void)signo, (void)context;
    error_seen = aio_error(&in_handler);
    bytes_seen = aio_return(&in_handler);
    info_seen = *info;
    runs++;
}
CASE(35, the_status_is_visible_in_the_handler, GLIBC_OK, 30)
{
    int fd = temp_file(ON_DISK, BYTES, 1, 0);
    on_signal(SIGRTMIN + 5, on_completion, SA_RESTART);
    for (int i = 0; i < 500; i++) {
        in_handler = told(fd, SIGRTMIN + 5, i);
        CHECK_EQ(i % 2 ? aio_read(&in_handler) : aio_write(&in_handler), 0);
        WAIT_FOR(runs == i + 1);
        CHECK_EQ(error_seen, 0);
        CHECK_EQ(bytes_seen, BYTES);
        check_info(&info_seen, SIGRTMIN + 5, i);
    }
}

/* ---- to whom --------------------------------------------------------------------------------------------------------- */

static void *take_elsewhere(void *argument)
{
    siginfo_t info;
    CHECK_EQ(take_signal(SIGRTMIN + 6, &info), SIGRTMIN + 6);
    check_info(&info, SIGRTMIN + 6, 9);
    return argument;
}
/* The process gets it: the thread that submitted blocks it, and may be gone. */
static void *submit_and_end(void *argument)
{
    CHECK_EQ(aio_read(argument), 0);
    return NULL;
}
CASE(35, the_process_gets_it_not_the_thread, GLIBC_OK, 20)
{
    struct ends ends = open_stream(PIPE);
    pthread_t submitter, taker;
    block_signal(SIGRTMIN + 6);
    struct aiocb cb = told(ends.reader, SIGRTMIN + 6, 9);
    cb.aio_nbytes = 1;
    SETUP(pthread_create(&submitter, NULL, submit_and_end, &cb) == 0 && pthread_join(submitter, NULL) == 0);
    SETUP(pthread_create(&taker, NULL, take_elsewhere, NULL) == 0);
    settle();
    SETUP(write(ends.writer, "x", 1) == 1);
    SETUP(pthread_join(taker, NULL) == 0);
    CHECK_EQ(aio_return(&cb), 1);
}

/* ---- none ------------------------------------------------------------------------------------------------------------- */

CASE(35, a_zeroed_control_block_asks_for_none, GLIBC_OK, 20)
{
    int fd = temp_file(ON_DISK, BYTES, 1, 0);
    struct aiocb cb;
    memset(&cb, 0, sizeof cb); /* SIGEV_SIGNAL is 0, and so is the signal */
    cb.aio_fildes = fd;
    cb.aio_buf = data;
    cb.aio_nbytes = BYTES;
    CHECK_EQ(cb.aio_sigevent.sigev_notify, SIGEV_SIGNAL);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, BYTES);
    settle();
}
CASE(35, an_unknown_way_of_notification_is_none, GLIBC_OK, 20)
{
    int fd = temp_file(ON_DISK, BYTES, 1, 0);
    struct aiocb cb = told(fd, SIGUSR1, 1); /* whose default would end the process */
    cb.aio_sigevent.sigev_notify = 77;
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, BYTES);
    settle();
}

/* ---- refused ------------------------------------------------------------------------------------------------------------ */

CASE(35, a_bad_signal_is_refused_at_submission, GLIBC_DEFECT, 20)
{
    int fd = temp_file(ON_DISK, BYTES, 1, 0);
    static const int bad[] = {-1, 65, 1000, INT_MAX, INT_MIN};
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct aiocb cb = told(fd, bad[i], 1);
        CHECK_FAILS(aio_read(&cb), EINVAL);
        CHECK_FAILS(aio_write(&cb), EINVAL);
        CHECK_FAILS(aio_fsync(O_SYNC, &cb), EINVAL);
        struct aiocb *list[] = {&cb};
        struct sigevent event = cb.aio_sigevent;
        cb.aio_sigevent.sigev_notify = SIGEV_NONE;
        cb.aio_lio_opcode = LIO_READ;
        CHECK_FAILS(lio_listio(LIO_NOWAIT, list, 1, &event), EINVAL);
    }
}
