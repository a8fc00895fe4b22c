/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* One epoll loop over a socket and over AIO: a small block server. A client
 * asks for blocks by number over the socket; each block is read with
 * aio_read(), whose completion adds 1 to an eventfd in the same epoll set.
 * What kqueue gives on FreeBSD. Link with -laio_shim. */
#define _GNU_SOURCE
#include <aio_shim.h>
#include <errno.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "common.h"

enum { BLOCK = 4096, BLOCKS = 128, QUESTIONS = 512, SLOTS = 16 };

struct slot {
    struct aiocb cb;
    bool busy;
    struct reply {
        uint32_t block;
        char data[BLOCK];
    } reply;
};

static int file, events;
static struct slot slots[SLOTS];
static int in_flight;

static void start(uint32_t block)
{
    struct slot *slot = slots;
    while (slot->busy)
        slot++; /* the client never has more than SLOTS questions open */
    memset(&slot->cb, 0, sizeof slot->cb);
    slot->busy = true;
    slot->reply.block = block;
    slot->cb.aio_fildes = file;
    slot->cb.aio_buf = slot->reply.data;
    slot->cb.aio_nbytes = BLOCK;
    slot->cb.aio_offset = (off_t)block * BLOCK;
    slot->cb.aio_sigevent.sigev_notify = SIGEV_AIO_SHIM_EVENTFD;
    slot->cb.aio_sigevent.sigev_signo = events;
    check(aio_read(&slot->cb) == 0, "aio_read");
    in_flight++;
}

/* The eventfd says that something is done; aio_error() says what. */
static int answer_finished(int socket)
{
    int answered = 0;
    for (struct slot *slot = slots; slot < slots + SLOTS; slot++) {
        if (!slot->busy || aio_error(&slot->cb) == EINPROGRESS)
            continue;
        check(aio_return(&slot->cb) == BLOCK, "read");
        check(send(socket, &slot->reply, sizeof slot->reply, 0) == sizeof slot->reply, "send");
        slot->busy = false;
        in_flight--;
        answered++;
    }
    return answered;
}

static int serve(int socket)
{
    int poll = epoll_create1(EPOLL_CLOEXEC), answered = 0;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = socket};
    check(poll >= 0 && epoll_ctl(poll, EPOLL_CTL_ADD, socket, &event) == 0, "epoll");
    event.data.fd = events;
    check(epoll_ctl(poll, EPOLL_CTL_ADD, events, &event) == 0, "epoll");

    bool open = true;
    while (open || in_flight > 0) {
        check(epoll_wait(poll, &event, 1, 30000) == 1, "epoll_wait");
        if (event.data.fd == events) {
            uint64_t completions;
            check(read(events, &completions, sizeof completions) == sizeof completions, "eventfd");
            answered += answer_finished(socket);
            continue;
        }
        uint32_t block;
        ssize_t got = recv(socket, &block, sizeof block, 0);
        if (got == sizeof block) {
            start(block);
        } else {
            check(got == 0, "recv");
            open = false;
            check(epoll_ctl(poll, EPOLL_CTL_DEL, socket, NULL) == 0, "epoll");
        }
    }
    return answered;
}

/* Keeps SLOTS questions open; answers may come in any order. */
static void *client(void *argument)
{
    int socket = *(int *)argument;
    static int right;
    static struct reply reply;
    int asked = 0, got = 0;

    while (got < QUESTIONS) {
        while (asked < QUESTIONS && asked - got < SLOTS) {
            uint32_t block = (uint32_t)asked++ * 37 % BLOCKS;
            check(send(socket, &block, sizeof block, 0) == sizeof block, "send");
        }
        check(recv(socket, &reply, sizeof reply, 0) == sizeof reply, "recv");
        got++;
        right += is_filled(reply.data, BLOCK, (off_t)reply.block * BLOCK);
    }
    shutdown(socket, SHUT_WR);
    return &right;
}

int main(void)
{
    int pair[2];
    void *right;
    pthread_t thread;
    file = filled_file(BLOCKS * BLOCK);
    events = eventfd(0, EFD_CLOEXEC);
    check(events >= 0, "eventfd");
    check(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0, "socketpair");
    check(pthread_create(&thread, NULL, client, &pair[1]) == 0, "pthread_create");

    int answered = serve(pair[0]);
    check(pthread_join(thread, &right) == 0, "pthread_join");
    printf("epoll_loop: %d questions answered, %d right\n", answered, *(int *)right);
    return answered != QUESTIONS || *(int *)right != QUESTIONS;
}
