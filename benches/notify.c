/*
 * How fast completions reach a program, by way of being told:
 *   none      aio_suspend on the array (engine_aio)
 *   ignored   the same, and a real-time signal for each that the program ignores: what differs is the library's work
 *   signal    a blocked real-time signal taken with sigwaitinfo; its value is the slot
 *   thread    SIGEV_THREAD; the callback itself puts in the slot's next request
 *   eventfd   the library's own form: poll and read of the eventfd, then a look at the array
 */
#include "bench.h"

#include <aio.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define NOTIFY_EVENTFD 0x41494f45 /* SIGEV_AIO_SHIM_EVENTFD: written out, the program builds without the header */

static void submit(struct load *l, struct aiocb *cb, unsigned index)
{
    struct slot *s = &l->slots[index];
    load_next(l, index);
    cb->aio_fildes = s->fd;
    cb->aio_buf = s->buffer;
    cb->aio_nbytes = l->o->block;
    cb->aio_offset = s->offset;
    if (aio_read(cb) != 0)
        die("aio_read: %s", strerror(errno));
    l->outstanding++;
}

static void take(struct load *l, struct aiocb *cb, unsigned index)
{
    int error = aio_error(cb);
    if (error == EINPROGRESS)
        die("notified before it was done");
    l->outstanding--;
    l->notified++;
    load_done(l, index, error != 0 ? -error : aio_return(cb));
}

static void by_signal(struct load *l, struct aiocb *cbs)
{
    sigset_t set;
    int signo = SIGRTMIN + 3;
    sigemptyset(&set);
    sigaddset(&set, signo);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    load_begin(l);
    for (unsigned i = 0; i < l->o->depth; i++) {
        cbs[i].aio_sigevent.sigev_notify = SIGEV_SIGNAL;
        cbs[i].aio_sigevent.sigev_signo = signo;
        cbs[i].aio_sigevent.sigev_value.sival_int = (int)i;
        submit(l, &cbs[i], i);
    }
    while (l->outstanding > 0) {
        siginfo_t info;
        struct timespec patience = {2, 0};
        int r = sigtimedwait(&set, &info, &patience);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0) { /* two seconds of silence: these will never come */
            l->lost = l->outstanding;
            load_clock(l);
            return;
        }
        unsigned index = (unsigned)info.si_value.sival_int;
        if (index >= l->o->depth)
            die("a signal with a value that was never asked for: %u", index);
        load_clock(l);
        take(l, &cbs[index], index);
        if (l->running)
            submit(l, &cbs[index], index);
    }
}

static uint64_t eventfd_take(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    uint64_t count;
    int r;
    while ((r = poll(&p, 1, 2000)) < 0 && errno == EINTR)
        ;
    if (r != 1 || read(fd, &count, sizeof count) != (ssize_t)sizeof count)
        die("no completion on the eventfd for two seconds");
    return count;
}

static void by_eventfd(struct load *l, struct aiocb *cbs)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    bool *out = calloc(l->o->depth, sizeof *out);
    if (fd < 0 || out == NULL)
        die("eventfd: %s", strerror(errno));
    if (!shim_is_loaded())
        die("notification by eventfd needs the library");
    load_begin(l);
    for (unsigned i = 0; i < l->o->depth; i++) {
        cbs[i].aio_sigevent.sigev_notify = NOTIFY_EVENTFD;
        cbs[i].aio_sigevent.sigev_signo = fd;
        submit(l, &cbs[i], i);
        out[i] = true;
    }
    uint64_t told = 0;
    while (l->outstanding > 0) {
        told += eventfd_take(fd);
        load_clock(l);
        for (unsigned i = 0; i < l->o->depth; i++) {
            if (!out[i] || aio_error(&cbs[i]) == EINPROGRESS)
                continue;
            take(l, &cbs[i], i);
            out[i] = l->running;
            if (l->running)
                submit(l, &cbs[i], i);
        }
    }
    while (told < l->notified) /* the last ones may be a moment late */
        told += eventfd_take(fd);
    if (told != l->notified)
        die("eventfd counted %llu completions of %llu", (unsigned long long)told, (unsigned long long)l->notified);
    free(out);
    close(fd);
}

/* SIGEV_THREAD: slots are independent chains, each run by whichever thread the callback gets */

struct chain {
    struct aiocb cb;
    struct load *load;
    unsigned index;
    uint64_t random;
    uint64_t block;
};

static atomic_bool chains_run;
static atomic_ullong chains_done;
static sem_t chains_ended;

static void chain_step(union sigval value);

static void chain_submit(struct chain *c)
{
    struct load *l = c->load;
    struct slot *s = &l->slots[c->index];
    s->block = random_next(&c->random) % l->blocks;
    s->offset = (off_t)(s->block / l->o->files * l->o->block);
    memset(&c->cb, 0, sizeof c->cb);
    c->cb.aio_fildes = l->fds[s->block % l->o->files];
    c->cb.aio_buf = s->buffer;
    c->cb.aio_nbytes = l->o->block;
    c->cb.aio_offset = s->offset;
    c->cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
    c->cb.aio_sigevent.sigev_notify_function = chain_step;
    c->cb.aio_sigevent.sigev_value.sival_ptr = c;
    if (aio_read(&c->cb) != 0)
        die("aio_read: %s", strerror(errno));
}

static void chain_step(union sigval value)
{
    struct chain *c = value.sival_ptr;
    struct load *l = c->load;
    int error = aio_error(&c->cb);
    ssize_t n = aio_return(&c->cb);
    if (error != 0 || n != (ssize_t)l->o->block)
        die("in a callback: error %d, %zd bytes", error, n);
    load_check_block(l, &l->slots[c->index]);
    atomic_fetch_add_explicit(&chains_done, 1, memory_order_relaxed);
    if (atomic_load_explicit(&chains_run, memory_order_relaxed))
        chain_submit(c);
    else
        sem_post(&chains_ended);
}

static void pause_for(double seconds)
{
    struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        ;
}

static void by_thread(struct load *l)
{
    struct chain *chains = calloc(l->o->depth, sizeof *chains);
    if (chains == NULL || sem_init(&chains_ended, 0, 0) != 0)
        die("no memory");
    atomic_store(&chains_run, true);
    for (unsigned i = 0; i < l->o->depth; i++) {
        chains[i] = (struct chain){.load = l, .index = i, .random = l->o->seed * 7919 + i + 1};
        chain_submit(&chains[i]);
    }
    pause_for(l->o->seconds / 5 + 0.03);
    l->from = now_ns();
    l->done_from = atomic_load(&chains_done);
    l->cpu_from = cpu_ns();
    pause_for(l->o->seconds);
    l->to = now_ns();
    l->done_to = atomic_load(&chains_done);
    l->cpu_to = cpu_ns();
    atomic_store(&chains_run, false);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 2;
    for (unsigned i = 0; i < l->o->depth; i++)
        while (sem_timedwait(&chains_ended, &until) != 0)
            if (errno == ETIMEDOUT) {
                l->lost = l->o->depth - i;
                i = l->o->depth;
                break;
            }
    l->notified = atomic_load(&chains_done);
    /* chains and slots stay: a thread may still be on its way out of its callback */
}

int mode_notify(const struct options *o)
{
    struct load *l = load_new(o);
    struct aiocb *cbs = calloc(o->depth, sizeof *cbs);
    if (cbs == NULL)
        die("no memory");
    if (strcmp(o->how, "none") == 0)
        engine_aio(l, SIGEV_NONE, 0);
    else if (strcmp(o->how, "ignored") == 0) {
        signal(SIGRTMIN + 3, SIG_IGN);
        engine_aio(l, SIGEV_SIGNAL, SIGRTMIN + 3);
    } else if (strcmp(o->how, "signal") == 0)
        by_signal(l, cbs);
    else if (strcmp(o->how, "eventfd") == 0)
        by_eventfd(l, cbs);
    else if (strcmp(o->how, "thread") == 0)
        by_thread(l);
    else
        die("--how none, ignored, signal, thread or eventfd");
    load_finish(l);
    return 0;
}
