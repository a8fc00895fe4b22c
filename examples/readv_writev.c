/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* aio_writev() and aio_readv(): one request for data that lies in several
 * places, here records of a header and a body. FreeBSD's names; a list may
 * hold them too (LIO_READV, LIO_WRITEV). Link with -laio_shim. */
#define _GNU_SOURCE
#include <aio_shim.h>
#include <errno.h>
#include <sys/uio.h>

#include "common.h"

enum { BODY = 4096 - 16, RECORDS = 16 };

struct header {
    uint64_t number, size;
};

struct record {
    struct header header;
    char body[BODY];
    struct iovec parts[2];
    struct aiocb cb;
};

static void prepare(struct record *record, int fd, int number)
{
    record->parts[0] = (struct iovec){&record->header, sizeof record->header};
    record->parts[1] = (struct iovec){record->body, BODY};
    memset(&record->cb, 0, sizeof record->cb);
    record->cb.aio_fildes = fd;
    record->cb.aio_offset = (off_t)number * (sizeof(struct header) + BODY);
    record->cb.aio_iov = record->parts;
    record->cb.aio_iovcnt = 2;
    record->cb.aio_sigevent.sigev_notify = SIGEV_NONE;
}

static ssize_t wait_for(struct record *record)
{
    const struct aiocb *list[] = {&record->cb};
    while (aio_error(&record->cb) == EINPROGRESS)
        check(aio_suspend(list, 1, NULL) == 0, "aio_suspend");
    errno = aio_error(&record->cb);
    return aio_return(&record->cb);
}

int main(void)
{
    static struct record records[RECORDS];
    const ssize_t size = sizeof(struct header) + BODY;
    int fd = empty_file(), written = 0, right = 0;

    for (int i = 0; i < RECORDS; i++) {
        prepare(&records[i], fd, i);
        records[i].header = (struct header){.number = (uint64_t)i, .size = BODY};
        fill(records[i].body, BODY, i * 1000);
        check(aio_writev(&records[i].cb) == 0, "aio_writev");
    }
    for (int i = 0; i < RECORDS; i++)
        written += wait_for(&records[i]) == size;

    /* Back again as one list of vectored reads. */
    struct aiocb *list[RECORDS];
    for (int i = 0; i < RECORDS; i++) {
        memset(&records[i], 0, sizeof records[i]);
        prepare(&records[i], fd, i);
        records[i].cb.aio_lio_opcode = LIO_READV;
        list[i] = &records[i].cb;
    }
    check(lio_listio(LIO_WAIT, list, RECORDS, NULL) == 0, "lio_listio");
    for (int i = 0; i < RECORDS; i++)
        right += wait_for(&records[i]) == size && records[i].header.number == (uint64_t)i
            && records[i].header.size == BODY && is_filled(records[i].body, BODY, i * 1000);

    printf("readv_writev: %d records written, %d read back right\n", written, right);
    return written != RECORDS || right != RECORDS;
}
