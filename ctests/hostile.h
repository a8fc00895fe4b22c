/* hostile.h - what the tests of order, cancellation, processes and notification share beyond harness.h:
 * every kind of stream, users of one's own, randomness that a failure can be repeated with.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef CTESTS_HOSTILE_H
#define CTESTS_HOSTILE_H
#include "harness.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <termios.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- streams: what cannot seek ------------------------------------------------------------------------ */

enum stream { PIPE, FIFO, UNIX_SOCKET, TCP_SOCKET, PTY_SLAVE, PTY_MASTER };

/* What is written to `writer` comes out of `reader`. Sockets and ttys go the other way, too. */
struct ends {
    int reader, writer;
};

UNUSED static const char *stream_name(enum stream kind)
{
    static const char *const names[] = {"pipe", "fifo", "unix socket", "tcp socket", "pty slave", "pty master"};
    return names[kind];
}

UNUSED static struct ends open_stream(enum stream kind)
{
    int fds[2] = {-1, -1};
    if (kind == PIPE) {
        SETUP(pipe2(fds, O_CLOEXEC) == 0);
    } else if (kind == FIFO) {
        char path[4096];
        static atomic_int made;
        snprintf(path, sizeof path, "%s/fifo-%d-%d-%lld", place_path(ON_TMPFS), (int)getpid(), atomic_fetch_add(&made, 1), (long long)now_ns());
        SETUP(mkfifo(path, 0600) == 0, "%s", path);
        int keep = open(path, O_RDWR | O_CLOEXEC);
        fds[0] = open(path, O_RDONLY | O_CLOEXEC);
        fds[1] = open(path, O_WRONLY | O_CLOEXEC);
        SETUP(keep >= 0 && fds[0] >= 0 && fds[1] >= 0 && unlink(path) == 0);
        close(keep);
    } else if (kind == UNIX_SOCKET) {
        SETUP(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    } else if (kind == TCP_SOCKET) {
        struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t length = sizeof here;
        int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
        SETUP(listening >= 0 && bind(listening, (struct sockaddr *)&here, sizeof here) == 0);
        SETUP(getsockname(listening, (struct sockaddr *)&here, &length) == 0 && listen(listening, 1) == 0);
        fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        SETUP(fds[1] >= 0 && connect(fds[1], (struct sockaddr *)&here, sizeof here) == 0);
        fds[0] = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
        SETUP(fds[0] >= 0);
        setsockopt(fds[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(fds[1], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        close(listening);
    } else {
        char name[64];
        struct termios raw;
        int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        SETUP(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0 && ptsname_r(master, name, sizeof name) == 0);
        int slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
        SETUP(slave >= 0, "%s", name);
        SETUP(tcgetattr(slave, &raw) == 0);
        cfmakeraw(&raw);
        SETUP(tcsetattr(slave, TCSANOW, &raw) == 0);
        fds[0] = kind == PTY_SLAVE ? slave : master;
        fds[1] = kind == PTY_SLAVE ? master : slave;
    }
    return (struct ends){fds[0], fds[1]};
}

UNUSED static bool is_duplex(enum stream kind) { return kind >= UNIX_SOCKET; }

/* write(2) until all is out. */
UNUSED static void write_all(int fd, const void *data, size_t bytes)
{
    for (size_t sent = 0; sent < bytes;) {
        ssize_t part = write(fd, (const char *)data + sent, bytes - sent);
        CHECK(part > 0 || (part < 0 && errno == EINTR), "write of %zu bytes stopped at %zu with %zd", bytes, sent, part);
        sent += part > 0 ? (size_t)part : 0;
    }
}

/* Feeds, or drains and verifies, pattern(seed) from place `from` on. */
UNUSED static void feed(int fd, size_t bytes, size_t from, unsigned seed)
{
    unsigned char piece[4096];
    for (size_t at = 0; at < bytes; at += sizeof piece) {
        size_t part = bytes - at < sizeof piece ? bytes - at : sizeof piece;
        pattern_fill(piece, part, from + at, seed);
        write_all(fd, piece, part);
    }
}
UNUSED static void drain(int fd, size_t bytes, size_t from, unsigned seed)
{
    unsigned char piece[4096];
    for (size_t at = 0; at < bytes;) {
        size_t part = bytes - at < sizeof piece ? bytes - at : sizeof piece;
        read_all(fd, piece, part);
        ssize_t wrong = pattern_wrong(piece, part, from + at, seed);
        CHECK(wrong < 0, "byte %zu of the stream is not what was written there", from + at + (size_t)wrong);
        at += part;
    }
}

/* Bytes that read(2) would find now. */
UNUSED static int readable_bytes(int fd)
{
    int bytes = -1;
    SETUP(ioctl(fd, FIONREAD, &bytes) == 0);
    return bytes;
}

/* Fills what buffers there are until a write would block, and leaves the descriptor blocking. */
UNUSED static size_t fill_up(int fd)
{
    static const unsigned char nothing[4096];
    size_t total = 0;
    int flags = fcntl(fd, F_GETFL);
    SETUP(flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0);
    for (size_t piece = sizeof nothing; piece > 0;) {
        ssize_t part = write(fd, nothing, piece);
        if (part > 0)
            total += (size_t)part;
        else
            piece /= 2;
    }
    SETUP(fcntl(fd, F_SETFL, flags) == 0);
    return total;
}

/* ---- chance ------------------------------------------------------------------------------------------- */

/* AIO_TEST_SEED repeats a failure; every random test says its seed when it fails. */
UNUSED static uint64_t chance_seed(void)
{
    const char *given = getenv("AIO_TEST_SEED");
    return given ? strtoull(given, NULL, 0) : (uint64_t)now_ns() ^ ((uint64_t)getpid() << 40);
}
UNUSED static uint64_t chance(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15u;
    uint64_t mixed = *state;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
}
UNUSED static size_t below(uint64_t *state, size_t limit) { return (size_t)(chance(state) % limit); }

/* ---- processes, users, time --------------------------------------------------------------------------- */

/* Becomes a user that nothing else on the machine is: limits counted per user are then this process's own. */
UNUSED static uid_t become_own_user(void)
{
    uid_t uid = 700000u + (uid_t)getpid();
    if (geteuid() != 0)
        SKIP("needs root to become a user of its own");
    SETUP(setresgid(uid, uid, uid) == 0 && setresuid(uid, uid, uid) == 0);
    SETUP(prctl(PR_SET_DUMPABLE, 1) == 0);
    return uid;
}

UNUSED static void set_limit(int which, rlim_t value)
{
    struct rlimit limit;
    SETUP(getrlimit((__rlimit_resource_t)which, &limit) == 0);
    limit.rlim_cur = value;
    SETUP(setrlimit((__rlimit_resource_t)which, &limit) == 0, "limit %d to %llu", which, (unsigned long long)value);
}

UNUSED static pid_t thread_id(void) { return (pid_t)syscall(SYS_gettid); }

/* Ends of a child within the time: its wait status; the child is ended and the case failed otherwise. */
#define wait_child(pid, what) wait_child_at((pid), (what), __FILE__, __LINE__)
UNUSED static int wait_child_at(pid_t pid, const char *what, const char *file, int line)
{
    int64_t until = now_ns() + (on_glibc() ? 1 : 3) * patience_ns(); /* a child makes many requests */
    for (int status;;) {
        pid_t ended = waitpid(pid, &status, WNOHANG);
        if (ended == pid)
            return status;
        if (ended < 0)
            end_case(1, file, line, what, ": no such child");
        if (now_ns() > until) {
            kill(pid, SIGKILL);
            end_case(1, file, line, what, ": child %d hangs", (int)pid);
        }
        sleep_ms(1);
    }
}

/* True when AIO_TEST_LONG asks for the seconds of the full campaign instead of a short look. */
UNUSED static double scaled_seconds(double in_check, double in_full)
{
    const char *given = getenv("AIO_TEST_LONG");
    return given && *given && *given != '0' ? in_full : in_check;
}

/* Time enough for a request that must NOT end to end wrongly; a pass never depends on it. */
UNUSED static void settle(void) { sleep_ms(30); }

UNUSED static void block_signal(int signo)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    SETUP(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
}
UNUSED static void on_signal(int signo, void (*handler)(int, siginfo_t *, void *), int flags)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | flags;
    sigemptyset(&action.sa_mask);
    SETUP(sigaction(signo, &action, NULL) == 0);
}
UNUSED static void notify_by_signal(struct aiocb *cb, int signo, void *value)
{
    cb->aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    cb->aio_sigevent.sigev_signo = signo;
    cb->aio_sigevent.sigev_value.sival_ptr = value;
}
UNUSED static void notify_by_thread(struct aiocb *cb, void (*function)(union sigval), void *value)
{
    cb->aio_sigevent.sigev_notify = SIGEV_THREAD;
    cb->aio_sigevent.sigev_notify_function = function;
    cb->aio_sigevent.sigev_notify_attributes = NULL;
    cb->aio_sigevent.sigev_value.sival_ptr = value;
}
/* The next of the signals, or 0 when patience is over. */
UNUSED static int take_signal(int signo, siginfo_t *info)
{
    sigset_t set;
    int64_t until = now_ns() + patience_ns();
    sigemptyset(&set);
    sigaddset(&set, signo);
    for (;;) {
        struct timespec rest = {0, 100000000};
        int got = sigtimedwait(&set, info, &rest);
        if (got > 0 || now_ns() > until)
            return got > 0 ? got : 0;
    }
}
#endif
