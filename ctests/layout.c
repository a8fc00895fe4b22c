// Lines 1 to 3: what <aio.h> promised to programs that are compiled already.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include "harness.h"
#include <stddef.h>

_Static_assert(sizeof(struct aiocb) == 168, "these tests are for LP64 Linux");

CASE(1, layout_of_the_structs, GLIBC_OK, 5)
{
    CHECK_EQ(sizeof(struct aiocb), 168);
    CHECK_EQ(sizeof(struct aiocb64), 168);
    CHECK_EQ(offsetof(struct aiocb, aio_fildes), 0);
    CHECK_EQ(offsetof(struct aiocb, aio_lio_opcode), 4);
    CHECK_EQ(offsetof(struct aiocb, aio_reqprio), 8);
    CHECK_EQ(offsetof(struct aiocb, aio_buf), 16);
    CHECK_EQ(offsetof(struct aiocb, aio_nbytes), 24);
    CHECK_EQ(offsetof(struct aiocb, aio_sigevent), 32);
    CHECK_EQ(offsetof(struct aiocb, aio_offset), 128);
    CHECK_EQ(offsetof(struct aiocb64, aio_offset), 128);
    CHECK_EQ(sizeof(struct sigevent), 64);
    CHECK_EQ(sizeof(struct aioinit), 32);
}

CASE(1, values_of_the_constants, GLIBC_OK, 5)
{
    CHECK_EQ(AIO_CANCELED, 0);
    CHECK_EQ(AIO_NOTCANCELED, 1);
    CHECK_EQ(AIO_ALLDONE, 2);
    CHECK_EQ(LIO_READ, 0);
    CHECK_EQ(LIO_WRITE, 1);
    CHECK_EQ(LIO_NOP, 2);
    CHECK_EQ(LIO_WAIT, 0);
    CHECK_EQ(LIO_NOWAIT, 1);
}

/* glibc keeps the error and the result at 112 and 120 of the aiocb; debuggers and some programs look there. */
CASE(19, status_lies_where_glibc_keeps_it, GLIBC_OK, 10)
{
    char buffer[100];
    int fd = temp_file(ON_DISK, 70, 1, 0);
    struct aiocb cb = request(fd, buffer, sizeof buffer, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 70);
    int error;
    long result;
    memcpy(&error, (char *)&cb + 112, sizeof error);
    memcpy(&result, (char *)&cb + 120, sizeof result);
    CHECK_EQ(error, 0);
    CHECK_EQ(result, 70);
}

static const char *const names[] = {
    "aio_read", "aio_write", "aio_fsync", "aio_error", "aio_return", "aio_suspend", "aio_cancel", "lio_listio",
    "aio_read64", "aio_write64", "aio_fsync64", "aio_error64", "aio_return64", "aio_suspend64", "aio_cancel64",
    "lio_listio64", "aio_init",
};

CASE(2, every_name_is_there_and_ours, GLIBC_OK, 5)
{
    const char *library = getenv("AIO_TEST_LIB") ? getenv("AIO_TEST_LIB") : "";
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        Dl_info where;
        void *function = dlsym(RTLD_DEFAULT, names[i]);
        CHECK(function != NULL, "%s", names[i]);
        CHECK(dladdr(function, &where) != 0, "%s", names[i]);
        CHECK((strcmp(where.dli_fname, library) == 0) == !on_glibc(), "%s is in %s", names[i], where.dli_fname);
    }
}

/* A dlsym with a version, as programs do that look for one glibc in particular, must not find ours by accident:
 * it goes on to the C library. */
CASE(2, a_versioned_lookup_does_not_crash, GLIBC_OK, 5)
{
    static const char *const versions[] = {"GLIBC_2.2.5", "GLIBC_2.34", "GLIBC_2.4"};
    for (size_t i = 0; i < 3; i++) {
        int (*ask)(const struct aiocb *) = (int (*)(const struct aiocb *))dlvsym(RTLD_DEFAULT, "aio_error", versions[i]);
        struct aiocb cb;
        memset(&cb, 0, sizeof cb);
        if (ask)
            CHECK_EQ(ask(&cb), 0);
    }
}

CASE(2, aio_init_takes_anything, GLIBC_OK, 10)
{
    struct aioinit hint;
    memset(&hint, 0, sizeof hint);
    aio_init(&hint);
    hint.aio_threads = 4;
    hint.aio_num = 16;
    hint.aio_idle_time = 2;
    aio_init(&hint);
    memset(&hint, 0, sizeof hint);
    hint.aio_threads = hint.aio_num = -5;
    hint.aio_idle_time = 1;
    aio_init(&hint);
    char byte;
    int fd = temp_file(ON_DISK, 10, 1, 0);
    struct aiocb cb = request(fd, &byte, 1, 3);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 1);
    CHECK_EQ(byte, (char)pattern_byte(3, 1));
    aio_init(&(struct aioinit){.aio_threads = 1, .aio_num = 1, .aio_idle_time = 1}); /* after first use: no effect */
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 1);
}

CASE(3, sysconf_answers, GLIBC_OK, 5)
{
    CHECK_EQ(sysconf(_SC_AIO_MAX), -1);
    CHECK_EQ(sysconf(_SC_AIO_LISTIO_MAX), -1);
    CHECK_EQ(sysconf(_SC_AIO_PRIO_DELTA_MAX), 20);
    CHECK(sysconf(_SC_ASYNCHRONOUS_IO) > 0);
}

CASE(3, a_hundred_thousand_finished_requests, GLIBC_OK, 60)
{
    enum { COUNT = 100000 };
    int fd = temp_file(ON_DISK, COUNT, 2, 0);
    struct aiocb *cbs = pages(COUNT * sizeof *cbs);
    unsigned char *bytes = pages(COUNT);
    for (int i = 0; i < COUNT; i++) {
        cbs[i] = request(fd, bytes + i, 1, i);
        CHECK_EQ(aio_read(&cbs[i]), 0);
    }
    for (int i = 0; i < COUNT; i++)
        CHECK_DONE(&cbs[i], 1);
    CHECK_EQ(pattern_wrong(bytes, COUNT, 0, 2), -1);
}

/* All of them outstanding at one time: no byte comes before the last is queued. */
CASE(3, a_hundred_thousand_waiting_requests, GLIBC_OK, 90)
{
    enum { PIPES = 200, EACH = 500 };
    static int ends[PIPES][2];
    struct aiocb *cbs = pages(sizeof *cbs * PIPES * EACH);
    unsigned char *bytes = pages(PIPES * EACH), piece[EACH];
    for (int p = 0; p < PIPES; p++)
        SETUP(pipe(ends[p]) == 0);
    for (int i = 0; i < PIPES * EACH; i++) {
        cbs[i] = request(ends[i % PIPES][0], bytes + i, 1, 0);
        CHECK(aio_read(&cbs[i]) == 0, "request %d", i);
    }
    for (int i = 0; i < PIPES * EACH; i += 997)
        CHECK_EQ(aio_error(&cbs[i]), EINPROGRESS);
    for (int p = 0; p < PIPES; p++) {
        for (int k = 0; k < EACH; k++)
            piece[k] = pattern_byte((size_t)(k * PIPES + p), 3);
        SETUP(write(ends[p][1], piece, EACH) == EACH);
    }
    for (int i = 0; i < PIPES * EACH; i++)
        CHECK_DONE(&cbs[i], 1);
    CHECK_EQ(pattern_wrong(bytes, PIPES * EACH, 0, 3), -1);
}
