/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Several reads and writes on the way at once, aio_suspend() to sleep until
 * one of them is done. A finished request leaves the list as a NULL. */
#define _GNU_SOURCE
#include <aio.h>
#include <errno.h>

#include "common.h"

enum { BLOCK = 4096, REQUESTS = 32, HALF = REQUESTS / 2 };

int main(void)
{
    static char buffer[REQUESTS][BLOCK];
    static struct aiocb cb[REQUESTS];
    const struct aiocb *list[REQUESTS];
    int from = filled_file(HALF * BLOCK), to = empty_file();

    /* The first half reads one file from the end to its start, the other half
     * writes a second one. */
    for (int i = 0; i < REQUESTS; i++) {
        bool writes = i >= HALF;
        off_t block = writes ? i - HALF : HALF - 1 - i;
        cb[i].aio_fildes = writes ? to : from;
        cb[i].aio_buf = buffer[i];
        cb[i].aio_nbytes = BLOCK;
        cb[i].aio_offset = block * BLOCK;
        cb[i].aio_sigevent.sigev_notify = SIGEV_NONE;
        list[i] = &cb[i];
        if (writes)
            fill(buffer[i], BLOCK, cb[i].aio_offset);
        check((writes ? aio_write : aio_read)(&cb[i]) == 0, "submission");
    }

    int done = 0, wrong = 0;
    while (done < REQUESTS) {
        check(aio_suspend(list, REQUESTS, NULL) == 0, "aio_suspend");
        for (int i = 0; i < REQUESTS; i++) {
            if (list[i] == NULL || aio_error(list[i]) == EINPROGRESS)
                continue;
            if (aio_return(&cb[i]) != BLOCK || !is_filled(buffer[i], BLOCK, cb[i].aio_offset))
                wrong++;
            list[i] = NULL;
            done++;
        }
    }

    static char written[HALF * BLOCK];
    if (pread(to, written, sizeof written, 0) != sizeof written || !is_filled(written, sizeof written, 0))
        wrong++;
    printf("suspend: %d requests done, %d wrong\n", done, wrong);
    return wrong != 0;
}
