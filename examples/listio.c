/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* lio_listio(LIO_WAIT): a list of reads and writes with one call. Entries that
 * are NULL or LIO_NOP are left out, so a program can keep one list and switch
 * entries off. */
#define _GNU_SOURCE
#include <aio.h>
#include <errno.h>

#include "common.h"

enum { BLOCK = 16 * 1024, ENTRIES = 24 };

int main(void)
{
    static char buffer[ENTRIES][BLOCK];
    static struct aiocb cb[ENTRIES];
    struct aiocb *list[ENTRIES];
    int from = filled_file(ENTRIES * BLOCK), to = empty_file();
    int reads = 0, writes = 0, left_out = 0, wrong = 0;

    for (int i = 0; i < ENTRIES; i++) {
        list[i] = &cb[i];
        cb[i].aio_buf = buffer[i];
        cb[i].aio_nbytes = BLOCK;
        cb[i].aio_offset = (off_t)i * BLOCK;
        cb[i].aio_sigevent.sigev_notify = SIGEV_NONE;
        switch (i % 4) {
        case 0:
            cb[i].aio_fildes = from;
            cb[i].aio_lio_opcode = LIO_READ;
            break;
        case 1:
            cb[i].aio_fildes = to;
            cb[i].aio_lio_opcode = LIO_WRITE;
            fill(buffer[i], BLOCK, cb[i].aio_offset);
            break;
        case 2:
            cb[i].aio_fildes = -1; /* never looked at */
            cb[i].aio_lio_opcode = LIO_NOP;
            break;
        default:
            list[i] = NULL;
        }
    }

    check(lio_listio(LIO_WAIT, list, ENTRIES, NULL) == 0, "lio_listio");

    for (int i = 0; i < ENTRIES; i++) {
        if (list[i] == NULL || cb[i].aio_lio_opcode == LIO_NOP) {
            left_out++;
            continue;
        }
        bool is_write = cb[i].aio_lio_opcode == LIO_WRITE;
        is_write ? writes++ : reads++;
        if (aio_error(&cb[i]) != 0 || aio_return(&cb[i]) != BLOCK)
            wrong++;
        if (is_write) {
            memset(buffer[i], 0xff, BLOCK);
            check(pread(to, buffer[i], BLOCK, cb[i].aio_offset) == BLOCK, "pread");
        }
        if (!is_filled(buffer[i], BLOCK, cb[i].aio_offset))
            wrong++;
    }
    printf("listio: %d reads, %d writes, %d left out, %d wrong\n", reads, writes, left_out, wrong);
    return wrong != 0;
}
