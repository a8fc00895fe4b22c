/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* One request, of a pipe so that a backend has to serve it and AIO_SHIM_VERBOSE=1 says which. */
#include <aio.h>
#include <errno.h>
#include <unistd.h>

int main(void)
{
    static char byte;
    static struct aiocb cb;
    int ends[2];
    if (pipe(ends) != 0 || write(ends[1], "x", 1) != 1)
        return 1;
    cb.aio_fildes = ends[0];
    cb.aio_buf = &byte;
    cb.aio_nbytes = 1;
    cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    if (aio_read(&cb) != 0)
        return 1;
    const struct aiocb *list[] = {&cb};
    while (aio_error(&cb) == EINPROGRESS)
        aio_suspend(list, 1, 0);
    return aio_return(&cb) != 1;
}
