/* order_reused.c - order by file where a number has come to mean another file without close(): fclose and freopen
 * close inside the C library, so nobody is told.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"

enum { ROUNDS = 40, BYTES = 16 << 20, PART = 4096 };

static char *fresh_file(const char *name)
{
    static char paths[2][200];
    static int next;
    char *path = paths[next++ % 2];
    snprintf(path, sizeof paths[0], "%s/ctest-%s-%d", place_path(ON_DISK), name, (int)getpid());
    char old[PART];
    memset(old, 'o', PART);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    SETUP(fd >= 0 && pwrite(fd, old, PART, 0) == PART, "%s", path);
    close(fd);
    return path;
}

/* A number is used for one file, and then for another. Of a write and a read of the second one, one goes through that
 * number and the other through a descriptor of its own: the read sees what the write wrote. */
static void a_number_of_another_file(bool reopened, bool by_the_reader)
{
    static struct aiocb cb[2];
    char *data = pages(BYTES), part[PART];
    int stale = 0;
    memset(data, 'n', BYTES);
    for (int i = 0; i < ROUNDS; i++) {
        char *first = fresh_file("first"), *second = fresh_file("second");
        FILE *stream = fopen(first, "r+");
        SETUP(stream != NULL);
        int number = fileno(stream);
        cb[0] = request(number, part, PART, 0);
        CHECK_EQ(aio_read(&cb[0]), 0);
        CHECK_DONE(&cb[0], PART);
        int again;
        if (reopened) {
            stream = freopen(second, "r+", stream);
            SETUP(stream != NULL);
            again = fileno(stream);
        } else {
            fclose(stream);
            again = open(second, O_RDWR);
        }
        SETUP(again == number, "%d is not %d", again, number);
        int other = open(second, O_RDWR);
        SETUP(other >= 0);
        cb[0] = request(by_the_reader ? other : again, data, BYTES, 0);
        cb[1] = request(by_the_reader ? again : other, part, PART, 0);
        memset(part, 0, PART);
        CHECK_EQ(aio_write(&cb[0]), 0);
        if (i % 2)
            sleep_ms(1); /* the write has been taken over */
        CHECK_EQ(aio_read(&cb[1]), 0);
        CHECK_DONE(&cb[1], PART);
        stale += part[0] != 'n' || part[PART - 1] != 'n';
        CHECK_DONE(&cb[0], BYTES);
        reopened ? fclose(stream) : close(again);
        close(other);
        unlink(first), unlink(second);
    }
    CHECK_EQ(stale, 0);
}
CASE(15, a_write_by_the_number_of_a_file_that_fclose_closed, GLIBC_RACY, 120) { a_number_of_another_file(false, false); }
CASE(15, a_write_by_the_number_of_a_file_that_freopen_closed, GLIBC_RACY, 120) { a_number_of_another_file(true, false); }
CASE(15, a_read_by_the_number_of_a_file_that_fclose_closed, GLIBC_RACY, 120) { a_number_of_another_file(false, true); }
CASE(15, a_read_by_the_number_of_a_file_that_freopen_closed, GLIBC_RACY, 120) { a_number_of_another_file(true, true); }
