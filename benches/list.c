/* lio_listio(LIO_WAIT) of `depth` reads, one list after the other. One operation here is one list. */
#include "bench.h"

#include <aio.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int mode_list(const struct options *o)
{
    struct load *l = load_new(o);
    struct aiocb *cbs = calloc(o->depth, sizeof *cbs), **list = calloc(o->depth, sizeof *list);
    uint64_t lists = 0, lists_from = 0, lists_to = 0;
    if (cbs == NULL || list == NULL)
        die("no memory");
    load_begin(l);
    while (l->running) {
        for (unsigned i = 0; i < o->depth; i++) {
            struct slot *s = &l->slots[i];
            load_next(l, i);
            cbs[i].aio_fildes = s->fd;
            cbs[i].aio_buf = s->buffer;
            cbs[i].aio_nbytes = o->block;
            cbs[i].aio_offset = s->offset;
            cbs[i].aio_lio_opcode = o->write ? LIO_WRITE : LIO_READ;
            cbs[i].aio_sigevent.sigev_notify = SIGEV_NONE;
            list[i] = &cbs[i];
        }
        if (lio_listio(LIO_WAIT, list, (int)o->depth, NULL) != 0)
            die("lio_listio: %s", strerror(errno));
        bool was_measuring = l->measuring;
        for (unsigned i = 0; i < o->depth; i++) {
            int error = aio_error(&cbs[i]);
            ssize_t n = aio_return(&cbs[i]);
            if (i == 0)
                load_clock(l);
            load_done(l, i, error != 0 ? -error : n);
        }
        if (!was_measuring && l->measuring)
            lists_from = lists;
        if (was_measuring && !l->measuring)
            lists_to = lists;
        lists++;
    }
    if (o->count != 0) /* for strace: the driver divides by this */
        printf("{\"lists\": %llu, \"shim\": %s}\n", (unsigned long long)lists, shim_is_loaded() ? "true" : "false");
    else if (lists_to <= lists_from)
        die("not one list in the window");
    else
        load_finish(l);
    return 0;
}
