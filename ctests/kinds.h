/* kinds.h - pairs of descriptors of every kind that can carry data. SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef CTESTS_KINDS_H
#define CTESTS_KINDS_H
#include "harness.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <termios.h>

/* What is written to `ends[1]` is read from `ends[0]`. Where `both` is set, also the other way round. */
struct pair {
    int ends[2];
    bool both;
};

enum kind { PIPE, FIFO, UNIX_STREAM, UNIX_DGRAM, TCP, UDP, PTY, STREAM_KINDS };
static const char *const kind_names[] UNUSED = {"pipe", "FIFO", "unix stream", "unix datagram", "TCP", "UDP", "pty"};

UNUSED static struct pair tcp_pair(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    struct pair made = {.both = true};
    SETUP(listener >= 0 && bind(listener, (struct sockaddr *)&address, length) == 0 && listen(listener, 1) == 0);
    SETUP(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    made.ends[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    SETUP(connect(made.ends[1], (struct sockaddr *)&address, length) == 0);
    made.ends[0] = accept(listener, NULL, NULL);
    SETUP(made.ends[0] >= 0);
    for (int i = 0; i < 2; i++)
        setsockopt(made.ends[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    close(listener);
    return made;
}

UNUSED static struct pair udp_pair(void)
{
    struct pair made = {.both = true};
    struct sockaddr_in addresses[2];
    socklen_t length = sizeof addresses[0];
    for (int i = 0; i < 2; i++) {
        addresses[i] = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        made.ends[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        SETUP(made.ends[i] >= 0 && bind(made.ends[i], (struct sockaddr *)&addresses[i], length) == 0);
        SETUP(getsockname(made.ends[i], (struct sockaddr *)&addresses[i], &length) == 0);
    }
    for (int i = 0; i < 2; i++)
        SETUP(connect(made.ends[i], (struct sockaddr *)&addresses[!i], length) == 0);
    return made;
}

UNUSED static struct pair pty_pair(void)
{
    struct pair made = {.both = true};
    struct termios mode;
    made.ends[0] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    SETUP(made.ends[0] >= 0 && grantpt(made.ends[0]) == 0 && unlockpt(made.ends[0]) == 0);
    made.ends[1] = open(ptsname(made.ends[0]), O_RDWR | O_NOCTTY | O_CLOEXEC);
    SETUP(made.ends[1] >= 0 && tcgetattr(made.ends[1], &mode) == 0);
    cfmakeraw(&mode);
    SETUP(tcsetattr(made.ends[1], TCSANOW, &mode) == 0);
    return made;
}

UNUSED static struct pair fifo_pair(void)
{
    char path[4096];
    struct pair made = {.both = false};
    snprintf(path, sizeof path, "%s/fifo-%d-%lld", place_path(ON_DISK), getpid(), (long long)now_ns());
    SETUP(mkfifo(path, 0600) == 0, "%s", path);
    made.ends[0] = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    made.ends[1] = open(path, O_WRONLY | O_CLOEXEC);
    SETUP(made.ends[0] >= 0 && made.ends[1] >= 0 && unlink(path) == 0);
    SETUP(fcntl(made.ends[0], F_SETFL, 0) == 0);
    return made;
}

UNUSED static struct pair make_pair(enum kind kind)
{
    struct pair made = {.both = false};
    switch (kind) {
    case PIPE: SETUP(pipe2(made.ends, O_CLOEXEC) == 0); break;
    case FIFO: return fifo_pair();
    case UNIX_STREAM:
    case UNIX_DGRAM:
        made.both = true;
        SETUP(socketpair(AF_UNIX, (kind == UNIX_STREAM ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0, made.ends) == 0);
        break;
    case TCP: return tcp_pair();
    case UDP: return udp_pair();
    case PTY: return pty_pair();
    case STREAM_KINDS: SETUP(false);
    }
    return made;
}

UNUSED static void close_pair(struct pair *pair)
{
    close(pair->ends[0]);
    close(pair->ends[1]);
}

UNUSED static void set_nonblocking(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);
    SETUP(fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) == 0);
}
#endif
