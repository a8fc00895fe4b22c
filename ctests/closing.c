/* closing.c - what else a close does, or must not do: take long, hold up others, end a FIFO, keep a file open.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "gate.h"
#include <sys/file.h>

/* ---- how long it takes ------------------------------------------------------------------------------------------- */

static int64_t processor_ns(void)
{
    struct timespec used;
    SETUP(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) == 0);
    return (int64_t)used.tv_sec * 1000000000 + used.tv_nsec;
}

/* A request on a number that no descriptor can have does not make the close of all descriptors look at so many: that takes
 * seconds of a processor's time each. */
CASE(18, closing_all_after_a_request_on_a_huge_number, GLIBC_OK, 30)
{
    enum { UNTIL = 500 };
    struct ends ends = open_stream(PIPE);
    int writer = fcntl(ends.writer, F_DUPFD_CLOEXEC, 10), reader = fcntl(ends.reader, F_DUPFD_CLOEXEC, UNTIL);
    unsigned char byte[2];
    SETUP(writer >= 0 && writer < 100 && reader >= UNTIL);
    struct aiocb bad = request(INT_MAX, byte, 1, 0), waits = request(reader, byte, 1, 0);
    CHECK_EQ(aio_read(&bad), 0);
    CHECK_ENDS(&bad, EBADF);
    CHECK_EQ(aio_read(&waits), 0);
    settle(); /* glibc: let its thread be inside read(2) */
    int64_t before = processor_ns();
    CHECK_EQ(close_range(UNTIL, ~0u, 0), 0);
    closefrom(100);
    int64_t used = processor_ns() - before;
    CHECK(used < 1000000000, "%lld ms", (long long)used / 1000000);
    write_all(writer, "x", 1);
    CHECK_DONE(&waits, 1);
}

/* The last close of a socket that lingers takes until its data is sent, here for ever. That it falls to the library, when the
 * read ends that kept the socket open, is nobody else's loss. */
CASE(18, a_lingering_socket_holds_up_no_others, SHIM_ONLY, 30)
{
    struct ends ends = open_stream(TCP_SOCKET), other = open_stream(PIPE);
    struct linger linger = {1, 60};
    char text[8] = "", waited[8], data[512] = "";
    int file = temp_file(ON_DISK, 0, 0, 0);
    SETUP(setsockopt(ends.reader, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) == 0);
    fill_up(ends.reader);
    struct aiocb cb = request(ends.reader, text, sizeof text, 0), waits = request(other.reader, waited, 1, 0);
    struct aiocb local = request(file, data, sizeof data, 0);
    CHECK_EQ(aio_read(&cb), 0);
    settle();
    CHECK_EQ(close(ends.reader), 0);
    CHECK_EQ(aio_read(&waits), 0);
    write_all(ends.writer, "hello", 5);
    CHECK_DONE(&cb, 5);
    sleep_ms(100); /* now the socket is being closed */
    CHECK_EQ(aio_write(&local), 0);
    CHECK_DONE(&local, sizeof data);
    CHECK_EQ(aio_cancel(other.reader, &waits), AIO_CANCELED);
    CHECK_ENDS(&waits, ECANCELED);
    CHECK_EQ(aio_read(&waits), 0);
    write_all(other.writer, "x", 1);
    CHECK_DONE(&waits, 1);
    close(ends.writer); /* which is the end of the lingering */
}

/* ---- what stays open, and what does not --------------------------------------------------------------------------- */

/* A FIFO opened for both: with a request outstanding it keeps its reader and its writer. */
static int open_fifo(char *path, size_t bytes)
{
    snprintf(path, bytes, "%s/closing-%d-%lld", place_path(ON_TMPFS), (int)getpid(), (long long)now_ns());
    SETUP(mkfifo(path, 0600) == 0, "%s", path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    SETUP(fd >= 0);
    return fd;
}
static void take_away(int fd, bool by_dup2)
{
    if (by_dup2) {
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        SETUP(null >= 0);
        CHECK_EQ(dup2(null, fd), fd);
        close(null);
    } else {
        CHECK_EQ(close(fd), 0);
    }
}
static void fifo_read(bool by_dup2)
{
    char path[4096], text[8] = "";
    int fd = open_fifo(path, sizeof path);
    struct aiocb cb = request(fd, text, sizeof text, 0);
    CHECK_EQ(aio_read(&cb), 0);
    settle(); /* glibc: let its thread be inside read(2) */
    take_away(fd, by_dup2);
    settle();
    int writer = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC), error = errno;
    unlink(path);
    CHECK_EQ(aio_error(&cb), EINPROGRESS);
    CHECK(writer >= 0, "no reader for a writer: errno %d", error);
    write_all(writer, "hello", 5);
    CHECK_DONE(&cb, 5);
    CHECK(strcmp(text, "hello") == 0, "%s", text);
    close(writer);
}
static void fifo_write(bool by_dup2)
{
    char path[4096], text[8] = "hello", seen[8] = "";
    static char much[1 << 17];
    int fd = open_fifo(path, sizeof path);
    ssize_t full = (ssize_t)fill_up(fd);
    SETUP(full > 0 && full <= (ssize_t)sizeof much);
    struct aiocb cb = request(fd, text, 5, 0);
    CHECK_EQ(aio_write(&cb), 0);
    settle();
    take_away(fd, by_dup2);
    settle();
    int reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    unlink(path);
    SETUP(reader >= 0);
    CHECK_EQ(aio_error(&cb), EINPROGRESS);
    ssize_t got = read(reader, much, (size_t)full);
    CHECK(got == full, "%zd of %zd bytes are left", got, full);
    CHECK_DONE(&cb, 5);
    CHECK_EQ(read(reader, seen, sizeof seen), 5);
    CHECK(strcmp(seen, "hello") == 0, "%s", seen);
    close(reader);
}
CASE(18, a_read_keeps_a_closed_fifo_of_both_ways, GLIBC_RACY, 20) { fifo_read(false); }
CASE(18, a_read_keeps_a_replaced_fifo_of_both_ways, GLIBC_RACY, 20) { fifo_read(true); }
CASE(18, a_write_keeps_a_closed_fifo_of_both_ways, GLIBC_RACY, 20) { fifo_write(false); }
CASE(18, a_write_keeps_a_replaced_fifo_of_both_ways, GLIBC_RACY, 20) { fifo_write(true); }

/* A closed file is let go, and its lock with it, when its last request has ended, not when the library's threads have had
 * nothing to do for long. */
CASE(18, a_closed_file_is_let_go_with_its_last_request, GLIBC_DEFECT | NEEDS_ROOT, 30)
{
    enum { BYTES = 512 };
    with_environment("AIO_SHIM_IDLE", "60");
    struct gate *gate = gate_start();
    unsigned char data[BYTES] = {0}, in[BYTES];
    for (int round = 0; round < 3; round++) {
        int first = gate_hold(gate, GATE_WRITE, 0, 0, BYTES), second = gate_hold(gate, GATE_READ, 0, 0, BYTES);
        int fd = gate_open(0, O_RDWR), other = gate_open(0, O_RDWR);
        SETUP(flock(fd, LOCK_EX | LOCK_NB) == 0);
        struct aiocb writes = request(fd, data, BYTES, 0), reads = request(fd, in, BYTES, 0);
        CHECK_EQ(aio_write(&writes), 0);
        CHECK_EQ(aio_read(&reads), 0);
        WAIT_FOR(gate_arrived(gate, GATE_WRITE, 0, 0, BYTES) == round + 1);
        CHECK_EQ(close(fd), 0);
        gate_release(gate, first);
        CHECK_DONE(&writes, BYTES);
        WAIT_FOR(gate_arrived(gate, GATE_READ, 0, 0, BYTES) == round + 1 || aio_error(&reads) != EINPROGRESS);
        CHECK_EQ(aio_error(&reads), EINPROGRESS); /* begun after the close */
        CHECK(flock(other, LOCK_EX | LOCK_NB) == -1, "closed with a request outstanding");
        settle(); /* the library has nothing else to do */
        gate_release(gate, second);
        CHECK_DONE(&reads, BYTES);
        WAIT_FOR(flock(other, LOCK_EX | LOCK_NB) == 0, "round %d: the lock is held", round);
        close(other);
    }
}

/* ---- what was given to a thread --------------------------------------------------------------------------------- */

/* The page of a buffer is not there until the gate lets it in, so that who writes from it waits. */
struct slow_page {
    struct gate *gate;
    int rule;
};
static void *let_in_soon(void *argument)
{
    struct slow_page *page = argument;
    sleep_ms(150);
    gate_release(page->gate, page->rule);
    return NULL;
}

/* Writes that come while the library cannot carry on, and the close of their file with them: it then hands them to others
 * all at once, and must not take those it has not handed over yet for begun. */
CASE(18, writes_that_change_hands_are_made_in_their_file, GLIBC_RACY | NEEDS_ROOT, 60)
{
    enum { ROUNDS = 4, WRITES = 60, BYTES = 512, PAGE = 4096 };
    static struct aiocb writes[WRITES];
    static unsigned char data[WRITES][BYTES], found[BYTES];
    struct gate *gate = gate_start();
    int source = gate_open(0, O_RDONLY), stalled = temp_file(ON_DISK, 0, 0, 0);
    unsigned char *buffer = mmap(NULL, ROUNDS * PAGE, PROT_READ, MAP_PRIVATE, source, 0);
    SETUP(buffer != MAP_FAILED && madvise(buffer, ROUNDS * PAGE, MADV_RANDOM) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        int64_t at = round * PAGE;
        struct slow_page page = {gate, gate_hold(gate, GATE_READ, 0, at, at + PAGE)};
        int fd = temp_file(ON_DISK, 0, 0, 0), same = fcntl(fd, F_DUPFD_CLOEXEC, 100);
        SETUP(same >= 0);
        struct aiocb slow = request(stalled, buffer + at, PAGE, at);
        CHECK_EQ(aio_write(&slow), 0);
        WAIT_FOR(gate_arrived(gate, GATE_READ, 0, at, at + PAGE) > 0);
        for (int i = 0; i < WRITES; i++) {
            pattern_fill(data[i], BYTES, (size_t)i * BYTES, (unsigned)round);
            writes[i] = request(fd, data[i], BYTES, i * BYTES);
            CHECK_EQ(aio_write(&writes[i]), 0);
        }
        pthread_t thread = start_thread(let_in_soon, &page);
        CHECK_EQ(close(fd), 0);
        int other = temp_file(ON_DISK, 0, 0, 0);
        SETUP(other == fd);
        for (int i = 0; i < WRITES; i++) {
            CHECK_DONE(&writes[i], BYTES);
            CHECK_EQ(pread(same, found, BYTES, i * BYTES), BYTES);
            CHECK(pattern_wrong(found, BYTES, (size_t)i * BYTES, (unsigned)round) < 0, "round %d, write %d", round, i);
        }
        CHECK_DONE(&slow, PAGE);
        CHECK_EQ(lseek(other, 0, SEEK_END), 0);
        join_thread(thread);
        close(other);
        close(same);
    }
}
