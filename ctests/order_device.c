/* order_device.c - character devices: order where there are no positions, offsets where they are looked at.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "hostile.h"
#include <sys/file.h>

/* Its lseek succeeds and does nothing, writes replace each other wherever they go, and reads look at the offset. */
static int open_latency(void)
{
    int fd = open("/dev/cpu_dma_latency", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        SKIP("no /dev/cpu_dma_latency");
    SETUP(lseek(fd, 0, SEEK_CUR) == 0);
    SETUP(flock(fd, LOCK_EX) == 0); /* it shows the least that any process asks for: the cases take turns */
    int32_t most = 1000000, now = 0;
    SETUP(pwrite(fd, &most, sizeof most, 0) == sizeof most && pread(fd, &now, sizeof now, 0) == sizeof now);
    if (now != most)
        SKIP("another process asks /dev/cpu_dma_latency for less");
    return fd;
}

CASE(14, the_last_write_to_a_device_without_positions_is_the_last, GLIBC_OK | NEEDS_ROOT, 60)
{
    enum { ROUNDS = 300, WRITES = 64 };
    static struct aiocb cb[WRITES];
    static int32_t value[WRITES];
    int fd = open_latency();
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < WRITES; i++) {
            value[i] = 1000 + round * WRITES + i;
            cb[i] = request(fd, &value[i], sizeof value[i], i * (off_t)sizeof value[i]);
            if (round % 2)
                CHECK_EQ(aio_write(&cb[i]), 0);
        }
        if (round % 2 == 0) {
            struct aiocb *list[WRITES];
            for (int i = 0; i < WRITES; i++) {
                list[i] = &cb[i];
                cb[i].aio_lio_opcode = LIO_WRITE;
            }
            CHECK_EQ(lio_listio(LIO_NOWAIT, list, WRITES, NULL), 0);
        }
        for (int i = 0; i < WRITES; i++)
            CHECK_DONE(&cb[i], sizeof value[i]);
        int32_t now = 0;
        SETUP(pread(fd, &now, sizeof now, 0) == sizeof now);
        CHECK_EQ(now, value[WRITES - 1]);
    }
}

CASE(7, a_device_without_positions_is_given_the_offset, GLIBC_OK | NEEDS_ROOT, 20)
{
    int fd = open_latency();
    struct aiocb cb[4];
    int32_t value = 1234, now[4];
    SETUP(pwrite(fd, &value, sizeof value, 0) == sizeof value);
    for (int i = 0; i < 4; i++) {
        cb[i] = request(fd, &now[i], sizeof now[i], i == 2 ? 2 : 0);
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        CHECK_DONE(&cb[i], i == 2 ? 2 : sizeof now[i]);
    CHECK(now[0] == value && now[3] == value);
}

/* With O_NONBLOCK, too: such a device never waits, and the order is all there is. */
CASE(14, a_nonblocking_device_without_positions_keeps_order, GLIBC_OK | NEEDS_ROOT, 60)
{
    enum { ROUNDS = 200, WRITES = 64 };
    static struct aiocb cb[WRITES];
    static int32_t value[WRITES];
    int fd = open_latency();
    SETUP(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < WRITES; i++) {
            value[i] = 1000 + round * WRITES + i;
            cb[i] = request(fd, &value[i], sizeof value[i], i * (off_t)sizeof value[i]);
            CHECK_EQ(aio_write(&cb[i]), 0);
        }
        for (int i = 0; i < WRITES; i++)
            CHECK_DONE(&cb[i], sizeof value[i]);
        int32_t now = 0;
        SETUP(pread(fd, &now, sizeof now, 0) == sizeof now);
        CHECK_EQ(now, value[WRITES - 1]);
    }
}

/* What nothing can be told of runs side by side: many reads of /dev/zero, and an fsync, which fails. */
CASE(7, devices_of_memory, GLIBC_OK, 20)
{
    enum { READS = 64, BYTES = 8192 };
    static struct aiocb cb[READS];
    static unsigned char data[READS][BYTES];
    int zero = open("/dev/zero", O_RDWR | O_CLOEXEC), full = open("/dev/full", O_RDWR | O_CLOEXEC);
    SETUP(zero >= 0 && full >= 0);
    memset(data, 1, sizeof data);
    for (int i = 0; i < READS; i++) {
        cb[i] = request(zero, data[i], BYTES, i * (off_t)BYTES);
        CHECK_EQ(aio_read(&cb[i]), 0);
    }
    for (int i = 0; i < READS; i++) {
        CHECK_DONE(&cb[i], BYTES);
        CHECK(data[i][0] == 0 && data[i][BYTES - 1] == 0);
    }
    struct aiocb writes = request(full, data[0], BYTES, 0), syncs = request(zero, NULL, 0, 0);
    CHECK_EQ(aio_write(&writes), 0);
    CHECK_ENDS(&writes, ENOSPC);
    CHECK_EQ(aio_fsync(O_SYNC, &syncs), 0);
    CHECK_ENDS(&syncs, EINVAL);
}
