/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A function called in a thread of its own for each completion. Unlike a
 * signal handler it may lock, allocate and wait. */
#define _GNU_SOURCE
#include <aio.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "common.h"

enum { BLOCK = 4096, REQUESTS = 100 };

static char buffer[REQUESTS][BLOCK];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int callbacks, wrong;

static void completed(union sigval value)
{
    struct aiocb *cb = value.sival_ptr;
    bool good = aio_error(cb) == 0 && aio_return(cb) == BLOCK
        && is_filled((const void *)cb->aio_buf, BLOCK, cb->aio_offset);
    free(cb); /* ours again: nothing touches it after the completion */

    pthread_mutex_lock(&lock);
    callbacks++;
    wrong += !good;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

int main(void)
{
    int fd = filled_file(REQUESTS * BLOCK);

    for (int i = 0; i < REQUESTS; i++) {
        struct aiocb *cb = calloc(1, sizeof *cb);
        check(cb != NULL, "calloc");
        cb->aio_fildes = fd;
        cb->aio_buf = buffer[i];
        cb->aio_nbytes = BLOCK;
        cb->aio_offset = (off_t)i * BLOCK;
        cb->aio_sigevent.sigev_notify = SIGEV_THREAD;
        cb->aio_sigevent.sigev_notify_function = completed;
        cb->aio_sigevent.sigev_value.sival_ptr = cb;
        check(aio_read(cb) == 0, "aio_read");
    }

    pthread_mutex_lock(&lock);
    while (callbacks < REQUESTS)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);

    printf("sigev_thread: %d callbacks, %d wrong\n", callbacks, wrong);
    return wrong != 0;
}
