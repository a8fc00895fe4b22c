/* order_append.c - O_APPEND: every write lands behind all that were called before it.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"

enum { APPENDS = 2000 };

/* Records of changing length, each with its number: the file must be their concatenation. */
static void appends_in_call_order(enum place where, bool through_dup, size_t smallest, size_t largest, size_t unit)
{
    int fd = temp_file(where, 0, 0, O_APPEND), again = dup(fd);
    int plain = fd;
    static struct aiocb cb[APPENDS];
    static size_t begin[APPENDS + 1];
    uint64_t state = chance_seed();
    SETUP(again >= 0);
    for (int i = 0; i < APPENDS; i++)
        begin[i + 1] = begin[i] + (smallest + below(&state, largest - smallest + 1)) / unit * unit;
    unsigned char *data = pages(begin[APPENDS]), *found = pages(begin[APPENDS]);
    pattern_fill(data, begin[APPENDS], 0, 21);
    for (int i = 0; i < APPENDS; i++) {
        cb[i] = request(through_dup && i % 2 ? again : fd, data + begin[i], begin[i + 1] - begin[i], 0);
        CHECK_EQ(aio_write(&cb[i]), 0);
    }
    for (int i = 0; i < APPENDS; i++)
        CHECK_DONE(&cb[i], begin[i + 1] - begin[i]);
    struct stat is;
    SETUP(fstat(plain, &is) == 0);
    CHECK_EQ(is.st_size, begin[APPENDS]);
    for (size_t at = 0; at < begin[APPENDS]; at += unit * 4096) {
        size_t part = begin[APPENDS] - at < unit * 4096 ? begin[APPENDS] - at : unit * 4096;
        CHECK_EQ(pread(plain, found + at, part, (off_t)at), part);
    }
    for (int i = 0; i < APPENDS; i++)
        CHECK(memcmp(found + begin[i], data + begin[i], begin[i + 1] - begin[i]) == 0, "append %d is not in its place", i);
}

CASE(14, buffered_appends_land_in_call_order, GLIBC_OK, 30) { appends_in_call_order(ON_DISK, false, 1, 3000, 1); }
CASE(14, appends_on_tmpfs_land_in_call_order, GLIBC_OK, 30) { appends_in_call_order(ON_TMPFS, false, 1, 3000, 1); }
CASE(14, direct_appends_land_in_call_order, GLIBC_OK, 60) { appends_in_call_order(DIRECT, false, 4096, 12288, 4096); }
CASE(14, appends_through_dup_land_in_call_order, GLIBC_RACY, 30) { appends_in_call_order(ON_DISK, true, 1, 3000, 1); }

/* A list of appends may go in any order, yet each element is written once and whole. */
CASE(14, appends_of_a_list_are_each_written_once, GLIBC_OK, 30)
{
    enum { ELEMENTS = 500, BYTES = 64 };
    int fd = temp_file(ON_DISK, 0, 0, O_APPEND);
    static struct aiocb cb[ELEMENTS], *list[ELEMENTS];
    static char data[ELEMENTS][BYTES], found[ELEMENTS][BYTES], seen[ELEMENTS];
    for (int i = 0; i < ELEMENTS; i++) {
        memset(data[i], '.', BYTES);
        memcpy(data[i], &i, sizeof i);
        cb[i] = request(fd, data[i], BYTES, 0);
        cb[i].aio_lio_opcode = LIO_WRITE;
        list[i] = &cb[i];
    }
    CHECK_EQ(lio_listio(LIO_WAIT, list, ELEMENTS, NULL), 0);
    CHECK_EQ(pread(fd, found, sizeof found, 0), sizeof found);
    for (int i = 0; i < ELEMENTS; i++) {
        int number;
        memcpy(&number, found[i], sizeof number);
        CHECK(number >= 0 && number < ELEMENTS && !seen[number], "record %d has number %d", i, number);
        CHECK(memcmp(found[i], data[number], BYTES) == 0, "record %d is torn", i);
        seen[number] = 1;
    }
}

/* What is appended can be read by a request made after it. */
CASE(15, a_read_behind_an_append_sees_it, GLIBC_OK, 30)
{
    enum { ROUNDS = 500, BYTES = 512 };
    int fd = temp_file(ON_DISK, 0, 0, O_APPEND);
    static struct aiocb out[ROUNDS], in[ROUNDS];
    static unsigned char data[ROUNDS][BYTES], found[ROUNDS][BYTES];
    for (int i = 0; i < ROUNDS; i++) {
        pattern_fill(data[i], BYTES, (size_t)i * BYTES, 5);
        out[i] = request(fd, data[i], BYTES, 0);
        in[i] = request(fd, found[i], BYTES, i * BYTES);
        CHECK_EQ(aio_write(&out[i]), 0);
        CHECK_EQ(aio_read(&in[i]), 0);
    }
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_DONE(&out[i], BYTES);
        CHECK_DONE(&in[i], BYTES);
        CHECK(memcmp(found[i], data[i], BYTES) == 0, "read %d", i);
    }
}
