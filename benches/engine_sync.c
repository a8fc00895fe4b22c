/*
 * The program without any asynchronous I/O: one pread or pwrite after the other. It goes through the slots in turn, so
 * that it meets the same blocks, and uses the same buffers, as the others do at that depth.
 */
#include "bench.h"

#include <errno.h>
#include <unistd.h>

void engine_sync(struct load *l)
{
    load_begin(l);
    for (unsigned i = 0; l->running; i = (i + 1) % l->o->depth) {
        struct slot *s = &l->slots[i];
        load_next(l, i);
        ssize_t n = l->o->write ? pwrite(s->fd, s->buffer, l->o->block, s->offset)
                                : pread(s->fd, s->buffer, l->o->block, s->offset);
        int error = errno;
        load_clock(l);
        load_done(l, i, n < 0 ? -error : n);
    }
}
