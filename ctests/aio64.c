// cflags: -D_FILE_OFFSET_BITS=64
// The whole interface from a program with 64-bit offsets: there <aio.h> renames every call to its 64 twin.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include "harness.h"

static volatile sig_atomic_t signals;
static void count(int signo) { (void)signo; signals++; }

CASE(2, every_call_by_its_64_name, GLIBC_OK, 20)
{
    enum { SIZE = 8192 };
    static char out[SIZE], in[SIZE];
    const off_t far = (off_t)5 << 30; /* over 4 GiB: 32 bits anywhere would show */
    int fd = temp_file(ON_DISK, 0, 0, 0), ends[2];
    pattern_fill(out, SIZE, 0, 1);
    struct aiocb cb = request(fd, out, SIZE, far);
    CHECK_EQ(aio_write(&cb), 0);
    CHECK_DONE(&cb, SIZE);
    CHECK_EQ(aio_fsync(O_SYNC, &cb), 0);
    CHECK_EQ(wait_done(&cb), 0);
    cb = request(fd, in, SIZE, far);
    const struct aiocb *waited[] = {&cb};
    CHECK_EQ(aio_read(&cb), 0);
    while (aio_error(&cb) == EINPROGRESS)
        CHECK(aio_suspend(waited, 1, NULL) == 0 || errno == EINTR);
    CHECK_DONE(&cb, SIZE);
    CHECK_EQ(pattern_wrong(in, SIZE, 0, 1), -1);

    struct aiocb parts[2], *list[3] = {&parts[0], NULL, &parts[1]};
    memset(in, 0, SIZE);
    for (int i = 0; i < 2; i++) {
        parts[i] = request(fd, in + i * SIZE / 2, SIZE / 2, far + i * SIZE / 2);
        parts[i].aio_lio_opcode = LIO_READ;
    }
    CHECK_EQ(lio_listio(LIO_WAIT, list, 3, NULL), 0);
    CHECK_EQ(pattern_wrong(in, SIZE, 0, 1), -1);
    struct sigevent note = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    signal(SIGRTMIN, count);
    memset(in, 0, SIZE);
    CHECK_EQ(lio_listio(LIO_NOWAIT, list, 3, &note), 0);
    WAIT_FOR(signals == 1);
    CHECK_EQ(pattern_wrong(in, SIZE, 0, 1), -1);

    SETUP(pipe(ends) == 0);
    cb = request(ends[0], in, 1, 0);
    CHECK_EQ(aio_read(&cb), 0);
    CHECK_EQ(aio_cancel(fd, NULL), AIO_ALLDONE);
    int verdict = aio_cancel(ends[0], &cb);
    CHECK(verdict == AIO_CANCELED || verdict == AIO_NOTCANCELED, "%d", verdict);
    CHECK_EQ(aio_cancel(ends[0], NULL), verdict == AIO_CANCELED ? AIO_ALLDONE : AIO_NOTCANCELED);
}

/* The 64 names and the plain ones are the same calls on the same requests. */
CASE(2, plain_and_64_names_mix, GLIBC_OK, 10)
{
    int (*plain_error)(const struct aiocb *) = (int (*)(const struct aiocb *))dlsym(RTLD_DEFAULT, "aio_error");
    ssize_t (*plain_return)(struct aiocb *) = (ssize_t (*)(struct aiocb *))dlsym(RTLD_DEFAULT, "aio_return");
    char buffer[10];
    int fd = temp_file(ON_DISK, 10, 1, 0);
    struct aiocb cb = request(fd, buffer, 10, 0);
    CHECK_EQ(aio_read(&cb), 0);
    WAIT_FOR(plain_error(&cb) == 0);
    CHECK_EQ(plain_return(&cb), 10);
}
