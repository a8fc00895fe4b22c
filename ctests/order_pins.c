/* order_pins.c - requests that stay with their open file, in numbers and in odd states; and whose copies are whose after
 * fork and vfork. SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"
#include <linux/close_range.h>

/* ---- what the ring refuses is tried again, and not with the number's next owner ---------------------------------- */

CASE(18, a_refused_direct_write_goes_to_no_other_file, GLIBC_RACY, 30)
{
    char a[4096], b[4096];
    unsigned char *data = pages(8192);
    snprintf(a, sizeof a, "%s/pins-a-%d", place_path(ON_DISK), (int)getpid());
    snprintf(b, sizeof b, "%s/pins-b-%d", place_path(ON_DISK), (int)getpid());
    for (int i = 0; i < 200; i++) {
        struct stat now;
        int first = open(a, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
        SETUP(first >= 0);
        struct aiocb cb = request(first, data + 1, 100, 0); /* misaligned in every way */
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_EQ(close(first), 0);
        int second = open(b, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        SETUP(second == first);
        CHECK_ENDS(&cb, EINVAL);
        SETUP(fstat(second, &now) == 0);
        CHECK(now.st_size == 0, "round %d: %lld bytes in a file that nobody wrote to", i, (long long)now.st_size);
        close(second);
    }
    unlink(a);
    unlink(b);
}

/* ---- hundreds of waiting requests, each on a descriptor of its own ------------------------------------------------ */

enum { PIPES = 400, HIGH = 10000 };
static struct aiocb cb[PIPES];
static char byte[PIPES];
static int writers[PIPES];

static void wait_on_many_pipes(void)
{
    struct rlimit limit = {20000, 20000};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        SKIP("RLIMIT_NOFILE cannot be 20000");
    for (int i = 0; i < PIPES; i++) {
        int ends[2];
        SETUP(pipe2(ends, O_CLOEXEC) == 0);
        SETUP((writers[i] = fcntl(ends[1], F_DUPFD_CLOEXEC, HIGH)) >= HIGH);
        close(ends[1]);
        cb[i] = request(ends[0], &byte[i], 1, 0);
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    settle();
}
static void feed_many_pipes(void)
{
    for (int i = 0; i < PIPES; i++)
        SETUP(write(writers[i], "p", 1) == 1);
    for (int i = 0; i < PIPES; i++) {
        CHECK_DONE(&cb[i], 1);
        CHECK(byte[i] == 'p', "read %d got '%c'", i, byte[i]);
    }
}
CASE(18, four_hundred_waiting_reads_survive_close_range, GLIBC_DEFECT, 60)
{
    wait_on_many_pipes();
    CHECK_EQ(close_range(3, HIGH - 1, 0), 0);
    feed_many_pipes();
}
CASE(18, four_hundred_waiting_reads_survive_closefrom, GLIBC_DEFECT, 60)
{
    wait_on_many_pipes();
    for (int i = 0; i < PIPES; i++) /* closefrom leaves nothing: what feeds is below */
        SETUP(dup2(writers[i], 500 + i) == 500 + i && (writers[i] = 500 + i));
    for (int i = 3; i < 500; i++)
        close(i);
    closefrom(500 + PIPES);
    feed_many_pipes();
}
/* Nor does the library take the program's numbers for its own, once they were closed and made anew. */
CASE(18, the_programs_own_descriptors_are_left_alone, GLIBC_DEFECT, 60)
{
    wait_on_many_pipes();
    CHECK_EQ(close_range(3, HIGH - 1, 0), 0);
    int ends[2], own[64];
    SETUP(pipe2(ends, O_CLOEXEC) == 0);
    for (size_t i = 0; i < COUNT(own); i++) {
        SETUP((own[i] = fcntl(ends[0], F_DUPFD_CLOEXEC, 3000)) >= 3000);
        SETUP(write(ends[1], "Q", 1) == 1);
    }
    feed_many_pipes();
    settle();
    for (size_t i = 0; i < COUNT(own); i++)
        CHECK(fcntl(own[i], F_GETFD) >= 0, "descriptor %d was closed", own[i]);
    CHECK_EQ(readable_bytes(ends[0]), COUNT(own));
}

/* ---- a dup3 that is refused replaces nothing ----------------------------------------------------------------------- */

CASE(18, a_refused_dup3_detaches_nothing, SHIM_ONLY, 20)
{
    struct ends ends = open_stream(PIPE);
    char data;
    struct aiocb waiting = request(ends.reader, &data, 1, 0);
    CHECK_EQ(aio_read(&waiting), 0);
    settle();
    CHECK_FAILS(dup3(ends.writer, ends.reader, O_APPEND), EINVAL);
    CHECK_FAILS(dup3(9999, ends.reader, 0), EBADF);
    CHECK_EQ(aio_cancel(ends.reader, NULL), AIO_CANCELED);
    CHECK_ENDS(&waiting, ECANCELED);
}

/* ---- children ------------------------------------------------------------------------------------------------------- */

/* What every fork-and-exec helper does: the child shares the parent's memory, not its descriptors. */
CASE(41, a_child_of_vfork_closes_only_its_own, SHIM_ONLY, 20)
{
    wait_on_many_pipes();
    CHECK_EQ(aio_cancel(cb[1].aio_fildes, &cb[1]), AIO_CANCELED); /* the answer comes when all was looked at ... */
    CHECK_ENDS(&cb[1], ECANCELED);
    CHECK_EQ(aio_read(&cb[1]), 0);
    int before = open_descriptors(); /* ... and the library has its own descriptors */
    pid_t child = vfork();
    if (child == 0) {
        close(cb[0].aio_fildes);
        dup2(0, cb[1].aio_fildes);
        close_range(3, ~0u, 0);
        execl("/bin/true", "true", (char *)NULL);
        _exit(99);
    }
    CHECK_CHILD(child);
    CHECK_EQ(open_descriptors(), before);
    CHECK_EQ(aio_cancel(cb[0].aio_fildes, NULL), AIO_CANCELED);
    CHECK_ENDS(&cb[0], ECANCELED);
    cb[0] = request(cb[0].aio_fildes, &byte[0], 1, 0);
    CHECK_EQ(aio_read(&cb[0]), 0);
    feed_many_pipes();
}

/* A child that closes everything closes what the library holds in its name, too: the peer of a socket sees the end. */
static void child_that_closes(void (*close_all)(void))
{
    struct ends ends = open_stream(UNIX_SOCKET);
    int ready[2];
    char data[4];
    struct aiocb waiting = request(ends.reader, data, 4, 0);
    SETUP(pipe2(ready, O_CLOEXEC) == 0);
    CHECK_EQ(aio_read(&waiting), 0);
    settle();
    close(ends.reader); /* from here on a copy of the library's holds it */
    pid_t child = fork();
    if (child == 0) {
        close_all();
        /* and the numbers are the child's to use */
        CHECK(dup2(0, 3000) == 3000, "dup2");
        close(3000);
        pause();
    }
    close(ready[1]);
    struct pollfd poll_ready = {ready[0], POLLIN, 0};
    SETUP(poll(&poll_ready, 1, 10000) == 1); /* the child has closed everything */
    write_all(ends.writer, "abcd", 4);
    CHECK_DONE(&waiting, 4);
    struct pollfd peer = {ends.writer, POLLIN | POLLRDHUP, 0};
    int told = poll(&peer, 1, 5000);
    int status;
    CHECK(waitpid(child, &status, WNOHANG) == 0, "the child has ended: %x", status);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    CHECK(told == 1, "the child still holds the socket");
}
static void by_closefrom(void) { closefrom(3); }
static void by_close_range(void) { close_range(3, ~0u, 0); }
static void one_by_one(void)
{
    for (int i = 3; i < 5000; i++)
        close(i);
}
CASE(41, a_child_that_calls_closefrom_lets_go, GLIBC_RACY, 20) { child_that_closes(by_closefrom); }
CASE(41, a_child_that_calls_close_range_lets_go, GLIBC_RACY, 20) { child_that_closes(by_close_range); }
CASE(41, a_child_that_closes_one_by_one_lets_go, GLIBC_RACY, 20) { child_that_closes(one_by_one); }

/* A child that uses AIO itself closes the rest of what it inherited, and nothing that it made since. */
CASE(41, a_child_that_uses_aio_keeps_its_own, GLIBC_OK, 20)
{
    struct ends ends = open_stream(UNIX_SOCKET);
    char data[4];
    struct aiocb waiting = request(ends.reader, data, 4, 0);
    CHECK_EQ(aio_read(&waiting), 0);
    settle();
    if (!on_glibc())
        close(ends.reader);
    pid_t child = fork();
    if (child == 0) {
        int own[2];
        char got;
        closefrom(3);
        SETUP(pipe2(own, O_CLOEXEC) == 0);
        for (int i = 3000; i < 3100; i++)
            SETUP(dup2(own[0], i) == i);
        struct aiocb first = request(3050, &got, 1, 0);
        CHECK_EQ(aio_read(&first), 0);
        SETUP(write(own[1], "x", 1) == 1);
        CHECK_DONE(&first, 1);
        for (int i = 3000; i < 3100; i++)
            CHECK(fcntl(i, F_GETFD) >= 0, "descriptor %d was closed", i);
        _exit(0);
    }
    CHECK_CHILD(child);
    write_all(ends.writer, "abcd", 4);
    CHECK_DONE(&waiting, 4);
}
