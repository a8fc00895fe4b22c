// Lines 4 to 7: what the call that submits does, and does not do.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include "harness.h"
#include <sched.h>
#include <sys/socket.h>

/* Or all other cases would be about something else. */
CASE(4, the_backend_asked_for_serves, SHIM_ONLY, 10)
{
    with_environment("AIO_SHIM_VERBOSE", "1");
    char text[4096] = "", byte;
    int kept = dup(2), said = temp_file(ON_DISK, 0, 0, 0), fd = temp_file(DIRECT, 4096, 1, 0);
    SETUP(dup2(said, 2) == 2);
    struct aiocb cb = request(fd, pages(4096), 4096, 0), put = request(open("/dev/null", O_WRONLY), &byte, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_EQ(aio_write(&put), 0);
    CHECK_DONE(&cb, 4096);
    CHECK_DONE(&put, 1);
    SETUP(dup2(kept, 2) == 2);
    SETUP(pread(said, text, sizeof text - 1, 0) >= 0);
    CHECK(strstr(text, on_workers() ? "backend=threads" : "backend=uring") != NULL, "said: %s", text);
    CHECK(strchr(text, '\n') == strrchr(text, '\n'), "more than one line: %s", text);
}

/* A program may end as soon as it has its result, before any thread of the library had a processor. */
CASE(4, the_backend_is_said_at_once, SHIM_ONLY, 10)
{
    with_environment("AIO_SHIM_VERBOSE", "1");
    char text[4096] = "", byte = 0;
    int kept = dup(2), said = temp_file(ON_DISK, 0, 0, 0), fd = temp_file(ON_DISK, 4096, 1, 0);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    SETUP(sched_setaffinity(0, sizeof one, &one) == 0 && dup2(said, 2) == 2);
    struct aiocb cb = request(fd, &byte, 1, 0);
    const struct aiocb *list[1] = {&cb};
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_EQ(aio_suspend(list, 1, NULL), 0);
    SETUP(dup2(kept, 2) == 2);
    SETUP(pread(said, text, sizeof text - 1, 0) >= 0);
    CHECK(strstr(text, "backend=") != NULL, "said: %s", text);
}

CASE(4, returns_before_there_is_data, GLIBC_OK, 10)
{
    int ends[2];
    char byte = 0;
    SETUP(pipe(ends) == 0);
    struct aiocb cb = request(ends[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    sleep_ms(50);
    CHECK_EQ(aio_error(&cb), EINPROGRESS);
    SETUP(write(ends[1], "x", 1) == 1);
    CHECK_DONE(&cb, 1);
    CHECK_EQ(byte, 'x');
}

/* The call must cost a small part of what the transfer costs, wherever the file lies. */
static void big_transfer(enum place where, bool reading, bool listed)
{
    enum { SIZE = 256 << 20 };
    char *buffer = pages(SIZE);
    memset(buffer, 1, SIZE);
    int fd = temp_file(where, 0, 0, 0);
    int64_t started = now_ns();
    for (size_t at = 0; at < SIZE;) {
        ssize_t put = pwrite(fd, buffer + at, SIZE - at, (off_t)at);
        SETUP(put > 0, "no room in %s", place_path(where));
        at += (size_t)put;
    }
    int64_t direct = now_ns() - started;
    if (reading) {
        started = now_ns();
        for (size_t at = 0; at < SIZE;)
            at += (size_t)pread(fd, buffer + at, SIZE - at, (off_t)at);
        direct = now_ns() - started;
    }
    int64_t call = INT64_MAX;
    for (int i = 0; i < 3; i++) { /* the best of three: the caller may lose its CPU to whoever does the work */
        struct aiocb cb = request(fd, buffer, SIZE, 0), *list[] = {&cb};
        cb.aio_lio_opcode = reading ? LIO_READ : LIO_WRITE;
        started = now_ns();
        CHECK_EQ(listed ? lio_listio(LIO_NOWAIT, list, 1, NULL) : reading ? aio_read(&cb) : aio_write(&cb), 0);
        int64_t took = now_ns() - started;
        call = took < call ? took : call;
        CHECK_DONE(&cb, SIZE);
    }
    CHECK(call * 4 < direct, "the call took %lld us, the plain transfer %lld us", (long long)call / 1000,
          (long long)direct / 1000);
}
CASE(4, big_write_returns_at_once, GLIBC_OK | ALONE, 60) { big_transfer(ON_DISK, false, false); }
CASE(4, big_write_on_tmpfs_returns_at_once, GLIBC_OK | ALONE, 60) { big_transfer(ON_TMPFS, false, false); }
CASE(4, big_read_returns_at_once, GLIBC_OK | ALONE, 60) { big_transfer(ON_DISK, true, false); }
CASE(4, big_read_on_tmpfs_returns_at_once, GLIBC_OK | ALONE, 60) { big_transfer(ON_TMPFS, true, false); }
CASE(4, big_list_returns_at_once, GLIBC_OK | ALONE, 60) { big_transfer(ON_DISK, false, true); }

/* A page of a FIFO that nobody writes to, a full pipe, a lock: none may hold up the caller. */
CASE(4, write_into_a_full_pipe_returns, GLIBC_OK, 10)
{
    int ends[2];
    static char much[1 << 18];
    SETUP(pipe(ends) == 0);
    struct aiocb cb = request(ends[1], much, sizeof much, 0);
    CHECK_EQ(aio_write(&cb), 0);
    sleep_ms(20);
    CHECK_EQ(aio_error(&cb), EINPROGRESS);
    read_all(ends[0], much, sizeof much);
    CHECK_DONE(&cb, sizeof much);
}

CASE(5, reqprio_out_of_range_is_refused_at_once, GLIBC_OK, 10)
{
    static const int bad[] = {-1, 21, 1000, INT32_MIN, INT32_MAX};
    char buffer[4] = "abc";
    int fd = temp_file(ON_DISK, 10, 1, 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        for (int writing = 0; writing < 2; writing++) {
            struct aiocb cb = request(fd, buffer, 3, 0);
            cb.aio_reqprio = bad[i];
            CHECK_FAILS(writing ? aio_write(&cb) : aio_read(&cb), EINVAL);
            CHECK_EQ(aio_error(&cb), EINVAL);
            CHECK_EQ(aio_return(&cb), -1);
            CHECK(strcmp(buffer, "abc") == 0);
        }
    for (int priority = 0; priority <= 20; priority++) {
        struct aiocb cb = request(fd, buffer, 3, 0);
        cb.aio_reqprio = priority;
        CHECK_EQ(aio_read(&cb), 0);
        CHECK_DONE(&cb, 3);
    }
}

/* ---- line 6: what the aiocb held before ---- */

static void set_public(struct aiocb *cb, int fd, void *buffer, size_t bytes, off_t offset)
{
    cb->aio_fildes = fd;
    cb->aio_reqprio = 0;
    cb->aio_buf = buffer;
    cb->aio_nbytes = bytes;
    cb->aio_offset = offset;
    memset(&cb->aio_sigevent, 0, sizeof cb->aio_sigevent);
    cb->aio_sigevent.sigev_notify = SIGEV_NONE;
}

static void use_over(int fd, const void *garbage)
{
    unsigned char buffer[64];
    struct aiocb cb, *list[] = {&cb};
    const struct aiocb *waited[] = {&cb};
    for (int kind = 0; kind < 5; kind++) {
        memcpy(&cb, garbage, sizeof cb);
        set_public(&cb, fd, buffer, sizeof buffer, 128);
        if (kind == 1)
            pattern_fill(buffer, sizeof buffer, 128, 4);
        if (kind >= 3)
            cb.aio_lio_opcode = LIO_READ;
        CHECK_EQ(kind == 0   ? aio_read(&cb)
                 : kind == 1 ? aio_write(&cb)
                 : kind == 2 ? aio_fsync(O_DSYNC, &cb)
                             : lio_listio(kind == 3 ? LIO_WAIT : LIO_NOWAIT, list, 1, NULL), 0);
        while (aio_error(&cb) == EINPROGRESS)
            CHECK_EQ(aio_suspend(waited, 1, &(struct timespec){5, 0}), 0);
        CHECK_DONE(&cb, kind == 2 ? 0 : sizeof buffer);
        if (kind != 2)
            CHECK_EQ(pattern_wrong(buffer, sizeof buffer, 128, 4), -1);
    }
}

CASE(6, garbage_in_private_members, GLIBC_OK, 20)
{
    unsigned char garbage[sizeof(struct aiocb)];
    int fd = temp_file(ON_DISK, 4096, 4, 0);
    static const unsigned char fills[] = {0, 0xff, 0x55, 0xaa, 1, 0x80};
    for (size_t i = 0; i < sizeof fills; i++) {
        memset(garbage, fills[i], sizeof garbage);
        use_over(fd, garbage);
    }
    for (unsigned seed = 0; seed < 200; seed++) {
        pattern_fill(garbage, sizeof garbage, seed * 1000, seed);
        use_over(fd, garbage);
    }
}

/* Stale memory of another request, finished or not, copied to a new place is garbage like any other. */
CASE(6, copies_of_other_requests, GLIBC_OK, 20)
{
    int ends[2], fd = temp_file(ON_DISK, 4096, 4, 0);
    char byte;
    SETUP(pipe(ends) == 0);
    struct aiocb waiting = request(ends[0], &byte, 1, 0), failed = request(-1, &byte, 1, 0), done = request(fd, &byte, 1, 0);
    CHECK_EQ(aio_read(&waiting), 0);
    CHECK_EQ(aio_read(&done), 0);
    CHECK_DONE(&done, 1);
    aio_read(&failed);
    wait_done(&failed);
    for (int i = 0; i < 20; i++) {
        use_over(fd, &waiting);
        use_over(fd, &done);
        use_over(fd, &failed);
    }
    CHECK_EQ(aio_error(&waiting), EINPROGRESS);
    SETUP(write(ends[1], "x", 1) == 1);
    CHECK_DONE(&waiting, 1);
}

CASE(6, lio_opcode_ignored_by_read_and_write, GLIBC_OK, 10)
{
    static const int opcodes[] = {LIO_READ, LIO_WRITE, LIO_NOP, 3, 4, 99, -1, INT32_MIN};
    int fd = temp_file(ON_DISK, 100, 5, 0);
    for (size_t i = 0; i < sizeof opcodes / sizeof opcodes[0]; i++) {
        unsigned char buffer[100] = {0};
        struct aiocb cb = request(fd, buffer, 100, 0);
        cb.aio_lio_opcode = opcodes[i];
        CHECK_EQ(aio_read(&cb), 0);
        CHECK_DONE(&cb, 100);
        CHECK_EQ(pattern_wrong(buffer, 100, 0, 5), -1);
        cb = request(fd, buffer, 100, 0);
        cb.aio_lio_opcode = opcodes[i];
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, 100);
    }
}

/* Every byte that the program can name; the padding between them too. */
#define PUBLIC_1 96 /* up to the private members */
static void check_public(const struct aiocb *before, const struct aiocb *after, const char *when)
{
    for (size_t at = 0; at < sizeof *before; at++) {
        bool public = at < PUBLIC_1 || (at >= 128 && at < 136);
        CHECK(!public || ((const unsigned char *)before)[at] == ((const unsigned char *)after)[at],
              "byte %zu changed from %#x to %#x by %s", at, ((const unsigned char *)before)[at],
              ((const unsigned char *)after)[at], when);
    }
}

static struct aiocb marked_request(int fd, void *buffer, size_t bytes)
{
    struct aiocb cb;
    memset(&cb, 0x5a, sizeof cb);
    set_public(&cb, fd, buffer, bytes, 0);
    memset(&cb.aio_sigevent, 0x5a, sizeof cb.aio_sigevent);
    cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    cb.aio_reqprio = 7;
    cb.aio_lio_opcode = 99;
    return cb;
}

static void nothing_else_changes(int operation)
{
    char buffer[512];
    int fd = temp_file(ON_DISK, 4096, 4, 0), ends[2];
    SETUP(pipe(ends) == 0);
    memset(buffer, 1, sizeof buffer);
    struct aiocb cb = marked_request(fd, buffer, sizeof buffer), before, *list[] = {&cb};
    if (operation == 'l')
        cb.aio_lio_opcode = LIO_READ;
    if (operation == 'c')
        cb.aio_fildes = ends[0];
    if (operation == 'b')
        cb.aio_fildes = -1;
    if (operation == 'p')
        cb.aio_reqprio = -1;
    before = cb;
    switch (operation) {
    case 'r': CHECK_EQ(aio_read(&cb), 0); break;
    case 'w': CHECK_EQ(aio_write(&cb), 0); break;
    case 's': CHECK_EQ(aio_fsync(O_SYNC, &cb), 0); break;
    case 'd': CHECK_EQ(aio_fsync(O_DSYNC, &cb), 0); break;
    case 'f': CHECK_FAILS(aio_fsync(12345, &cb), EINVAL); break;
    case 'l': CHECK_EQ(lio_listio(LIO_WAIT, list, 1, NULL), 0); break;
    case 'b': aio_read(&cb); break;
    case 'p': aio_read(&cb); break;
    case 'c':
        CHECK_EQ(aio_read(&cb), 0);
        check_public(&before, &cb, "submission");
        aio_cancel(ends[0], &cb);
        SETUP(write(ends[1], "x", 1) == 1);
        break;
    }
    check_public(&before, &cb, "submission");
    wait_done(&cb);
    check_public(&before, &cb, "completion");
    aio_return(&cb);
    check_public(&before, &cb, "aio_return");
}
/* glibc writes the operation into aio_lio_opcode, and for fsync a priority too. */
CASE(6, read_changes_nothing_else, GLIBC_DEFECT, 10) { nothing_else_changes('r'); }
CASE(6, write_changes_nothing_else, GLIBC_DEFECT, 10) { nothing_else_changes('w'); }
CASE(6, fsync_changes_nothing_else, GLIBC_DEFECT, 10) { nothing_else_changes('s'); }
CASE(6, fdatasync_changes_nothing_else, GLIBC_DEFECT, 10) { nothing_else_changes('d'); }
CASE(6, refused_fsync_changes_nothing_else, GLIBC_OK, 10) { nothing_else_changes('f'); }
CASE(6, list_changes_nothing_else, GLIBC_OK, 10) { nothing_else_changes('l'); }
CASE(6, cancel_changes_nothing_else, GLIBC_DEFECT, 10) { nothing_else_changes('c'); }
CASE(6, failure_changes_nothing_else, GLIBC_DEFECT, 10) { nothing_else_changes('b'); }
CASE(6, refusal_changes_nothing_else, GLIBC_OK, 10) { nothing_else_changes('p'); }

/* ---- line 7: offsets and counts ---- */

CASE(7, the_file_position_never_moves, GLIBC_OK, 10)
{
    static const enum place places[] = {ON_DISK, ON_TMPFS, DIRECT};
    for (size_t p = 0; p < 3; p++)
        for (int append = 0; append < 2; append++) {
            int fd = temp_file(places[p], 16384, 1, append ? O_APPEND : 0);
            char *buffer = pages(4096);
            SETUP(lseek(fd, 1000, SEEK_SET) == 1000);
            struct aiocb cb = request(fd, buffer, 4096, 8192);
            CHECK_EQ(aio_read(&cb), 0);
            CHECK_DONE(&cb, 4096);
            CHECK_EQ(pattern_wrong(buffer, 4096, 8192, 1), -1);
            CHECK_EQ(lseek(fd, 0, SEEK_CUR), 1000);
            cb = request(fd, buffer, 4096, 4096);
            CHECK_EQ(aio_write(&cb), 0);
            CHECK_DONE(&cb, 4096);
            CHECK_EQ(lseek(fd, 0, SEEK_CUR), 1000);
            cb = request(fd, buffer, 4096, -1); /* "the current position" of io_uring */
            aio_read(&cb);
            CHECK_ENDS(&cb, EINVAL);
            aio_write(&cb);
            CHECK_ENDS(&cb, EINVAL);
            CHECK_EQ(lseek(fd, 0, SEEK_CUR), 1000);
            close(fd);
        }
}

CASE(7, negative_offsets, GLIBC_OK, 10)
{
    static const off_t offsets[] = {-1, -2, -4096, INT32_MIN, INT64_MIN};
    int fd = temp_file(ON_DISK, 100, 1, 0);
    char buffer[10] = {0};
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++)
        for (int writing = 0; writing < 2; writing++) {
            struct aiocb cb = request(fd, buffer, sizeof buffer, offsets[i]);
            if ((writing ? aio_write(&cb) : aio_read(&cb)) == -1)
                CHECK_EQ(errno, EINVAL);
            CHECK_ENDS(&cb, EINVAL);
        }
    struct stat after;
    SETUP(fstat(fd, &after) == 0);
    CHECK_EQ(after.st_size, 100);
}

CASE(7, offset_means_nothing_on_streams, GLIBC_OK, 10)
{
    static const off_t offsets[] = {0, 1, 4096, (off_t)1 << 40, INT64_MAX};
    for (int kind = 0; kind < 3; kind++)
        for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
            int ends[2];
            char text[6] = "";
            if (kind == 0)
                SETUP(pipe(ends) == 0);
            else
                SETUP(socketpair(AF_UNIX, kind == 1 ? SOCK_STREAM : SOCK_DGRAM, 0, ends) == 0);
            struct aiocb put = request(ends[1], "hello", 5, offsets[i]), get = request(ends[0], text, 5, offsets[i]);
            CHECK_EQ(aio_write(&put), 0);
            CHECK_DONE(&put, 5);
            CHECK_EQ(aio_read(&get), 0);
            CHECK_DONE(&get, 5);
            CHECK(strcmp(text, "hello") == 0, "got %s", text);
            close(ends[0]);
            close(ends[1]);
        }
}

/* Reads and writes of sizes and offsets at every edge answer what pread and pwrite answer. */
CASE(7, edges_answer_as_the_plain_calls, GLIBC_OK | NO_VALGRIND, 20)
{
    enum { LENGTH = 10000 };
    static const off_t offsets[] = {0, 1, 4095, 4096, 9999, 10000, 10001, 1 << 20, (off_t)1 << 32, ((off_t)1 << 44),
                                    INT64_MAX - 4096, INT64_MAX - 1, INT64_MAX};
    static const size_t sizes[] = {0, 1, 100, 4096, 65536, 65537};
    static const enum place places[] = {ON_DISK, ON_TMPFS};
    for (size_t p = 0; p < 2; p++)
        for (size_t o = 0; o < sizeof offsets / sizeof offsets[0]; o++)
            for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
                for (int writing = 0; writing < 2; writing++) {
                    static char buffer[1 << 17];
                    int fd = temp_file(places[p], LENGTH, 1, 0), twin = temp_file(places[p], LENGTH, 1, 0);
                    struct aiocb cb = request(fd, buffer, sizes[s], offsets[o]);
                    CHECK_EQ(writing ? aio_write(&cb) : aio_read(&cb), 0);
                    int error = wait_done(&cb);
                    ssize_t got = aio_return(&cb);
                    errno = 0;
                    ssize_t plain = writing ? pwrite(twin, buffer, sizes[s], offsets[o]) : pread(twin, buffer, sizes[s], offsets[o]);
                    int plain_error = errno;
                    CHECK(got == plain && error == plain_error, "%s of %zu at %lld: %zd, error %d; the plain call %zd, errno %d",
                          writing ? "write" : "read", sizes[s], (long long)offsets[o], got, error, plain, plain_error);
                    close(fd);
                    close(twin);
                }
}

CASE(7, nothing_to_transfer_gives_0, GLIBC_OK, 10)
{
    int fd = temp_file(ON_DISK, 100, 1, 0), ends[2];
    SETUP(pipe(ends) == 0);
    char byte;
    struct aiocb cb = request(fd, &byte, 0, 50);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 0);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_DONE(&cb, 0);
    cb = request(fd, NULL, 0, 50);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 0);
    cb = request(fd, &byte, 1, 100); /* at the end */
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 0);
    cb = request(fd, &byte, 1, 1 << 30); /* past it */
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 0);
    cb = request(ends[0], &byte, 0, 0); /* an empty pipe: read(2) of nothing does not wait */
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 0);
    cb = request(ends[1], &byte, 0, 0);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_DONE(&cb, 0);
    close(ends[1]); /* no writer left: the end of the stream */
    cb = request(ends[0], &byte, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_DONE(&cb, 0);
}

/* read(2) and write(2) transfer 0x7ffff000 bytes at most. The kernel's own io_uring takes the low 32 bits. */
static const size_t huge_sizes[] = {0x7ffff000, 0x7ffff001, 0x80000000, 0xffffffff, 0x100000000, 0x10000000a, (size_t)1 << 40};

CASE(7, huge_writes_are_cut, GLIBC_OK | NO_VALGRIND, 20)
{
    int fd = open("/dev/null", O_RDWR);
    char *buffer = pages((size_t)1 << 41); /* only addresses: never touched */
    for (size_t i = 0; i < sizeof huge_sizes / sizeof huge_sizes[0]; i++) {
        struct aiocb cb = request(fd, buffer, huge_sizes[i], 0);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_DONE(&cb, 0x7ffff000);
    }
}

CASE(7, huge_reads_are_cut, GLIBC_OK | NO_VALGRIND | ALONE, 60)
{
    enum { WINDOW = 16 << 20 };
    const size_t span = (size_t)3 << 30;
    int memory = memfd_create("window", 0), fd = open("/dev/zero", O_RDWR);
    SETUP(memory >= 0 && fd >= 0 && ftruncate(memory, WINDOW) == 0);
    char *buffer = pages(span); /* the same 16 MiB again and again, so that 3 GiB cost no memory */
    for (size_t at = 0; at < span; at += WINDOW)
        SETUP(mmap(buffer + at, WINDOW, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memory, 0) != MAP_FAILED);
    struct aiocb cb = request(fd, buffer, span, 0);
    CHECK_EQ(aio_read(&cb), 0);
    while (aio_error(&cb) == EINPROGRESS) /* 2 GiB take their time on a busy machine */
        sleep_ms(1);
    CHECK_DONE(&cb, 0x7ffff000);
}

CASE(7, more_than_ssize_max_fails_as_the_plain_call, GLIBC_OK | NO_VALGRIND, 10)
{
    int fd = temp_file(ON_DISK, 100, 1, 0);
    static char buffer[100];
    static const size_t sizes[] = {(size_t)SSIZE_MAX + 1, SIZE_MAX, SIZE_MAX - 4096};
    for (size_t i = 0; i < 3; i++)
        for (int writing = 0; writing < 2; writing++) {
            volatile size_t bytes = sizes[i]; /* or the compiler refuses it already */
            struct aiocb cb = request(fd, buffer, bytes, 0);
            errno = 0;
            ssize_t plain = writing ? pwrite(fd, buffer, bytes, 0) : pread(fd, buffer, bytes, 0);
            int error = errno;
            SETUP(plain == -1);
            if ((writing ? aio_write(&cb) : aio_read(&cb)) == -1)
                CHECK_EQ(errno, error);
            CHECK_ENDS(&cb, error);
        }
}

/* Programs that watch errno only after failures are the rule; those that do not must not be surprised. */
CASE(19, success_leaves_errno_alone, GLIBC_OK | AS_BUILT, 10)
{
    int fd = temp_file(ON_DISK, 100, 1, 0), ends[2];
    char buffer[100];
    SETUP(pipe(ends) == 0);
    struct aiocb cb = request(fd, buffer, 100, 0), stuck = request(ends[0], buffer, 1, 0), *list[] = {&cb};
    const struct aiocb *waited[] = {&cb};
    for (int i = 0; i < 50; i++) {
        errno = 1234;
        CHECK_EQ(aio_read(&cb), 0);
        CHECK_EQ(errno, 1234);
        CHECK_EQ(aio_suspend(waited, 1, NULL), 0);
        CHECK_EQ(errno, 1234);
        while (aio_error(&cb) == EINPROGRESS) { }
        CHECK_EQ(errno, 1234);
        CHECK_EQ(aio_return(&cb), 100);
        CHECK_EQ(errno, 1234);
        CHECK_EQ(aio_write(&cb), 0);
        CHECK_EQ(errno, 1234);
        wait_done(&cb);
        errno = 1234;
        CHECK_EQ(aio_fsync(O_SYNC, &cb), 0);
        CHECK_EQ(errno, 1234);
        wait_done(&cb);
        errno = 1234;
        cb.aio_lio_opcode = LIO_READ;
        CHECK_EQ(lio_listio(LIO_WAIT, list, 1, NULL), 0);
        CHECK_EQ(errno, 1234);
        CHECK_EQ(aio_cancel(fd, NULL), AIO_ALLDONE);
        CHECK_EQ(errno, 1234);
    }
    CHECK_EQ(aio_read(&stuck), 0);
    errno = 1234;
    CHECK(aio_cancel(ends[0], &stuck) >= 0);
    CHECK_EQ(errno, 1234);
}
