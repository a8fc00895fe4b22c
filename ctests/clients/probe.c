/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* One request, so that AIO_SHIM_VERBOSE=1 has a reason to say which backend serves. */
#include <aio.h>
#include <errno.h>
#include <fcntl.h>

int main(void)
{
    static char byte;
    static struct aiocb cb;
    cb.aio_fildes = open("/proc/self/exe", O_RDONLY);
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
