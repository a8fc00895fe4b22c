/*
 * A sensible POSIX AIO program: keeps `depth` requests out, waits for any of them with aio_suspend on its array,
 * takes all that are done, puts new ones in their places.
 */
#include "bench.h"

#include <aio.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void submit(struct load *l, struct aiocb *cb, unsigned index, int notify, int signo)
{
    struct slot *s = &l->slots[index];
    load_next(l, index);
    cb->aio_fildes = s->fd;
    cb->aio_buf = s->buffer;
    cb->aio_nbytes = l->o->block;
    cb->aio_offset = s->offset;
    cb->aio_sigevent.sigev_notify = notify;
    cb->aio_sigevent.sigev_signo = signo;
    uint64_t before = l->o->time_calls ? now_ns() : 0;
    int r = l->o->write ? aio_write(cb) : aio_read(cb);
    if (l->o->time_calls)
        histogram_add(&l->calls, now_ns() - before);
    if (r != 0)
        die("%s: %s", l->o->write ? "aio_write" : "aio_read", strerror(errno));
    l->outstanding++;
}

void engine_aio(struct load *l, int notify, int signo)
{
    unsigned depth = l->o->depth;
    struct aiocb *cbs = calloc(depth, sizeof *cbs);
    const struct aiocb **list = calloc(depth, sizeof *list);
    if (cbs == NULL || list == NULL)
        die("no memory");
    load_begin(l);
    for (unsigned i = 0; i < depth; i++) {
        submit(l, &cbs[i], i, notify, signo);
        list[i] = &cbs[i];
    }
    while (l->outstanding > 0) {
        if (aio_suspend(list, (int)depth, NULL) != 0 && errno != EINTR)
            die("aio_suspend: %s", strerror(errno));
        load_clock(l);
        for (unsigned i = 0; i < depth; i++) {
            int error = list[i] == NULL ? EINPROGRESS : aio_error(&cbs[i]);
            if (error == EINPROGRESS)
                continue;
            ssize_t n = aio_return(&cbs[i]);
            l->outstanding--;
            load_done(l, i, error != 0 ? -error : n);
            if (l->running)
                submit(l, &cbs[i], i, notify, signo);
            else
                list[i] = NULL;
        }
    }
    free(cbs);
    free(list);
}
