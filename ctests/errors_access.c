/* errors_access.c - what a descriptor is not open for, and offsets that cannot be: the same errors as read(2),
 * write(2), pread(2) and pwrite(2) give, at once.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"

static char data[64];

static int outcome(bool reads, int fd, size_t bytes, off_t offset)
{
    struct aiocb cb = request(fd, data, bytes, offset);
    CHECK_EQ(reads ? aio_read(&cb) : aio_write(&cb), 0);
    int error = wait_done(&cb);
    CHECK_EQ(aio_return(&cb) == -1, error != 0);
    return error;
}

CASE(7, a_negative_offset_on_what_cannot_seek, GLIBC_OK, 30)
{
    static const enum stream kinds[] = {PIPE, FIFO, UNIX_SOCKET, TCP_SOCKET, PTY_SLAVE, PTY_MASTER};
    for (size_t k = 0; k < COUNT(kinds); k++) {
        struct ends ends = open_stream(kinds[k]);
        write_all(ends.writer, "data\n", 5);
        for (size_t bytes = 0; bytes < 5; bytes += 4) {
            CHECK_EQ(outcome(true, ends.reader, bytes, -1), EINVAL);
            CHECK_EQ(outcome(false, ends.writer, bytes, INT64_MIN), EINVAL);
        }
        CHECK_EQ(outcome(true, ends.reader, 5, INT64_MAX), 0);
        CHECK(memcmp(data, "data\n", 5) == 0, "kind %d: something was consumed", (int)k);
    }
    int counter = eventfd(3, 0), nowhere = open("/dev/null", O_RDWR), file = temp_file(ON_DISK, 100, 1, O_APPEND);
    CHECK_EQ(outcome(true, counter, 8, -1), EINVAL);
    CHECK_EQ(outcome(false, counter, 8, -1), EINVAL);
    CHECK_EQ(outcome(true, counter, 8, 5), 0);
    CHECK_EQ(outcome(true, nowhere, 8, -1), EINVAL);
    CHECK_EQ(outcome(true, file, 8, -1), EINVAL);
    CHECK_EQ(outcome(false, file, 8, -1), EINVAL);
    struct ends ends = open_stream(UNIX_SOCKET);
    SETUP(fcntl(ends.reader, F_SETFL, O_NONBLOCK) == 0);
    CHECK_EQ(outcome(true, ends.reader, 8, -1), EINVAL);
    struct aiocb sync = request(file, NULL, 0, -1); /* which has no offset */
    CHECK_EQ(aio_fsync(O_SYNC, &sync), 0);
    CHECK_DONE(&sync, 0);
}

/* A read of the end of a pipe that is for writing does not wait for that of the other end; nor the reverse. */
CASE(8, the_wrong_end_waits_for_nobody, GLIBC_OK, 30)
{
    static const enum stream kinds[] = {PIPE, FIFO};
    for (size_t k = 0; k < COUNT(kinds); k++) {
        struct ends ends = open_stream(kinds[k]);
        struct aiocb waiting = request(ends.reader, data + 8, 1, 0);
        CHECK_EQ(aio_read(&waiting), 0);
        sleep_ms(20);
        CHECK_EQ(outcome(true, ends.writer, 1, 0), EBADF);
        CHECK_EQ(outcome(true, ends.writer, 0, 0), EBADF);
        CHECK_EQ(aio_error(&waiting), EINPROGRESS);
        write_all(ends.writer, "x", 1);
        CHECK_DONE(&waiting, 1);

        enum { MUCH = 1 << 20 };
        struct aiocb filling = request(ends.writer, pages(MUCH), MUCH, 0);
        CHECK_EQ(aio_write(&filling), 0);
        sleep_ms(20);
        CHECK_EQ(outcome(false, ends.reader, 1, 0), EBADF);
        CHECK_EQ(outcome(false, ends.reader, 0, 0), EBADF);
        CHECK_EQ(aio_error(&filling), EINPROGRESS);
        read_all(ends.reader, pages(MUCH), MUCH);
        CHECK_DONE(&filling, MUCH);
    }
}

/* Every way to open a thing, by what the system calls say of it. */
CASE(8, errors_are_those_of_the_system_calls, GLIBC_OK, 60)
{
    char file[100], fifo[100];
    snprintf(file, sizeof file, "%s/ctest-file-%d", place_path(ON_DISK), (int)getpid());
    snprintf(fifo, sizeof fifo, "%s/ctest-fifo-%d", place_path(ON_DISK), (int)getpid());
    SETUP(mkfifo(fifo, 0600) == 0);
    int made = open(file, O_CREAT | O_RDWR, 0600), keeps = open(fifo, O_RDWR);
    SETUP(made >= 0 && keeps >= 0 && write(made, "0123456789", 10) == 10);
    const char *const paths[] = {file, fifo, "/", "/dev/null", "/dev/zero", "/dev/tty", "/proc/self/maps"};
    static const int modes[] = {O_RDONLY, O_WRONLY, O_RDWR, O_ACCMODE, O_PATH, O_RDONLY | O_DIRECTORY};
    int compared = 0;
    for (size_t p = 0; p < COUNT(paths); p++)
        for (size_t m = 0; m < COUNT(modes); m++)
            for (size_t bytes = 0; bytes < 2; bytes++)
                for (int reads = 0; reads < 2; reads++) {
                    int fd = open(paths[p], modes[m] | O_NONBLOCK | O_NOCTTY);
                    if (fd < 0)
                        continue;
                    SETUP((modes[m] & O_PATH) || fcntl(fd, F_SETFL, 0) == 0);
                    if (paths[p] == fifo && write(keeps, "xy", 2) < 0)
                        SETUP(false, "filling the FIFO");
                    ssize_t got = reads ? pread(fd, data, bytes, 0) : pwrite(fd, data, bytes, 0);
                    if (got < 0 && errno == ESPIPE)
                        got = reads ? read(fd, data, bytes) : write(fd, data, bytes);
                    int expected = got < 0 ? errno : 0;
                    int error = outcome(reads, fd, bytes, 0);
                    CHECK(error == expected, "%s of %zu, %s opened with %#x: %d, expected %d", reads ? "read" : "write",
                          bytes, paths[p], (unsigned)modes[m], error, expected);
                    compared++;
                    close(fd);
                    if (paths[p] == fifo) { /* empty it again */
                        SETUP(fcntl(keeps, F_SETFL, O_NONBLOCK) == 0);
                        while (read(keeps, data, sizeof data) > 0) { }
                        SETUP(fcntl(keeps, F_SETFL, 0) == 0);
                    }
                }
    unlink(file), unlink(fifo);
    CHECK(compared > 60, "only %d were compared", compared);
}
