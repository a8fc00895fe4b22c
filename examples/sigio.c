/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A signal for each completion, handled with SA_SIGINFO: the value says which
 * request it was. The handler collects the result and starts the next read of
 * the file, so main() only sleeps. */
#define _GNU_SOURCE
#include <aio.h>
#include <errno.h>
#include <signal.h>

#include "common.h"

enum { BLOCK = 8 * 1024, BLOCKS = 64 };

static char buffer[BLOCKS * BLOCK];
static volatile sig_atomic_t completed, wrong;

static void start(struct aiocb *cb)
{
    if (aio_read(cb) != 0)
        wrong++;
}

static void on_completion(int signo, siginfo_t *info, void *context)
{
    (void)context;
    int saved = errno;
    struct aiocb *cb = info->si_value.sival_ptr;

    if (signo != SIGIO || info->si_code != SI_ASYNCIO)
        wrong++;
    if (aio_error(cb) != 0 || aio_return(cb) != BLOCK)
        wrong++;
    if (++completed < BLOCKS) {
        cb->aio_offset += BLOCK;
        cb->aio_buf = buffer + cb->aio_offset;
        start(cb);
    }
    errno = saved;
}

int main(void)
{
    struct sigaction action = {.sa_sigaction = on_completion, .sa_flags = SA_SIGINFO | SA_RESTART};
    check(sigaction(SIGIO, &action, NULL) == 0, "sigaction");

    /* Blocked except in sigsuspend(): otherwise the last signal could come
     * between the test and the sleep. */
    sigset_t blocked, before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGIO);
    check(sigprocmask(SIG_BLOCK, &blocked, &before) == 0, "sigprocmask");

    struct aiocb cb;
    memset(&cb, 0, sizeof cb);
    cb.aio_fildes = filled_file(sizeof buffer);
    cb.aio_buf = buffer;
    cb.aio_nbytes = BLOCK;
    cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    cb.aio_sigevent.sigev_signo = SIGIO;
    cb.aio_sigevent.sigev_value.sival_ptr = &cb;

    start(&cb);
    while (completed < BLOCKS && !wrong)
        sigsuspend(&before);

    if (!is_filled(buffer, sizeof buffer, 0))
        wrong++;
    printf("sigio: %d signals, %d wrong\n", (int)completed, (int)wrong);
    return wrong != 0;
}
