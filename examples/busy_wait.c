/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The first program of every article on AIO: start a read, ask aio_error()
 * until it is done. The aiocb is zeroed and only four members are set, so the
 * sigevent in it is all zeros too. */
#define _GNU_SOURCE
#include <aio.h>
#include <errno.h>

#include "common.h"

enum { SIZE = 64 * 1024 };

int main(void)
{
    static char buffer[SIZE];
    int fd = filled_file(SIZE);

    struct aiocb cb;
    memset(&cb, 0, sizeof cb);
    cb.aio_fildes = fd;
    cb.aio_buf = buffer;
    cb.aio_nbytes = SIZE;
    cb.aio_offset = 0;

    check(aio_read(&cb) == 0, "aio_read");
    while (aio_error(&cb) == EINPROGRESS)
        ;

    errno = aio_error(&cb);
    check(errno == 0, "read");
    ssize_t got = aio_return(&cb);
    if (got != SIZE || !is_filled(buffer, SIZE, 0)) {
        printf("busy_wait: wrong data, %zd bytes\n", got);
        return 1;
    }
    printf("busy_wait: %zd bytes read, data right\n", got);
    return 0;
}
