// One short case for what glibc is known to get wrong, where it is not shown beside its line elsewhere:
// the list of reasons for this library, each seen to happen without it.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include "kinds.h"

enum { COUNT = 32 };
static struct aiocb cbs[COUNT];
static unsigned char bytes[COUNT];
static int file;

static void start_reads(int signo)
{
    if (!file)
        file = temp_file(ON_DISK, COUNT, 1, 0);
    for (int i = 0; i < COUNT; i++) {
        cbs[i] = request(file, bytes + i, 1, i);
        if (signo) {
            cbs[i].aio_sigevent.sigev_notify = SIGEV_SIGNAL;
            cbs[i].aio_sigevent.sigev_signo = signo;
            cbs[i].aio_sigevent.sigev_value.sival_int = i;
        }
        CHECK_EQ(aio_read(&cbs[i]), 0);
    }
}
static void block(int signo, int how)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    SETUP(sigprocmask(how, &set, NULL) == 0);
}
/* The kernel counts the queued signals of a user, so this becomes one that nobody else is. */
static void small_queue(void)
{
    file = temp_file(ON_DISK, COUNT, 1, 0);
    if (geteuid() == 0 && setuid((uid_t)(600000 + getpid() % 300000)) != 0)
        fprintf(stderr, "no user of our own here: other programs' signals count too\n");
    SETUP(setrlimit(RLIMIT_SIGPENDING, &(struct rlimit){8, 8}) == 0);
}
/* Takes pending signals until the given number has come; each value must be new. */
static void collect(int signo, int wanted)
{
    sigset_t set;
    unsigned seen = 0;
    sigemptyset(&set);
    sigaddset(&set, signo);
    for (int i = 0; i < wanted; i++) {
        siginfo_t info;
        struct timespec limit = {patience_ns() / 1000000000, 0};
        CHECK(sigtimedwait(&set, &info, &limit) == signo, "signal %d of %d", i, wanted);
        CHECK(info.si_value.sival_int >= 0 && info.si_value.sival_int < COUNT && !(seen >> info.si_value.sival_int & 1),
              "value %d", info.si_value.sival_int);
        seen |= 1u << info.si_value.sival_int;
    }
}

CASE(36, full_queue_changes_no_result, GLIBC_DEFECT, 20)
{
    block(SIGRTMIN, SIG_BLOCK);
    small_queue();
    start_reads(SIGRTMIN);
    for (int i = 0; i < COUNT; i++)
        CHECK_DONE(&cbs[i], 1);
    CHECK_EQ(pattern_wrong(bytes, COUNT, 0, 1), -1);
}

CASE(36, full_queue_loses_no_signal, GLIBC_DEFECT, 20)
{
    block(SIGRTMIN, SIG_BLOCK);
    small_queue();
    start_reads(SIGRTMIN);
    for (int i = 0; i < COUNT; i++)
        wait_done(&cbs[i]);
    collect(SIGRTMIN, COUNT);
}

CASE(36, standard_signals_do_not_merge, GLIBC_DEFECT, 20)
{
    block(SIGUSR1, SIG_BLOCK);
    start_reads(SIGUSR1);
    for (int i = 0; i < COUNT; i++)
        wait_done(&cbs[i]);
    collect(SIGUSR1, COUNT);
}

CASE(36, full_queue_loses_no_list_notification, GLIBC_DEFECT, 20)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    block(SIGRTMIN, SIG_BLOCK);
    block(SIGRTMIN + 1, SIG_BLOCK);
    small_queue();
    while (sigqueue(getpid(), SIGRTMIN + 1, (union sigval){0}) == 0) { }
    SETUP(errno == EAGAIN);
    struct aiocb cb = request(file, bytes, 10, 0), *list[] = {&cb};
    cb.aio_lio_opcode = LIO_READ;
    event.sigev_value.sival_int = 7;
    CHECK_EQ(lio_listio(LIO_NOWAIT, list, 1, &event), 0);
    CHECK_DONE(&cb, 10);
    sleep_ms(20);
    sigset_t fillers;
    sigemptyset(&fillers);
    sigaddset(&fillers, SIGRTMIN + 1);
    while (sigtimedwait(&fillers, NULL, &(struct timespec){0, 0}) > 0) { }
    collect(SIGRTMIN, 1);
}

CASE(14, waiting_read_does_not_block_the_write, GLIBC_DEFECT, 10)
{
    struct pair pair = make_pair(UNIX_STREAM);
    char in, out = 'x';
    struct aiocb get = request(pair.ends[0], &in, 1, 0), put = request(pair.ends[0], &out, 1, 0);
    CHECK_EQ(aio_read(&get), 0);
    CHECK_EQ(aio_write(&put), 0);
    CHECK_DONE(&put, 1);
}

CASE(15, waiting_reads_do_not_starve_files, GLIBC_DEFECT, 10)
{
    for (int i = 0; i < 25; i++) {
        struct pair pair = make_pair(PIPE);
        cbs[i] = request(pair.ends[0], bytes, 1, 0);
        CHECK_EQ(aio_read(&cbs[i]), 0);
    }
    char buffer[10];
    struct aiocb cb = request(temp_file(ON_DISK, 10, 1, 0), buffer, 10, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 10);
}

CASE(27, waiting_read_can_be_cancelled, GLIBC_DEFECT, 10)
{
    struct pair pair = make_pair(PIPE);
    struct aiocb cb = request(pair.ends[0], bytes, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    sleep_ms(20);
    CHECK_EQ(aio_cancel(pair.ends[0], &cb), AIO_CANCELED);
    CHECK_ENDS(&cb, ECANCELED);
}

CASE(29, cancelling_the_head_keeps_the_others, GLIBC_DEFECT, 10)
{
    struct pair pair = make_pair(PIPE);
    for (int i = 0; i < 4; i++) {
        cbs[i] = request(pair.ends[0], bytes + i, 1, 0);
        CHECK_EQ(aio_read(&cbs[i]), 0);
    }
    sleep_ms(20);
    CHECK_EQ(aio_cancel(pair.ends[0], &cbs[0]), AIO_CANCELED);
    SETUP(write(pair.ends[1], "abc", 3) == 3);
    for (int i = 1; i < 4; i++)
        CHECK_DONE(&cbs[i], 1);
    CHECK(memcmp(bytes + 1, "abc", 3) == 0);
}

CASE(41, child_of_fork_can_read, GLIBC_DEFECT, 10)
{
    char buffer[10];
    int fd = temp_file(ON_DISK, 10, 1, 0);
    struct aiocb cb = request(fd, buffer, 10, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 10);
    pid_t child = fork();
    if (child == 0) {
        CHECK_EQ(aio_read(&cb), 0);
        CHECK_DONE(&cb, 10);
        _exit(0);
    }
    CHECK_CHILD(child);
}
