/* Many threads, each with a descriptor and one request of its own, each waiting for its own with aio_suspend. */
#include "bench.h"

#include <aio.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct waiter {
    _Alignas(64) atomic_ullong done;
    pthread_t thread;
    const struct options *o;
    unsigned index;
};

static atomic_bool waiters_run;

static void *wait_loop(void *arg)
{
    struct waiter *w = arg;
    const struct options *o = w->o;
    uint64_t blocks = o->bytes / o->files / o->block, random = o->seed * 104729 + w->index + 1;
    int fd = file_open(o, 0);
    char *buffer = buffer_new(o->block);
    struct aiocb cb;
    const struct aiocb *list[1] = {&cb};
    memset(&cb, 0, sizeof cb);
    while (atomic_load_explicit(&waiters_run, memory_order_relaxed)) {
        uint64_t block = random_next(&random) % blocks;
        struct stamp s;
        cb.aio_fildes = fd;
        cb.aio_buf = buffer;
        cb.aio_nbytes = o->block;
        cb.aio_offset = (off_t)(block * o->block);
        cb.aio_sigevent.sigev_notify = SIGEV_NONE;
        if (aio_read(&cb) != 0)
            die("aio_read: %s", strerror(errno));
        while (aio_error(&cb) == EINPROGRESS)
            if (aio_suspend(list, 1, NULL) != 0 && errno != EINTR)
                die("aio_suspend: %s", strerror(errno));
        if (aio_return(&cb) != (ssize_t)o->block)
            die("a waiting thread: %s", strerror(aio_error(&cb)));
        memcpy(&s, buffer, sizeof s);
        if (s.number != stamp_number(0, block * o->block))
            die("wrong data in a waiting thread");
        atomic_fetch_add_explicit(&w->done, 1, memory_order_relaxed);
    }
    close(fd);
    return NULL;
}

static uint64_t sum(struct waiter *w, unsigned count)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < count; i++)
        total += atomic_load(&w[i].done);
    return total;
}

int mode_waiters(const struct options *o)
{
    struct waiter *w = aligned_alloc(64, o->threads * sizeof *w);
    struct timespec warm = {0, 100000000},
                    window = {(time_t)o->seconds, (long)((o->seconds - (double)(time_t)o->seconds) * 1e9)};
    if (w == NULL)
        die("no memory");
    memset(w, 0, o->threads * sizeof *w);
    if (!o->direct)
        files_warm(o);
    atomic_store(&waiters_run, true);
    for (unsigned i = 0; i < o->threads; i++) {
        w[i].o = o;
        w[i].index = i;
        int error = pthread_create(&w[i].thread, NULL, wait_loop, &w[i]);
        if (error != 0)
            die("pthread_create: %s", strerror(error));
    }
    nanosleep(&warm, NULL);
    uint64_t from = now_ns(), done = sum(w, o->threads), cpu = cpu_ns();
    nanosleep(&window, NULL);
    uint64_t ns = now_ns() - from, ops = sum(w, o->threads) - done;
    cpu = cpu_ns() - cpu;
    atomic_store(&waiters_run, false);
    for (unsigned i = 0; i < o->threads; i++)
        pthread_join(w[i].thread, NULL);
    if (ops == 0)
        die("nothing completed in the window");
    printf("{\"ops\": %llu, \"seconds\": %.6f, \"iops\": %.1f, \"cpu_us_per_op\": %.4f, \"cpu_total_us\": %llu, "
           "\"shim\": %s}\n",
           (unsigned long long)ops, (double)ns / 1e9, (double)ops * 1e9 / (double)ns, (double)cpu / 1e3 / (double)ops,
           (unsigned long long)cpu_ns() / 1000, shim_is_loaded() ? "true" : "false");
    return 0;
}
