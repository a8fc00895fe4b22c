/* The program without any asynchronous I/O: one pread or pwrite after the other. */
#include "bench.h"

#include <errno.h>
#include <unistd.h>

void engine_sync(struct load *l)
{
    load_begin(l);
    while (l->running) {
        struct slot *s = &l->slots[0];
        load_next(l, 0);
        ssize_t n = l->o->write ? pwrite(s->fd, s->buffer, l->o->block, s->offset)
                                : pread(s->fd, s->buffer, l->o->block, s->offset);
        int error = errno;
        load_clock(l);
        load_done(l, 0, n < 0 ? -error : n);
    }
}
