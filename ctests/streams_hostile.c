// What poll(2) and a try say differently: streams that seem ready and are not, sockets that are shut, empty datagrams.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include "kinds.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* ---- waiting costs nothing ------------------------------------------------------------------------------------ */

static int64_t processor_ns(void)
{
    struct rusage used;
    SETUP(getrusage(RUSAGE_SELF, &used) == 0);
    return ((int64_t)used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000000 +
           ((int64_t)used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000;
}

/* While the request waits for a second, the process uses less than a fifth of one processor. */
static void waits_quietly(struct aiocb *cb)
{
    sleep_ms(50);
    int64_t before = processor_ns(), started = now_ns();
    sleep_ms(1000);
    int64_t used = processor_ns() - before, passed = now_ns() - started;
    CHECK_EQ(aio_error(cb), EINPROGRESS);
    CHECK(used * 5 < passed, "%lld of %lld ms", (long long)used / 1000000, (long long)passed / 1000000);
}

/* An error queue makes a socket ready for ever, and no read empties it. */
CASE(9, an_error_queue_is_no_data, GLIBC_OK, 20)
{
    struct pair pair = udp_pair();
    struct sockaddr_in here, there;
    socklen_t length = sizeof here;
    int one = 1;
    char text[6] = "";
    SETUP(getsockname(pair.ends[0], (struct sockaddr *)&here, &length) == 0);
    SETUP(getsockname(pair.ends[1], (struct sockaddr *)&there, &length) == 0);
    SETUP(setsockopt(pair.ends[0], SOL_IP, IP_RECVERR, &one, sizeof one) == 0);
    close(pair.ends[1]);
    SETUP(write(pair.ends[0], "x", 1) == 1);
    struct aiocb cb = request(pair.ends[0], text, 5, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_ENDS(&cb, ECONNREFUSED);

    CHECK_EQ(aio_read(&cb), 0);
    waits_quietly(&cb);
    if (!on_glibc()) { /* there it runs */
        CHECK_EQ(aio_cancel(pair.ends[0], &cb), AIO_CANCELED);
        CHECK_ENDS(&cb, ECANCELED);
        CHECK_EQ(aio_read(&cb), 0);
        sleep_ms(100);
    }
    pair.ends[1] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    SETUP(bind(pair.ends[1], (struct sockaddr *)&there, length) == 0);
    SETUP(sendto(pair.ends[1], "hello", 5, 0, (struct sockaddr *)&here, length) == 5);
    CHECK_DONE(&cb, 5);
    CHECK(strcmp(text, "hello") == 0, "%s", text);
}

/* A time limit holds although the socket seems ready all the time. */
CASE(9, a_time_limit_beside_an_error_queue, GLIBC_OK, 20)
{
    struct pair pair = udp_pair();
    struct timeval limit = {0, 300000};
    int one = 1;
    char byte;
    SETUP(setsockopt(pair.ends[0], SOL_IP, IP_RECVERR, &one, sizeof one) == 0);
    SETUP(setsockopt(pair.ends[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    close(pair.ends[1]);
    SETUP(write(pair.ends[0], "x", 1) == 1);
    struct aiocb cb = request(pair.ends[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_ENDS(&cb, ECONNREFUSED);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_ENDS(&cb, EAGAIN);
}

/* A time limit of 100 ms that begins in the same moment as something that takes for ever is not ten times as long. */
CASE(9, a_time_limit_beside_a_blocked_write, GLIBC_OK | ALONE, 20)
{
    enum { MUCH = 1 << 18 };
    struct timeval limit = {0, 100000};
    char byte, *much = pages(MUCH);
    for (int i = 0; i < 4; i++) {
        struct pair quiet = make_pair(UNIX_STREAM), full = make_pair(PTY);
        SETUP(setsockopt(quiet.ends[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
        struct aiocb read_cb = request(quiet.ends[0], &byte, 1, 0), write_cb = request(full.ends[1], much, MUCH, 0);
        struct aiocb *both[] = {&read_cb, &write_cb};
        read_cb.aio_lio_opcode = LIO_READ;
        write_cb.aio_lio_opcode = LIO_WRITE;
        int64_t started = now_ns();
        CHECK_EQ(lio_listio(LIO_NOWAIT, both, 2, NULL), 0);
        CHECK_ENDS(&read_cb, EAGAIN);
        int64_t passed = now_ns() - started;
        CHECK(passed < 600000000, "%lld ms", (long long)passed / 1000000);
        CHECK_EQ(aio_error(&write_cb), EINPROGRESS);
        close(full.ends[0]);
        CHECK(wait_done(&write_cb) != ECANCELED);
        close_pair(&quiet);
    }
}

/* ---- the end, nothing at all ------------------------------------------------------------------------------------ */

/* shutdown(SHUT_RD) ends what waits, also on a datagram socket, of which a nonblocking read says EAGAIN for ever. */
CASE(9, shutdown_ends_a_waiting_read, GLIBC_OK, 20)
{
    static const int types[][2] = {{AF_UNIX, SOCK_DGRAM}, {AF_UNIX, SOCK_SEQPACKET}, {AF_UNIX, SOCK_STREAM}, {AF_INET, SOCK_DGRAM}};
    for (size_t i = 0; i < 4; i++) {
        struct pair pair = {.ends = {-1, -1}};
        char text[2][6] = {"", ""};
        if (types[i][0] == AF_INET)
            pair = udp_pair();
        else
            SETUP(socketpair(AF_UNIX, types[i][1] | SOCK_CLOEXEC, 0, pair.ends) == 0);
        struct aiocb first = request(pair.ends[0], text[0], 5, 0), second = request(pair.ends[0], text[1], 5, 0);
        CHECK_EQ(aio_read(&first), 0);
        CHECK_EQ(aio_read(&second), 0);
        sleep_ms(20);
        SETUP(write(pair.ends[1], "hello", 5) == 5);
        CHECK_DONE(&first, 5);
        sleep_ms(20);
        CHECK_EQ(aio_error(&second), EINPROGRESS);
        SETUP(shutdown(pair.ends[0], SHUT_RD) == 0);
        CHECK_DONE(&second, 0);
        CHECK_EQ(aio_read(&first), 0); /* begun when it was shut already */
        CHECK_DONE(&first, 0);
        set_nonblocking(pair.ends[0], true);
        ssize_t plain = read(pair.ends[0], text[0], 5);
        int error = plain < 0 ? errno : 0;
        CHECK_EQ(aio_read(&first), 0);
        CHECK_EQ(wait_done(&first), error);
        CHECK_EQ(aio_return(&first), plain);
        close_pair(&pair);
    }
}

/* Zero bytes: a datagram for a datagram socket, an error for an eventfd, nothing for the others; as read(2) and write(2). */
CASE(7, an_empty_transfer_is_one, GLIBC_OK, 20)
{
    for (enum kind kind = 0; kind < STREAM_KINDS; kind++) {
        struct pair pair = make_pair(kind);
        bool datagrams = kind == UNIX_DGRAM || kind == UDP;
        char text[6] = "";
        for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
            set_nonblocking(pair.ends[1], nonblocking);
            struct aiocb put = request(pair.ends[1], text, 0, 0), get = request(pair.ends[0], text, 5, 0);
            CHECK_EQ(aio_write(&put), 0);
            CHECK_DONE(&put, 0);
            if (datagrams) {
                CHECK_EQ(aio_read(&get), 0);
                CHECK_DONE(&get, 0);
            }
        }
        SETUP(write(pair.ends[1], "hello", 5) == 5);
        struct pollfd there = {pair.ends[0], POLLIN, 0};
        SETUP(poll(&there, 1, 5000) == 1);
        struct aiocb nothing = request(pair.ends[0], text, 0, 0), all = request(pair.ends[0], text, 5, 0);
        CHECK_EQ(aio_read(&nothing), 0);
        CHECK_DONE(&nothing, 0);
        CHECK_EQ(aio_read(&all), 0);
        CHECK_DONE(&all, 5);
        CHECK(strcmp(text, "hello") == 0, "%s: %s", kind_names[kind], text);
        close_pair(&pair);
    }
    struct pair pipe_pair = make_pair(PIPE), left = make_pair(UNIX_STREAM);
    struct aiocb cb = request(pipe_pair.ends[0], &cb, 0, 0);
    CHECK_EQ(aio_read(&cb), 0); /* waits for nothing */
    CHECK_DONE(&cb, 0);
    int event = eventfd(3, 0);
    cb = request(event, &cb, 0, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_ENDS(&cb, EINVAL);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_ENDS(&cb, EINVAL);
    close(left.ends[0]);
    SETUP(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    ssize_t plain = write(left.ends[1], &cb, 0);
    int error = plain < 0 ? errno : 0;
    SETUP(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    if (!on_glibc() || error != EPIPE) { /* there the signal ends the process */
        cb = request(left.ends[1], &cb, 0, 0);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_EQ(wait_done(&cb), error);
        CHECK_EQ(aio_return(&cb), plain);
    }
}

/* SO_SNDTIMEO ends a write that gets nowhere, with what went out; not one that goes on slowly: a few of the blocks that lie
 * in the socket leave it within the limit, too few for poll(2) to call it ready. */
struct sip {
    int fd;
    atomic_bool over;
    int64_t longest; /* time between two sips */
};
static void *sip(void *argument)
{
    struct sip *task = argument;
    static char piece[32768];
    for (int64_t before = now_ns(), now; !atomic_load(&task->over); before = now) {
        sleep_ms(100);
        ssize_t got = recv(task->fd, piece, sizeof piece, MSG_DONTWAIT);
        SETUP(got > 0 || errno == EAGAIN); /* nothing: the write has ended */
        now = now_ns();
        if (now - before > task->longest)
            task->longest = now - before;
    }
    return NULL;
}
CASE(10, a_send_timeout_and_a_slow_reader, GLIBC_OK, 20)
{
    enum { MUCH = 4 << 20 };
    char *much = pages(MUCH);
    for (bool steady = false; !steady;) {
        struct pair pair = make_pair(UNIX_STREAM);
        struct timeval limit = {0, 400000};
        struct sip task = {.fd = pair.ends[0]};
        SETUP(setsockopt(pair.ends[1], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0);
        struct aiocb cb = request(pair.ends[1], much, MUCH, 0);
        pthread_t thread = start_thread(sip, &task);
        CHECK_EQ(aio_write(&cb), 0);
        sleep_ms(1500);
        int early = aio_error(&cb);
        atomic_store(&task.over, true);
        join_thread(thread);
        steady = task.longest < 300000000; /* or this machine has no time for a reader: once more */
        CHECK(early == EINPROGRESS || !steady, "ends with %d, though read each %lld ms", early,
              (long long)task.longest / 1000000);
        CHECK_EQ(wait_done(&cb), 0);
        ssize_t put = aio_return(&cb);
        CHECK(put > 0 && put < MUCH, "%zd", put);
        if (steady) { /* it ended after the last sip: not one byte more finds room */
            CHECK_EQ(aio_write(&cb), 0);
            CHECK_ENDS(&cb, EAGAIN);
        }
        close(pair.ends[0]);
        close(pair.ends[1]);
    }
}

/* ---- watching is refused ----------------------------------------------------------------------------------------- */

static int descriptors(void)
{
    int count = 0;
    DIR *directory = opendir("/proc/self/fd");
    SETUP(directory != NULL);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

static void waits_all_the_same(void)
{
    struct pair pair = make_pair(PIPE);
    char text[6] = "";
    struct aiocb cb = request(pair.ends[0], text, 5, 0);
    CHECK_EQ(aio_read(&cb), 0);
    sleep_ms(50);
    int before = descriptors();
    waits_quietly(&cb);
    int after = descriptors();
    CHECK(after < before + 5, "%d descriptors, then %d", before, after);
    SETUP(write(pair.ends[1], "hello", 5) == 5);
    CHECK_DONE(&cb, 5);
    CHECK(strcmp(text, "hello") == 0, "%s", text);
}

/* From now on this system call ends with EPERM in every thread, as a sandbox would have it. */
static void refuse(int call)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {4, filter};
    SETUP(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0)
        SKIP("no seccomp filters");
}
CASE(44, epoll_ctl_is_refused, GLIBC_OK, 20)
{
    refuse(SYS_epoll_ctl);
    waits_all_the_same();
}
CASE(44, epoll_pwait_is_refused, GLIBC_OK, 20)
{
    refuse(SYS_epoll_pwait);
    waits_all_the_same();
}
CASE(44, epoll_pwait_is_refused_after_first_use, GLIBC_OK, 20)
{
    struct pair pair = make_pair(PIPE);
    char byte;
    struct aiocb cb = request(pair.ends[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    sleep_ms(20);
    refuse(SYS_epoll_pwait);
    SETUP(write(pair.ends[1], "x", 1) == 1); /* who waits meets the refusal next */
    CHECK_DONE(&cb, 1);
    waits_all_the_same();
}

/* The workers watch streams in a thread of its own, and there is no more to be had. */
CASE(44, no_thread_to_watch_a_stream, GLIBC_OK, 20)
{
    with_fault("fault");
    int (*fault)(const char *) = extension("aio_fault_set");
    SETUP(fault != NULL);
    int fd = temp_file(ON_DISK, 4096, 1, 0);
    char byte;
    struct aiocb cb = request(fd, &byte, 1, 0);
    SETUP(fault("pthread_create:EAGAIN:after=1:from=aio_shim") == 0);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_DONE(&cb, 1);
    waits_all_the_same();
}
