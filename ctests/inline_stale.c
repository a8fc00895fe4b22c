/* inline_stale.c - a number, or an open file, that has changed since the library learnt what it is: the calling thread
 * waits for nothing, and gets no signal.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "gate.h"

enum { BYTES = 4096, TIMES = 4 };

/* So often that it is known what the number stands for. */
static void use(int fd, int flags)
{
    static unsigned char data[BYTES];
    for (int i = 0; i < TIMES; i++) {
        struct aiocb cb = request(fd, data, BYTES, flags & O_APPEND ? 0 : i * BYTES);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, BYTES);
    }
}

/* fclose closes inside the C library, which nobody is told of. */
CASE(4, the_number_of_a_file_in_memory_is_one_that_waits, GLIBC_OK | NEEDS_ROOT, 30)
{
    struct gate *gate = gate_start();
    char path[200];
    snprintf(path, sizeof path, "%s/ctest-stale-%d", place_path(ON_TMPFS), (int)getpid());
    for (int i = 0; i < TIMES; i++) {
        FILE *stream = fopen(path, "w+");
        SETUP(stream != NULL && unlink(path) == 0);
        int number = fileno(stream);
        use(number, 0);
        int rule = gate_hold(gate, GATE_READ, i, 0, GATE_BYTES);
        int moved = gate_open(i, O_RDONLY);
        fclose(stream);
        SETUP(fcntl(moved, F_DUPFD, 0) == number, "another number");
        static unsigned char data[512];
        struct aiocb cb = request(number, data, sizeof data, 0);
        CHECK_EQ(aio_read(&cb), 0); /* it returns */
        CHECK_EQ(aio_error(&cb), EINPROGRESS);
        gate_release(gate, rule);
        CHECK_DONE(&cb, sizeof data);
        close(number);
        close(moved);
    }
}

/* O_APPEND is set after the library has looked: the write ends beyond the limit, wherever its offset says. */
static atomic_int signals;
static void too_large(int signo) { (void)signo, signals++; }
static void appends_to(int fd)
{
    signal(SIGXFSZ, too_large);
    use(fd, 0);
    SETUP(fcntl(fd, F_SETFL, O_APPEND) == 0);
    set_limit(RLIMIT_FSIZE, TIMES * BYTES);
    for (int i = 0; i < TIMES; i++) {
        struct aiocb cb = request(fd, "x", 1, 0);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_ENDS(&cb, EFBIG);
    }
    CHECK_EQ(signals, 0);
}
CASE(8, o_append_set_later_beyond_the_size_limit_in_memory, GLIBC_OK, 20) { appends_to(memfd_create("ctest", MFD_CLOEXEC)); }
CASE(8, o_append_set_later_beyond_the_size_limit_on_tmpfs, GLIBC_OK, 20) { appends_to(temp_file(ON_TMPFS, 0, 0, 0)); }
CASE(8, o_append_set_later_beyond_the_size_limit_on_disk, GLIBC_OK, 20) { appends_to(temp_file(ON_DISK, 0, 0, 0)); }
