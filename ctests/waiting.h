/* waiting.h - a program that submits and waits at once. SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Its thread may then carry its requests out itself; so it does here, for what comes next in a case to happen to it. (With in_caller(),
 * a file of cases needs the linker's -z dynamic-undefined-weak.)
 */
#ifndef CTESTS_WAITING_H
#define CTESTS_WAITING_H
#include "harness.h"
#include <aio_shim.h>

#pragma weak aio_shim_stats

enum { BLOCK = 4096, BLOCKS = 256 };

static int suspend(struct aiocb *cb)
{
    const struct aiocb *list[1] = {cb};
    return aio_suspend(list, 1, NULL);
}

/* aio_suspend until it is done: EINTR is for the handlers of the cases. */
static void wait_for(struct aiocb *cb)
{
    while (aio_error(cb) == EINPROGRESS)
        CHECK(suspend(cb) == 0 || errno == EINTR);
}

/* One request, waited for at once, and right. */
static void write_block(int fd, void *block, int place)
{
    struct aiocb cb = request(fd, block, BLOCK, (off_t)place * BLOCK);
    CHECK_EQ(aio_write(&cb), 0);
    wait_for(&cb);
    CHECK_EQ(aio_error(&cb), 0);
    CHECK_EQ(aio_return(&cb), BLOCK);
}

/* So often that the library expects the next wait. */
UNUSED static void train(int fd, int rounds)
{
    char *block = pages(BLOCK);
    for (int i = 0; i < rounds; i++)
        write_block(fd, block, i % BLOCKS);
    munmap(block, BLOCK);
}

/* Requests that were carried out by the thread that called. */
UNUSED static uint64_t in_caller(void)
{
    struct aio_shim_stats stats;
    CHECK_EQ(aio_shim_stats(&stats, sizeof stats), 0);
    return stats.requests[AIO_SHIM_REQUEST_WRITE][AIO_SHIM_LANE_INLINE][AIO_SHIM_RESULT_SUCCEEDED]
           + stats.requests[AIO_SHIM_REQUEST_READ][AIO_SHIM_LANE_INLINE][AIO_SHIM_RESULT_SUCCEEDED];
}

#endif
