/*
 * The same program rewritten for io_uring.
 *   plain:   a default ring; io_uring_enter for each submission, and one for each wait when nothing is ready
 *   batched: SINGLE_ISSUER and DEFER_TASKRUN; everything that can go in goes in with the wait, one io_uring_enter a turn
 */
#include "bench.h"

#include <errno.h>
#include <liburing.h>
#include <string.h>

#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif

static void prepare(struct load *l, struct io_uring *ring, unsigned index)
{
    struct slot *s = &l->slots[index];
    load_next(l, index);
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    if (sqe == NULL)
        die("no free submission entry");
    if (l->o->write)
        io_uring_prep_write(sqe, s->fd, s->buffer, (unsigned)l->o->block, (uint64_t)s->offset);
    else
        io_uring_prep_read(sqe, s->fd, s->buffer, (unsigned)l->o->block, (uint64_t)s->offset);
    io_uring_sqe_set_data64(sqe, index);
    l->outstanding++;
}

static void submit(struct io_uring *ring)
{
    int r = io_uring_submit(ring);
    if (r < 1)
        die("io_uring_submit: %s", strerror(-r));
}

static void ring_new(struct io_uring *ring, unsigned depth, bool batched)
{
    int r = -EINVAL;
    if (batched)
        r = io_uring_queue_init(depth, ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    if (r == -EINVAL)
        r = io_uring_queue_init(depth, ring, 0); /* plain, or a kernel before 6.1 */
    if (r < 0)
        die("io_uring_queue_init: %s", strerror(-r));
}

void engine_uring(struct load *l, bool batched)
{
    struct io_uring ring;
    ring_new(&ring, l->o->depth, batched);
    load_begin(l);
    for (unsigned i = 0; i < l->o->depth; i++) {
        prepare(l, &ring, i);
        if (!batched)
            submit(&ring);
    }
    while (l->outstanding > 0) {
        struct io_uring_cqe *cqe;
        int r = batched ? io_uring_submit_and_wait(&ring, 1) : io_uring_wait_cqe(&ring, &cqe);
        if (r < 0 && r != -EINTR)
            die("waiting in the ring: %s", strerror(-r));
        load_clock(l);
        /* What was ready at this wake, no more: a hot read is complete again as soon as it is submitted. */
        for (unsigned ready = io_uring_cq_ready(&ring); ready > 0; ready--) {
            if (io_uring_peek_cqe(&ring, &cqe) != 0)
                break;
            unsigned index = (unsigned)io_uring_cqe_get_data64(cqe);
            int result = cqe->res;
            io_uring_cqe_seen(&ring, cqe);
            l->outstanding--;
            load_done(l, index, result);
            if (!l->running)
                continue;
            prepare(l, &ring, index);
            if (!batched)
                submit(&ring);
            else if (io_uring_sq_space_left(&ring) == 0)
                break; /* hand over before more is taken */
        }
    }
    io_uring_queue_exit(&ring);
}
