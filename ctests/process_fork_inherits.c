/* process_fork_inherits.c - a child of fork() that uses no AIO keeps nothing of the parent's requests open: where the
 * library holds a descriptor of its own for a request, the child has no copy of it.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"

/* Reads to the end of the file; returns how much there was, -1 when the end does not come. */
static ssize_t read_to_the_end(int fd)
{
    static char piece[1 << 16];
    for (ssize_t sum = 0;;) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        if (poll(&ready, 1, (int)(patience_ns() / 1000000)) != 1)
            return -1;
        ssize_t got = read(fd, piece, sizeof piece);
        if (got <= 0)
            return got < 0 ? -1 : sum;
        sum += got;
    }
}

/* A request on a FIFO has a second open file. The child that reads must see the end of the file all the same, when
 * the parent is done. */
CASE(41, a_child_reads_what_its_parent_writes_to_the_end, GLIBC_OK, 60)
{
    enum { BYTES = 1 << 20 };
    char path[64];
    snprintf(path, sizeof path, "%s/ctest-fifo-%d", place_path(ON_DISK), (int)getpid());
    SETUP(mkfifo(path, 0600) == 0);
    int reader = open(path, O_RDONLY | O_NONBLOCK), writer = open(path, O_WRONLY);
    SETUP(reader >= 0 && writer >= 0 && unlink(path) == 0);
    SETUP(fcntl(reader, F_SETFL, 0) == 0);
    struct aiocb cb = request(writer, pages(BYTES), BYTES, 0);
    CHECK_EQ(aio_write(&cb), 0);
    struct pollfd full = {.fd = writer, .events = POLLOUT};
    WAIT_FOR(poll(&full, 1, 0) == 0);
    sleep_ms(100);
    pid_t child = fork();
    if (child == 0) {
        close(writer);
        CHECK_EQ(read_to_the_end(reader), BYTES);
        _exit(0);
    }
    close(reader);
    CHECK_DONE(&cb, BYTES);
    close(writer);
    CHECK_CHILD(child);
}

/* What a close leaves to its requests: once they are done, the other end sees the end though the child lives on. */
CASE(41, the_other_end_of_a_closed_socket_sees_its_end, GLIBC_OK, 30)
{
    int ends[2], hold[2];
    SETUP(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0 && pipe2(hold, O_CLOEXEC) == 0);
    char byte = 0;
    struct aiocb cb = request(ends[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    sleep_ms(50);
    close(ends[0]);
    pid_t child = fork();
    if (child == 0) {
        close(ends[1]), close(hold[1]);
        _exit(read(hold[0], &byte, 1) != 0); /* until the parent says so */
    }
    CHECK(write(ends[1], "x", 1) == 1);
    int error = wait_done(&cb);
    CHECK(error == 0 || on_glibc(), "the read ended with %d", error); /* glibc may read from a closed number */
    CHECK_EQ(read_to_the_end(ends[1]), 0);
    close(hold[1]);
    CHECK_CHILD(child);
}

/* A table of its own, not the parent's: what the parent waits for goes on, after children that use AIO and others. */
CASE(41, the_parent_keeps_what_its_children_close, GLIBC_DEFECT, 60)
{
    int ends[2];
    SETUP(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    char byte[3];
    struct aiocb cb = request(ends[0], &byte[0], 1, 0), second = request(ends[0], &byte[1], 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_EQ(aio_read(&second), 0);
    close(ends[0]);
    for (int i = 0; i < 6; i++) {
        pid_t child = i % 3 == 2 ? vfork() : fork();
        if (child == 0) {
            if (i % 3 == 1) {
                int file = temp_file(ON_TMPFS, 100, 1, 0);
                struct aiocb mine = request(file, &byte[2], 1, 3);
                CHECK_EQ(aio_read(&mine), 0);
                CHECK_DONE(&mine, 1);
            }
            _exit(0);
        }
        CHECK_CHILD(child);
    }
    CHECK(write(ends[1], "ab", 2) == 2);
    CHECK_DONE(&cb, 1);
    CHECK_DONE(&second, 1);
    CHECK(byte[0] == 'a' && byte[1] == 'b', "%c%c", byte[0], byte[1]);
    CHECK_EQ(read_to_the_end(ends[1]), 0);
}

/* A child has the numbers for itself: what it opens there stays open, whatever it does later. */
CASE(41, a_child_may_use_the_numbers, GLIBC_OK, 30)
{
    enum { MOST = 16 };
    int ends[MOST][2];
    char byte[MOST];
    struct aiocb cb[MOST];
    for (int i = 0; i < MOST; i++) {
        SETUP(socketpair(AF_UNIX, SOCK_STREAM, 0, ends[i]) == 0);
        cb[i] = request(ends[i][0], &byte[i], 1, 0);
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    for (int i = 0; i < MOST; i++)
        if (!on_glibc()) /* which would read from what has the number next */
            close(ends[i][0]);
    pid_t child = fork();
    if (child == 0) {
        int file = temp_file(ON_DISK, 4096, 3, 0);
        for (int number = 2990; number < 3100; number++) {
            CHECK(fcntl(number, F_GETFD) == -1 && errno == EBADF, "%d is open in the child", number);
            CHECK_EQ(dup2(file, number), number);
        }
        struct aiocb mine = request(3000, &byte[0], 1, 100);
        if (!on_glibc()) {
            CHECK_EQ(aio_read(&mine), 0);
            CHECK_DONE(&mine, 1);
            CHECK(byte[0] == (char)pattern_byte(100, 3), "read from another file");
        }
        for (int number = 2990; number < 3100; number++)
            CHECK(fcntl(number, F_GETFD) == 0, "%d was closed", number);
        _exit(0);
    }
    CHECK_CHILD(child);
    for (int i = 0; i < MOST; i++) {
        CHECK(write(ends[i][1], "x", 1) == 1);
        CHECK_DONE(&cb[i], 1);
    }
}
