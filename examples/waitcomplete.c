/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* FreeBSD's way: aio_waitcomplete() hands over whichever request is done next,
 * its result included; no list is kept and none is searched. Here it copies a
 * file with sixteen requests on the way. Link with -laio_shim. */
#define _GNU_SOURCE
#include <aio_shim.h>
#include <errno.h>

#include "common.h"

enum { BLOCK = 16 * 1024, BLOCKS = 256, SLOTS = 16 };

struct slot {
    struct aiocb cb;
    bool writing;
    char buffer[BLOCK];
};

static int from, to, next_block;

/* The slot's next read, or none when the whole file has been taken. */
static bool start_read(struct slot *slot)
{
    if (next_block == BLOCKS)
        return false;
    slot->writing = false;
    slot->cb.aio_fildes = from;
    slot->cb.aio_offset = (off_t)next_block++ * BLOCK;
    check(aio_read(&slot->cb) == 0, "aio_read");
    return true;
}

static void start_write(struct slot *slot)
{
    slot->writing = true;
    slot->cb.aio_fildes = to;
    check(aio_write(&slot->cb) == 0, "aio_write");
}

int main(void)
{
    static struct slot slots[SLOTS];
    int outstanding = 0, reads = 0, writes = 0;
    from = filled_file(BLOCKS * BLOCK);
    to = empty_file();

    for (int i = 0; i < SLOTS; i++) {
        slots[i].cb.aio_buf = slots[i].buffer;
        slots[i].cb.aio_nbytes = BLOCK;
        slots[i].cb.aio_sigevent.sigev_notify = SIGEV_NONE;
        outstanding += start_read(&slots[i]);
    }

    while (outstanding > 0) {
        struct aiocb *done;
        struct timespec patience = {.tv_sec = 30};
        ssize_t result = aio_waitcomplete(&done, &patience);
        check(result == BLOCK, "aio_waitcomplete");

        struct slot *slot = (struct slot *)done; /* cb is its first member */
        if (slot->writing) {
            writes++;
            outstanding -= !start_read(slot);
        } else {
            reads++;
            start_write(slot);
        }
    }

    static char copy[BLOCKS * BLOCK];
    bool good = pread(to, copy, sizeof copy, 0) == sizeof copy && is_filled(copy, sizeof copy, 0);
    printf("waitcomplete: %d reads, %d writes, copy %s\n", reads, writes, good ? "right" : "WRONG");
    return !good || reads != BLOCKS || writes != BLOCKS;
}
